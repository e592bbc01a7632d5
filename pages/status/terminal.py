"""A status document in the terminal, and a progress line."""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from alerts.wording import capitalized
from common.numbers import count, dollars, percent, rough_percent, seconds, set_percent
from common.text import visible_document
from pages.status.rules import Tone
from pages.status.standing import DENOMINATORS, CanaryStanding, not_evidence, standing
from pages.words import status
from pages.words.status import span

_TONES: Mapping[Tone, str] = {"good": "green", "warn": "yellow", "bad": "bold red", "calm": "dim"}

BAR_WIDTH = 16
NARROW = 100
"""Below this many columns, bars are omitted to leave room for the figures."""


def show_status(document: Mapping[str, Any], now: float) -> None:
    """Print the status at UTC second `now`."""
    console = Console()
    console.print(picture(document, now, width=console.width))


def picture(document: Mapping[str, Any], now: float, *, width: int) -> RenderableType:
    """Render every canary of the document in `width` columns: header, arms, guardrails."""
    document = visible_document(document)
    canaries = document["canaries"]
    standing = _standing(document, now)
    if not canaries and standing:
        return Group(*standing, *_retirements(document), *_unmatched(document))
    if not canaries:
        none = Text("no canary in the config; requests pass through and are recorded")
        return Group(none, *_astray(document))
    parts = [part for canary in canaries for part in _canary(canary, now, bars=width >= NARROW)]
    return Group(
        *parts,
        *standing,
        *_retirements(document),
        *_unpriced(canaries),
        *_unmatched(document),
        *_judge(document),
    )


def _standing(document: Mapping[str, Any], now: float) -> list[Text]:
    """A line for each standing canary."""
    return [
        Text(f"{each['name']}: {status.standing_said(each, now)}") for each in document.get("standing", ())
    ]


def _retirements(document: Mapping[str, Any]) -> list[Text]:
    """A line for each model of a canary that retires soon."""
    return [Text(each, "yellow") for each in status.retirements(document)]


def _unpriced(canaries: Sequence[Mapping[str, Any]]) -> list[Text]:
    """Which arms have no price, once for all canaries."""
    found = [each for canary in canaries for each in canary.get("unpriced", ())]
    return [Text(capitalized(each), "yellow") for each in status.unpriced(found)]


def _judge(document: Mapping[str, Any]) -> list[RenderableType]:
    judge = document.get("judge")
    if judge is None:
        return []
    return [Text(f"judge: {judge['sentence']}", "yellow" if judge["state"] == "paused" else "dim")]


def _unmatched(document: Mapping[str, Any]) -> list[RenderableType]:
    if "unmatched" not in document:
        return []
    sentences = (status.unmatched(document["unmatched"]), status.laneless(document["unmatched"]))
    return [*_astray(document), *(Text(each, "dim") for each in sentences if each)]


def _astray(document: Mapping[str, Any]) -> list[Text]:
    """What is wrong with most requests that match no canary."""
    return [Text(status.astray(each), "bold yellow") for each in document.get("traffic", ())]


def _canary(canary: Mapping[str, Any], now: float, *, bars: bool) -> list[RenderableType]:
    stands = standing(canary)
    parts: list[RenderableType] = [_header(canary, stands, now)]
    if canary.get("rollback"):
        parts.append(_rollback(canary["rollback"]))
    elif canary.get("reason"):
        parts.append(Text(f"{stands.word}: {canary['reason']}"))
    parts += _where_it_fails(stands, now)
    parts += [_arms(canary["arms"]), *_answers(canary["arms"])]
    if canary.get("mirror"):
        parts.append(_mirror(canary["mirror"]))
    return [*parts, *_guardrails(stands, bars=bars), Text("")]


def _header(canary: Mapping[str, Any], stands: CanaryStanding, now: float) -> Table:
    """Name and state, set and actual share, ramp step, and time since the start."""
    head = Table.grid(padding=(0, 1))
    head.add_row(Text(canary["name"], "bold"), Text(stands.word, _TONES[stands.tone]))
    head.add_row("models", stands.models)
    if canary.get("owner"):
        head.add_row("owner", Text(canary["owner"]))
    if canary.get("refused") and stands.watched:
        head.add_row("", Text(canary["refused"], "bold red"))
    share, actual = set_percent(canary["share"]), percent(canary["actual_share"])
    head.add_row("share", f"{share} of the users set, {actual} of the requests so far")
    if back := status.holdback(canary):
        head.add_row("held back", Text(back))
    if held := status.held_units(canary):
        head.add_row("held", held)
    if prompt := status.prompt(canary):
        head.add_row("prompt", Text(prompt, "yellow"))
    if assigned := status.assignment(canary):
        head.add_row("assigned", assigned)
    if lane := status.lane(canary):
        head.add_row("lane", lane)
    if stands.ramp:
        head.add_row("ramp", stands.ramp)
    step = _step_bar(canary["ramp"]) if stands.ramp else None
    if step is not None:
        head.add_row("", step)
    if (quota := (canary.get("quota") or {}).get("sentence")) and quota not in stands.ramp:
        head.add_row("", Text(quota, "yellow"))
    if canary.get("started_at") is not None and canary["state"] in ("running", "paused", "promoted"):
        head.add_row(
            "run", f"{canary['run']}, started {status.span(max(0.0, now - canary['started_at']))} ago"
        )
    if _says_preflight(canary):
        head.add_row("preflight", Text(canary["preflight"]["sentence"]))
    if canary.get("promote_asked"):
        head.add_row("promotion", Text(status.asked(canary["promote_asked"], now), "yellow"))
    if canary.get("decision"):
        head.add_row("decision", Text(status.decided(canary["decision"])))
    if canary.get("open_incident"):
        head.add_row("incident", Text(_incident(canary["open_incident"], now), "bold red"))
    if canary.get("base_path"):
        head.add_row("reached by", f"the base URL http(s)://HOST:PORT{canary['base_path']}")
    if stands.not_seen:
        head.add_row("not seen", Text(f"{stands.not_seen}.", "dim"))
    if stands.few:
        head.add_row("few users", Text(f"{stands.few}.", "yellow"))
    for sentence in stands.traffic:
        head.add_row("traffic", Text(sentence, "bold yellow"))
    if stands.watched and (told := not_evidence(canary["arms"])):
        head.add_row("no evidence", Text(told, "yellow"))
    return head


def _says_preflight(canary: Mapping[str, Any]) -> bool:
    """True when the preflight's result still matters: before the start, and in the first step."""
    first = canary["state"] == "running" and canary["run"] == 1 and not canary["ramp"]["step"]
    return bool(canary.get("preflight")) and (first or canary["state"] == "waiting")


def _incident(incident: Mapping[str, Any], now: float) -> str:
    """An open incident: how long, and the sentence on call."""
    return f"open for {status.span(max(0.0, now - incident['opened_at']))}. {incident['sentence']}"


def _step_bar(ramp: Mapping[str, Any]) -> Table | None:
    """The elapsed part of the step, and the users that it has; None if the step has no end."""
    row = Table.grid(padding=(0, 1))
    if ramp["step"] is not None and ramp["left_s"] is not None:
        whole = ramp["steps"][ramp["step"]]["for_s"]
        elapsed = max(0.0, whole - ramp["left_s"])
        done = elapsed / whole if whole else 1.0
        row.add_row(_bar(done, "cyan"), f"{status.span(elapsed)} of {status.span(whole)}")
    if waits := ramp.get("users"):
        done = min(1.0, (waits["have"] or 0) / waits["need"])
        row.add_row(_bar(done, "cyan"), status.users_so_far(waits))
    return row if row.row_count else None


def _rollback(why: Mapping[str, Any]) -> Text:
    """Who rolled the canary back, when and why, and both arms' figures of the run up to then."""
    at = datetime.fromtimestamp(why["at"], UTC).strftime("%Y-%m-%d %H:%M:%S")
    then = "; ".join(f"{name} {_figures(arm)}" for name, arm in why["arms"].items())
    unstored = "" if why["stored"] else ", not in the database yet"
    told = [f"{why['summary']}\n"] if why["rule"] else []
    return Text.assemble(
        *told,
        (
            f"rolled back by {why['who']}, {at} UTC, from {set_percent(why['share_before'])}{unstored}\n",
            "bold red",
        ),
        f"{why['sentence'] or 'no reason given'}\n",
        (f"the whole run up to then: {then}; details: {why['page']}", "dim"),
    )


def _where_it_fails(stands: CanaryStanding, now: float) -> list[RenderableType]:
    """Where the failing exchanges lie, and what the candidate's provider said last."""
    lines = [Text(stands.where)] if stands.where else []
    if stands.said is not None:
        details = status.error_details(stands.said)
        ago = status.span(max(0.0, now - stands.said["at"]))
        notes = f"\n{details}, {ago} ago" if details else f"\n{ago} ago"
        lines.append(Text.assemble("provider's error: ", (stands.said["sentence"], "bold"), (notes, "dim")))
    return [*lines]


def _figures(arm: Mapping[str, Any]) -> str:
    cost = f", {dollars(arm['mean_cost_usd'])} per request" if arm["mean_cost_usd"] is not None else ""
    return f"{arm['failed']} of {arm['exchanges']} failed, p95 {seconds(arm['p95_s'])}{cost}"


def _arms(arms: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("arm")
    for name in ("requests", "errors", "aborted", "p50", "p95", "first token p95", "cost"):
        table.add_column(name, justify="right")
    for name, arm in arms.items():
        table.add_row(
            name,
            str(arm["requests"]),
            str(arm["errors"]),
            str(arm["aborted"]),
            seconds(arm["p50_s"]),
            seconds(arm["p95_s"]),
            seconds(arm["ttft_p95_s"]),
            dollars(arm["cost_usd"]),
        )
    return table


def _answers(arms: Mapping[str, Any]) -> list[Text]:
    """A line per arm with failures, answer faults or abandoned requests; none for an arm without."""
    told = {name: _bad(arm) for name, arm in arms.items()}
    return [Text(f"{name}: {bad}") for name, bad in told.items() if bad]


def _bad(arm: Mapping[str, Any]) -> str:
    """6 provider timeout, 12 of 240 answers cut off (5 %), 3 of 250 requests abandoned (1.2 %)."""
    types: Mapping[str, int] = arm.get("error_types", {})
    found = [f"{count(number)} {status.plain(name)}" for name, number in types.items()]
    found += [
        f"{count(arm[name])} of {count(arm[DENOMINATORS[name]])} {told} ({percent(arm['shares'][name])})"
        for name, told in _BAD.items()
        if arm.get(name)
    ]
    return ", ".join(found)


_BAD = {
    "refused": "answers refused",
    "cut_off": "answers cut off",
    "empty": "answers empty",
    "invalid_output": "outputs invalid",
    "stalled": "streams stalled",
    "abandoned": "requests abandoned",
}


def _mirror(copies: Mapping[str, Any]) -> Text:
    """The mirror's figures. They are not in the arms' table because no user got these answers."""
    figures = (
        f"{copies['requests']} copies",
        f"{copies['errors']} errors",
        f"{copies['aborted']} aborted",
        f"p50 {seconds(copies['p50_s'])}",
        f"p95 {seconds(copies['p95_s'])}",
        f"cost {dollars(copies['cost_usd'])}",
        f"{copies['dropped']} dropped",
    )
    return Text.assemble((f"mirror {set_percent(copies['share'])}", "bold"), "  ", ", ".join(figures))


def _guardrails(stands: CanaryStanding, *, bars: bool) -> list[RenderableType]:
    """A table of each rule's value, limit and evidence; then the sentences of the rules that warn or fire,
    and the names of the rules without data."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("guardrail", "state", "value", "limit", *(("", "evidence", "") if bars else ("evidence",))):
        table.add_column(name)
    for rule in stands.rules:
        name, style = f"{rule.name} ({rule.scope})" if rule.scope else rule.name, _TONES[rule.tone]
        limit = rule.limit.removeprefix("limit ").replace("at least", "≥")
        drawn = (_bar(rule.filled, style), _bar(rule.proved, style)) if bars else ()
        table.add_row(name, Text(rule.word, style), rule.value, limit, *drawn, rule.proof)
    sentences = [Text(rule.sentence, "dim") for rule in stands.rules if rule.tone in ("warn", "bad")]
    unseen = [Text(f"no data yet: {', '.join(stands.unseen)}", "dim")] if stands.unseen else []
    needs = [Text(stands.needs, "dim")] if stands.needs else []
    return [*([table] if stands.rules else []), *sentences, *unseen, *needs]


def _bar(part: float | None, style: str) -> RenderableType:
    if part is None:
        return Text("")
    return ProgressBar(1.0, part, width=BAR_WIDTH, complete_style=style, finished_style=style)


_REDRAW_EVERY_S, _PRINT_EVERY_S = 0.25, 5.0


class Progress:
    """Progress of work of a known size, with an estimate of the time left. Clears its line on a terminal at
    the end."""

    def __init__(self, stream: TextIO, now: Callable[[], float] = time.monotonic) -> None:
        """`now` gives seconds."""
        self._stream, self._now = stream, now
        self._terminal = stream.isatty()
        self._began = self._shown = now()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._terminal:
            self._write("\r\x1b[K")

    def show(self, done: float, of: float) -> None:
        """Show that `done` of `of` is done. Calls in quick succession are dropped."""
        now = self._now()
        if now - self._shown < (_REDRAW_EVERY_S if self._terminal else _PRINT_EVERY_S):
            return
        self._shown, elapsed_s = now, now - self._began
        left = f", at most about {span(elapsed_s * (of - done) / done)} left" if done else ""
        text = f"{rough_percent(done / of)} after {span(elapsed_s)}{left}"
        self._write(f"\r{text}\x1b[K" if self._terminal else f"{text}\n")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
