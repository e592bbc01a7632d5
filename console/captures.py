"""The pages of captured pairs: a list of both answers, and one on which a person labels them."""

import time
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from common.interval import wilson
from common.numbers import count, percent
from console.access.login import Login
from console.judged import view
from control.operator.labels import LabelProgress, PairWanted, is_system, keep, next_pair, withdraw
from control.operator.operator import Operator
from control.operator.orders import BadOrder
from judge.figures import FEWEST_LABELS, NEEDED_LABELS
from judge.judgements import Judgements
from records.captures.capture import Capture, CapturedMessage
from records.store.captures import Label, Labels, Right

SPOT, FULL = 50, 200
"""Below SPOT labels the page shows counts only, no rates. From FULL labels on it is a full evaluation."""

BUTTONS = (
    ("a", "Only A", "a"),
    ("b", "Only B", "b"),
    ("both", "Both", "s"),
    ("neither", "Neither", "n"),
    ("unclear", "Cannot say", "u"),
)
"""(label, words, key)."""

SHOWN = 20
_DAY = timedelta(days=1)

DISAGREEMENTS = "disagreements"
_WHO_BOUND, _OPEN_MESSAGES = 200, 3


class CapturePages:
    """The page with a day's pairs, oldest first, and the one on which they are labelled, with its form."""

    def __init__(self, operator: Operator, login: Login, outdate: Callable[[str], None]) -> None:
        """`outdate` is told the canary whose report has a new label to count."""
        self._operator = operator
        self._login = login
        self._outdate = outdate

    def routes(self) -> list[Route]:
        """Every route."""
        path = "/canaries/{name}/label"
        return [
            Route("/canaries/{name}/pairs", self.pairs),
            Route(path, self.ask),
            Route(path, self.label, methods=["POST"]),
        ]

    async def pairs(self, request: Request) -> Response:
        """GET ?day=2026-11-24&category=…&after=…: the pairs of a UTC day, by default today."""
        name, query = request.path_params["name"], request.query_params
        self._must_capture(name)
        day = day_asked(query.get("day"))
        category = query.get("category") or None
        labels = await self._operator.ask(lambda store: Labels(store).of(name))
        found = await self._operator.pairs(
            name,
            since=max(_starts(day), _after(query.get("after"))),
            until=_starts(day + _DAY),
            category=category,
            limit=SHOWN + 1,
        )
        shown = [real.about.exchange_id for real, _ in found[:SHOWN]]
        judgements = await self._operator.ask(lambda store: Judgements(store).about(shown))
        return self._login.answer(
            request,
            "pairs.html",
            name=name,
            day=day,
            before=day - _DAY,
            later=day + _DAY,
            is_today=day >= day_asked(None),
            category=category or "",
            pairs=found[:SHOWN],
            labels=labels,
            judgements={exchange: view(each) for exchange, each in judgements.items()},
            past=name in self._operator.past(),
            summary=summarized(labels.values()),
            after=found[SHOWN][0].about.at if len(found) > SHOWN else None,
        )

    def _must_capture(self, name: str) -> None:
        """Raises BadOrder (404) for a canary that has no pairs by its config. A past one may have some."""
        if name in self._operator.past():
            return
        canaries = {each["name"]: each for each in self._operator.status()["canaries"]}
        if name not in canaries:
            raise BadOrder(404, f"There is no canary {name!r}.")
        if not canaries[name]["captures"]:
            raise BadOrder(404, f"{name} captures no texts: its config has no `capture`.")

    async def ask(self, request: Request) -> Response:
        """GET ?who=…&category=…&second=1&first=disagreements: the next pair for this person. `again` is the
        pair to show once more."""
        return await self._page(request, self._wanted(request, request.query_params))

    async def label(self, request: Request) -> Response:
        """POST: store a label, or take back the person's last one, or take their name; and go on."""
        name = request.path_params["name"]
        form = await self._login.form(request)
        wanted = self._wanted(request, form)
        try:
            if not wanted.who:
                raise BadOrder(400, "Not saved: enter your name. It is stored with the label.")
            if "undo" in form:
                self._operator.labelled_run(name)
                taken, who = form["undo"], wanted.who
                await self._operator.ask(lambda store: withdraw(store, name, taken, who, now=time.time()))
                wanted = replace(wanted, again=form["undo"])
            elif "named" not in form:
                await self._label(name, form, wanted)
        except BadOrder as problem:
            return await self._page(request, wanted, problem)
        self._outdate(name)
        return RedirectResponse(f"/canaries/{quote(name)}/label?{query(wanted)}", status_code=303)

    def _wanted(self, request: Request, fields: Mapping[str, str]) -> PairWanted:
        return wanted_of(fields, who=self._login.who(request, fields.get("who", "")))

    async def _page(self, request: Request, wanted: PairWanted, trouble: BadOrder | None = None) -> Response:
        """The page with the next pair, below what went wrong with the last one."""
        name = request.path_params["name"]
        run, asked = self._operator.labelled_run(name), wanted
        found = await self._operator.ask(lambda store: next_pair(store, name, run, asked, now=time.time()))
        wanted = replace(wanted, who=self._login.who(request, found.who), again="")
        return self._login.answer(
            request,
            "label.html",
            status_code=trouble.status if trouble is not None else 200,
            trouble=trouble.message if trouble is not None else "",
            name=name,
            wanted=wanted,
            pair=in_blind_order(*found.pair) if found.pair is not None else None,
            messages=messages_of(found.pair[0]) if found.pair is not None else None,
            prompt_read=found.prompt_read,
            last=found.last,
            buttons=BUTTONS,
            progress=progress_words(found.progress),
            switches=switches(wanted, judged=found.progress.judged > 0),
        )

    async def _label(self, name: str, form: Mapping[str, str], wanted: PairWanted) -> None:
        exchange = form.get("exchange", "")
        right, run = right_of(form.get("right", ""), exchange), self._operator.labelled_run(name)
        label = Label(at=time.time(), canary=name, exchange_id=exchange, right=right, who=wanted.who)
        first = wanted.disagreements
        await self._operator.ask(lambda store: keep(store, label, run=run, disagreements=first))


def wanted_of(fields: Mapping[str, str], *, who: str) -> PairWanted:
    """What a query or a form asks for; `who` is the person's name."""
    return PairWanted(
        who=who[:_WHO_BOUND],
        category=fields.get("category") or None,
        second=fields.get("second") == "1",
        disagreements=fields.get("first") == DISAGREEMENTS,
        again=fields.get("again", ""),
    )


def query(wanted: PairWanted) -> str:
    """What is wanted, as the query of the page's address."""
    fields = {
        "who": wanted.who,
        "category": wanted.category,
        "second": "1" if wanted.second else "",
        "first": DISAGREEMENTS if wanted.disagreements else "",
        "again": wanted.again,
    }
    return urlencode({name: value for name, value in fields.items() if value})


def switches(wanted: PairWanted, *, judged: bool) -> Sequence[Sequence[tuple[str, str, bool]]]:
    """The switches, of each its positions: (words, address, whether it stands there). That of the order is
    left out where the judge marked nothing."""
    order = [("The judge's pairs first", False), ("Disagreements first", True)]
    extent = [("Pairs without your label", False), ("Pairs that another person labelled", True)]
    orders = [
        (word, f"?{query(replace(wanted, disagreements=on))}", on == wanted.disagreements)
        for word, on in order
    ]
    extents = [(word, f"?{query(replace(wanted, second=on))}", on == wanted.second) for word, on in extent]
    return [orders, extents] if judged or wanted.disagreements else [extents]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownMessages:
    """A request's messages: the system prompt, the last ones, and those before them, which are folded."""

    system: Sequence[CapturedMessage]
    earlier: Sequence[CapturedMessage]
    last: Sequence[CapturedMessage]


def messages_of(real: Capture) -> ShownMessages:
    """The messages of a request, as they are shown."""
    system = [each for each in real.messages if is_system(each)]
    rest = [each for each in real.messages if not is_system(each)]
    return ShownMessages(system=system, earlier=rest[:-_OPEN_MESSAGES], last=rest[-_OPEN_MESSAGES:])


def progress_words(progress: LabelProgress) -> Sequence[str]:
    """How far the labels have come, in sentences."""
    found = [f"{count(progress.labelled)} labelled so far."]
    if progress.judged:
        found.append(
            f"Labels on pairs that the judge marked: {count(progress.on_judged)}. "
            f"A rubric row on people's preference needs {NEEDED_LABELS} in the order of this page; then the "
            "verdict says how many more would decide it."
        )
    if progress.twice:
        found.append(f"Labelled by two people: {count(progress.twice, 'pair')}. {_agreement(progress)}")
    return found


def _agreement(progress: LabelProgress) -> str:
    counts = f"They agree on {count(progress.agree)}"
    if progress.twice < FEWEST_LABELS:
        return f"{counts}; below {FEWEST_LABELS} pairs this is no rate."
    low, high = wilson(progress.agree, progress.twice)
    share = percent(progress.agree / progress.twice)
    return f"{counts}: {share} ({percent(low)} to {percent(high)})."


def candidate_is_a(exchange_id: str) -> bool:
    """Whether the candidate's answer comes first: true for half of the pairs, constant for each pair."""
    return zlib.crc32(exchange_id.encode()) % 2 == 0


def in_blind_order(real: Capture, copy: Capture) -> tuple[Capture, Capture, Capture]:
    """(the question, answer A, answer B)."""
    return (real, copy, real) if candidate_is_a(real.about.exchange_id) else (real, real, copy)


def right_of(choice: str, exchange_id: str) -> Right:
    """The arm whose answer is right, from the form's choice. Raises BadOrder (400)."""
    letters: dict[str, Right] = {"a": "baseline", "b": "candidate"}
    if candidate_is_a(exchange_id):
        letters = {"a": "candidate", "b": "baseline"}
    known: Mapping[str, Right] = {**letters, "both": "both", "neither": "neither", "unclear": "unclear"}
    if choice not in known:
        raise BadOrder(400, f"{choice!r} is not a label.")
    return known[choice]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSummary:
    """The labels' summary in sentences. `arms` has (arm, its share of right answers); empty without clear
    labels."""

    extent: str
    arms: tuple[tuple[str, str], ...]
    apart: str


def summarized(labels: Collection[Label]) -> LabelSummary | None:
    """Sum up a canary's labels; None without labels. Unclear labels are only counted."""
    clear = [each.right for each in labels if each.right != "unclear"]
    if not labels:
        return None
    unclear = len(labels) - len(clear)
    right = {arm: sum(each in (arm, "both") for each in clear) for arm in ("baseline", "candidate")}
    only = {arm: sum(each == arm for each in clear) for arm in right}
    return LabelSummary(
        extent=f"{count(len(clear))} labelled, {count(unclear)} unclear: {_extent(len(clear))}",
        arms=tuple((arm, _share(found, len(clear))) for arm, found in right.items()) if clear else (),
        apart=f"Only the candidate is right in {only['candidate']}, only the baseline in {only['baseline']}.",
    )


def _extent(count: int) -> str:
    if count < SPOT:
        return f"a spot check. Below {SPOT} labels there are no rates."
    return "a partial evaluation." if count < FULL else "a full evaluation."


def _share(right: int, of: int) -> str:
    if of < SPOT:
        return f"{right} of {of}"
    low, high = wilson(right, of)
    return f"{percent(right / of)} ({percent(low)} to {percent(high)}), {right} of {of}"


def day_asked(text: str | None) -> date:
    """Parse a UTC day; today for None. Raises BadOrder (400)."""
    try:
        day = date.fromisoformat(text) if text else datetime.fromtimestamp(time.time(), UTC).date()
        _ = day - _DAY, day + _DAY  # the page links to both
    except (ValueError, OverflowError):
        raise BadOrder(400, f"{text!r} is not a day; write it as 2026-11-24.") from None
    return day


def _starts(day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


def _after(text: str | None) -> float:
    try:
        return float(text or 0.0)
    except ValueError:
        raise BadOrder(400, f"{text!r} is not a time; write it in UTC seconds.") from None
