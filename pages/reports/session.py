"""A session as a document, which every form of it shows, and as JSON: its exchanges in order."""

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec

from common.numbers import dollars, seconds
from pages.document import (
    Block,
    BulletList,
    Column,
    Document,
    Drawings,
    FactList,
    Paragraph,
    Row,
    Section,
    Table,
)
from pages.waterfall import TimedText, WaterfallText, waterfall
from pages.words import session as words
from pages.words.status import moment
from pages.writers import written
from records.store.session_exchanges import SessionExchange, StoredSession

_COLUMNS = ("#", "UTC", "took", "arm", "model", "how it ended", "tools", "tokens", "cost", "feedback")
_FIGURES = ("#", "took", "cost")
_WIDE = (_COLUMNS[:7], ("#", *_COLUMNS[7:]))
_NARROW = (_COLUMNS[:4], ("#", *_COLUMNS[4:7]), ("#", *_COLUMNS[7:]))
_READS = (
    "Each bar lasts from a request to the end of its answer; the pale part of it is the time until the first "
    "token. Times without a request are cut out."
)
_FEW = 3
"""So many failures are told before they fold."""
_FINE_S = 10.0
"""Below so long a session the axis has hundredths of seconds."""
_KEY = (("candidate", "candidate"), ("baseline", "baseline"), ("failed", "failed"))


def to_json(found: StoredSession) -> dict[str, Any]:
    """The session's document: all that is stored of it, and the sums. Times are UTC seconds."""
    return {**msgspec.to_builtins(found), "totals": msgspec.to_builtins(found.totals)}


def from_json(document: Any) -> StoredSession:
    """The session that `to_json` wrote."""
    return msgspec.convert(document, StoredSession)


def rendered(found: StoredSession, form: str, links: Sequence[tuple[str, str]] = ()) -> str:
    """The session as "text", "markdown", "html" or "json". `links`: pages that the HTML leads to."""
    if form == "json":
        return json.dumps(to_json(found), indent=2)
    return written(document(found, links), form)


def document(found: StoredSession, links: Sequence[tuple[str, str]] = ()) -> Document:
    """The whole session: its figures, what stands out, then each exchange."""
    name = found.session or next((each.exchange_id for each in found.exchanges), "")
    whole = [each for each in found.feedback if not each.exchange_id]
    said = [f"{words.value(each)}, {moment(each.at)} UTC" for each in whole]
    return Document(
        title=words.headline(found),
        about=f"{'Session' if found.session else 'Exchange'} {name}",
        tone="bad" if found.totals.failed else "",
        head=[
            BulletList(words.failures(found), few=_FEW),
            BulletList(words.remarks(found)),
            FactList(words.facts(found)),
        ],
        sections=[
            Section("Its exchanges", _exchanges(found)),
            Section("The provider's request ids", [BulletList(words.provider_ids(found))]),
            Section("Feedback on the whole session", [BulletList(said)]),
        ],
        links=links,
    )


def _exchanges(found: StoredSession) -> list[Block]:
    if not found.exchanges:
        return [Paragraph("None of them is stored any more.")]
    texts = [_text(number, each, found) for number, each in enumerate(found.exchanges, 1)]
    timed = [
        TimedText(each.at, each.ttft_s, each.latency_s or 0.0, text)
        for each, text in zip(found.exchanges, texts, strict=True)
    ]
    table = Table(
        [Column(name, figure=name in _FIGURES) for name in _COLUMNS],
        [_row(text) for text in texts],
        wide=_WIDE,
        narrow=_NARROW,
    )
    clock = partial(words.clock, finely=found.totals.length_s < _FINE_S)
    drawn = [waterfall(timed, clock=clock, length=words.length)]
    drawing = Drawings(drawn=drawn, kind="waterfall", reads=_READS, key=_KEY, table=table)
    return [drawing, replace(table, place="brief")]


def _text(number: int, exchange: SessionExchange, found: StoredSession) -> WaterfallText:
    says, tone = words.ended(exchange)
    name = exchange.exchange_id
    said = [words.value(each) for each in found.feedback if each.exchange_id == name]
    said += [words.marked(each) for each in found.marks if each.exchange_id == name]
    return WaterfallText(
        number=number,
        at=words.clock(exchange.at),
        arm=exchange.arm if exchange.canary else "",
        model=", then ".join(dict.fromkeys(each.model for each in exchange.attempts)) or exchange.model,
        took=seconds(exchange.latency_s),
        cost=dollars(exchange.cost_usd),
        says=says,
        tools=words.tools(exchange.tool_calls),
        tokens=words.tokens(exchange.input_tokens, exchange.cached_input_tokens, exchange.output_tokens),
        feedback=", ".join(filter(None, said)),
        tone=tone,
    )


def _row(text: WaterfallText) -> Row:
    arm = text.arm or "no canary"
    figures = (text.tokens, text.cost, text.feedback)
    return [str(text.number), text.at, text.took, arm, text.model, text.says, text.tools, *figures]
