"""What a release's documents say beside its dossier: what failed at the candidate's provider, what it costs,
and what happened when. Values only.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import msgspec

from common.groups import grouped
from records.captures.capture import Capture
from records.outcome import BLAMED, THROTTLED, UNREACHED, AttemptRecord, ErrorType, ProviderError
from records.store import Store
from records.store.benchmarks import BenchFailures, Benchmarks
from records.store.captures import CaptureStore
from records.store.releases import Releases
from records.store.reports import VerdictLooks
from records.store.segments.columns import faults_of
from records.store.segments.sources import sources
from routing.canary import Arm
from verdict.archive.releases import Dossier, RunStanding, stage_of
from verdict.decision.document import MetricLine, Report
from verdict.decision.reports import NoSuchCanary, judged_canary, report_of
from verdict.rows.reasons import attempt
from verdict.terms.judged_canary import ReportSettings
from verdict.terms.rubric import Criterion, parse_bound

NEWEST = 20
"""Requests that are named of each kind of failure."""
MOST_TEXTS = 3
"""Requests of each kind whose texts are shown."""
DAY_S = 86400.0
_LATE_S = 3600.0
"""How long after a run its last exchange may have begun."""
_QUOTED = 16
"""So many characters of a request in its provider's words are a quotation of it."""
_LEFT_OUT = "(the provider's words quote the request)"

_BREAKER: ErrorType = "breaker_open"
_NOT_ASKED = [_BREAKER, *sorted(str(each) for each in UNREACHED - {THROTTLED})]
_ASKED = ["ok", "error", "fallback"]
_FAILED = [*BLAMED, THROTTLED]
"""A rate or quota that is used up blames no candidate, but its provider can tell why."""
_SAID = ("code", "type", "param", "message")
_COLUMNS = (
    *("exchange_id", "at", "outcome", "error_type", "faults", "status", "provider", "model", "attempts"),
    *(f"provider_error_{member}" for member in _SAID),
    "provider_request_id",
)
_VARIES = re.compile(r"\d[\w.-]*|\b\w*(?<=[a-f\d]{12})\b")
"""Numbers and identifiers, which do not make another kind of failure."""
_attempts = msgspec.json.Decoder(tuple[AttemptRecord, ...]).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedRequest:
    """One request. `at` is UTC seconds; `request_id` is the provider's, "" if it named none. The exchange's
    id contains the user's hash: no vendor gets it."""

    at: float
    request_id: str
    exchange_id: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderFailure:
    """One kind of failure. `what` is an error type or an answer fault, `model` is `provider/model`, `status`
    the provider's. `said` are the words of the newest request, `newest` the newest requests, newest first.
    Times are UTC seconds, of a benchmark None; `days` counts by UTC day (number since 1970). `texts` are
    captures of the newest requests, if asked for."""

    what: str
    model: str
    status: int | None
    said: ProviderError
    count: int
    first_at: float | None
    last_at: float | None
    newest: tuple[FailedRequest, ...]
    days: Mapping[int, int] = field(default_factory=dict)
    texts: tuple[Capture, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderFailures:
    """The failures of a release, the most frequent first. `asked`: requests that the candidate was asked;
    `failed`: those that have one of these failures. `spared`: requests of its users that its breaker kept
    from it after such failures, at the UTC seconds `spared_at` (first and last; None without any).
    `adapted`: the arms that change the
    candidate's requests, by canary. `examples` are the benchmark's, without times."""

    asked: int
    failed: int
    spared: int
    spared_at: tuple[float, float] | None
    kinds: tuple[ProviderFailure, ...]
    adapted: Mapping[str, Arm]
    examples: tuple[ProviderFailure, ...] = ()


TimelineKind = Literal["noticed", "benchmark", "act", "look", "page", "note"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineEntry:
    """Something that happened to a release, at UTC second `at`. `who` is a person, or what acted by itself.
    `action` is the audit log's, a page's event or a benchmark's verdict; `shares` those of the users before
    and after. A look on `day` of the plan has `seen` how far each row of the `rubric` is from its acceptable
    bound, None for want of users. `minutes` are a person's, on `stage`."""

    at: float
    kind: TimelineKind
    canary: str = ""
    run: int = 0
    who: str = ""
    action: str = ""
    reason: str = ""
    shares: tuple[float, float] | None = None
    against: str = ""
    day: int | None = None
    seen: Mapping[str, float | None] = field(default_factory=dict)
    rubric: Mapping[str, str] = field(default_factory=dict)
    minutes: float | None = None
    stage: str = ""


COSTS = ("cost_per_request", "cost_total")
"""The costs of a request and of a user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseCosts:
    """What both models cost in this run: `rows` as a report has them, and the run's own `report`, whose
    details have the money. `left_out`: why rows are missing, "" if none is."""

    canary: str
    run: int
    rows: tuple[MetricLine, ...]
    report: Report
    left_out: str = ""


Reader = Literal["vendor", "finance", "team"]
READERS: tuple[Reader, ...] = get_args(Reader)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseFacts:
    """All that a release's documents say."""

    dossier: Dossier
    failures: ProviderFailures
    timeline: tuple[TimelineEntry, ...]
    costs: tuple[ReleaseCosts, ...]


def facts_of(
    settings: ReportSettings,
    store: Store,
    found: Dossier,
    reader: Reader,
    *,
    now: float,
    texts: bool = False,
) -> ReleaseFacts:
    """The facts of this release for its reader; the vendor's have no costs. `texts`: with captured texts of
    some failed requests; without them nothing of a failure quotes a captured request. Raises StoreDown."""
    return ReleaseFacts(
        dossier=found,
        failures=_failures_of(settings, store, found, now=now, texts=texts),
        timeline=timeline_of(store, found),
        costs=()
        if reader == "vendor"
        else tuple(
            _costs(settings, store, run, run.report, now=now)
            for run in found.runs
            if run.tried and run.report is not None
        ),
    )


# What it costs: a request, a user, and an event of each metric that counts the cost per one.


_BOUNDS = "<= 1.2x baseline", "<= 0.9x baseline"
"""Rows need bounds. Nobody reads the states of these."""


def _costs(
    settings: ReportSettings, store: Store, run: RunStanding, report: Report, *, now: float
) -> ReleaseCosts:
    """The costs of a run with this report; rows that cannot be made any more are left out."""
    names = [*COSTS, *sorted(name for name, metric in settings.metrics.items() if metric.cost_per)]
    rows = [_criterion(name) for name in names]
    left_out = list[str]()

    def made() -> Report | None:
        return report_of(settings, run.canary, store, now=now, run=run.run, retro=rows)

    costs = attempt(f"the costs of {run.canary}", made, left_out.append)
    return ReleaseCosts(
        canary=run.canary,
        run=run.run,
        rows=() if costs is None else tuple(line for line in costs.metrics if line.candidate is not None),
        report=report,
        left_out="".join(left_out),
    )


def _criterion(metric: str) -> Criterion:
    acceptable, ideal = map(parse_bound, _BOUNDS)
    return Criterion(metric=metric, acceptable=acceptable, ideal=ideal, weight=1.0, question="")


# What happened, from noticed to decided.


def timeline_of(store: Store, found: Dossier) -> tuple[TimelineEntry, ...]:
    """What happened to this release, oldest first. Raises StoreDown."""
    return tuple(sorted(_timeline(store, found), key=lambda each: each.at))


def _timeline(store: Store, found: Dossier) -> Iterator[TimelineEntry]:
    about, releases = found.release, Releases(store)
    if about.noticed_at is not None:
        yield TimelineEntry(at=about.noticed_at, kind="noticed", who="canary watch")
    for made in Benchmarks(store).entries(about.candidate, about.baseline):
        yield TimelineEntry(at=made.at, kind="benchmark", who=made.owner, action=made.verdict or "")
    for run in found.runs:
        yield from _acts(releases, run, first=run.canary not in _before(found, run))
        yield from _looks(store, run)
        for page in releases.pages(run.canary, since=run.started_at, until=_until(run)):
            yield TimelineEntry(
                at=page.at, kind="page", canary=run.canary, run=run.run, action=page.event, reason=page.title
            )
    for note in found.notes:
        yield TimelineEntry(
            at=note.at,
            kind="note",
            who=note.who,
            reason=note.text,
            minutes=note.minutes,
            stage=stage_of(note) if note.minutes else "",
        )


def _before(found: Dossier, run: RunStanding) -> set[str]:
    return {each.canary for each in found.runs if (each.canary, each.run) < (run.canary, run.run)}


def _acts(releases: Releases, run: RunStanding, *, first: bool) -> Iterator[TimelineEntry]:
    """The audit log's entries of a run, and of the time before the canary's first one."""
    for entry in releases.acts(run.canary):
        act, before = entry.act, entry.before
        if entry.after.run != run.run and not (first and run.run == 1 and entry.after.run == 0):
            continue
        over = act.action == "end" or (before is not None and before.state == "ended")
        shares = (before.effective_share if before is not None else 0.0, entry.after.effective_share)
        yield TimelineEntry(
            at=act.at,
            kind="act",
            canary=run.canary,
            run=run.run,
            who=act.who,
            action=act.action,
            reason=act.reason,
            shares=None if over else shares,  # nobody loses a promoted model by an end
            against=act.against,
            minutes=act.minutes,
            stage=stage_of(act) if act.minutes else "",
        )


def _looks(store: Store, run: RunStanding) -> Iterator[TimelineEntry]:
    """Each day's looks: the rows that had enough users, and those that had not."""
    every = VerdictLooks(store).of_run(run.canary, run.run)
    for (at, day), looks in grouped(every, lambda look: (look.at, look.day)).items():
        yield TimelineEntry(
            at=at,
            kind="look",
            canary=run.canary,
            run=run.run,
            day=day,
            seen={each.metric: each.distance for each in looks},
            rubric={}
            if run.report is None
            else {each.metric: each.acceptable for each in run.report.metrics},
        )


# What failed at the candidate's provider: when, how often, in the provider's own words, and under which of
# its request ids. For its vendor, so nothing in it names a user or a cost.


def _failures_of(
    settings: ReportSettings, store: Store, found: Dossier, *, now: float, texts: bool
) -> ProviderFailures:
    """What failed in the runs of this release, and in its newest benchmark."""
    asked, rows, spared = 0, list[Mapping[str, Any]](), list[float]()
    for run in found.runs:
        asked += _asked(store, run, rows, spared)
    newest_first = sorted(rows, key=lambda each: each["at"], reverse=True)
    kinds = grouped((each for row in newest_first for each in _failures_in(row)), _kind)
    made = [_failure(store, each, texts=texts) for each in kinds.values()]
    return ProviderFailures(
        asked=asked,
        failed=len(rows),
        spared=len(spared),
        spared_at=(min(spared), max(spared)) if spared else None,
        kinds=tuple(sorted(made, key=lambda each: -each.count)),
        adapted=dict(_adapted(settings, store, found)),
        examples=tuple(_of_benchmark(store, found, now=now)),
    )


def _until(run: RunStanding) -> float:
    """The UTC second of the run's last exchange at the latest. A promoted candidate goes on answering."""
    over = run.ended_at if run.state != "promoted" else None
    return float("inf") if over is None else over + _LATE_S


def _asked(store: Store, run: RunStanding, failed: list[Mapping[str, Any]], spared: list[float]) -> int:
    """Add the run's failed requests, and the moments of those that the breaker kept from the candidate;
    return how many requests the candidate was asked."""
    import pyarrow.compute as pc  # Arrow takes 80 MiB

    of = pc.field
    candidate = (of("canary") == run.canary) & (of("run") == run.run) & (of("arm") == "candidate")
    asked = candidate & of("outcome").isin(_ASKED) & ~of("error_type").isin(_NOT_ASKED)
    wrong = asked & (of("error_type").isin(_FAILED) | (of("faults") != ""))
    kept_off = candidate & (of("error_type") == _BREAKER)
    number = 0
    with store.reading() as connection:
        for source in sources(connection, since=run.started_at - 1.0, until=_until(run)):
            if here := source.read(["outcome"], asked).num_rows:
                number += here
                failed += source.read(_COLUMNS, wrong).to_pylist()
            spared += (at.timestamp() for at in source.read(["at"], kept_off)["at"].to_pylist())
    return number


def _failures_in(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The failure of one exchange, or each fault of its answer."""
    tried = next((each for each in _attempts(row["attempts"]) if each.arm == "candidate"), None)
    told = {member: row[f"provider_error_{member}"] or "" for member in _SAID}
    common = {
        "at": row["at"].timestamp(),
        "exchange_id": row["exchange_id"],
        "request_id": row["provider_request_id"],
        "model": f"{tried.provider}/{tried.model}" if tried else f"{row['provider']}/{row['model']}",
        "status": tried.status if tried else row["status"],
        "said": ProviderError(**told),
    }
    names = [row["error_type"]] if row["error_type"] in _FAILED else faults_of(row["faults"])
    for name in names:
        yield {**common, "what": name}


def _kind(failure: Mapping[str, Any]) -> tuple[object, ...]:
    """What failures of one kind have in common."""
    said: ProviderError = failure["said"]
    words = (said.code, said.type, said.param, _VARIES.sub("…", said.message))
    return failure["what"], failure["model"], failure["status"], words


def _failure(store: Store, rows: Sequence[Mapping[str, Any]], *, texts: bool) -> ProviderFailure:
    """One kind, of its requests, the newest first."""
    first = rows[0]
    known = list(CaptureStore(store).several([first["exchange_id"]]))
    some = [each["exchange_id"] for each in rows[:MOST_TEXTS]]
    return ProviderFailure(
        what=first["what"],
        model=first["model"],
        status=first["status"],
        said=first["said"] if texts else _unquoted(first["said"], known),
        count=len(rows),
        first_at=rows[-1]["at"],
        last_at=first["at"],
        newest=tuple(
            FailedRequest(at=each["at"], request_id=each["request_id"], exchange_id=each["exchange_id"])
            for each in rows[:NEWEST]
        ),
        days=Counter(int(each["at"] // DAY_S) for each in reversed(rows)),
        texts=tuple(CaptureStore(store).several(some)) if texts else (),
    )


def _unquoted(said: ProviderError, captures: Sequence[Capture]) -> ProviderError:
    """The words, without those that quote the captured request or its answer."""
    own = "\n".join(
        text for each in captures for text in (*(message.said for message in each.messages), each.said)
    )

    def clean(text: str) -> str:
        length = min(_QUOTED, len(text))
        quotes = length and any(text[at : at + length] in own for at in range(len(text) - length + 1))
        return _LEFT_OUT if quotes and len(text) >= _QUOTED else text

    return ProviderError(**{member: clean(getattr(said, member)) for member in _SAID})


def _adapted(settings: ReportSettings, store: Store, found: Dossier) -> Iterator[tuple[str, Arm]]:
    for canary in dict.fromkeys(run.canary for run in found.runs):
        try:
            candidate = judged_canary(settings, canary, store).candidate
        except NoSuchCanary:
            continue
        if candidate is not None and (candidate.request or candidate.text_parts):
            yield canary, candidate


def _of_benchmark(store: Store, found: Dossier, *, now: float) -> Iterator[ProviderFailure]:
    """What the newest benchmark got instead of an answer, as long as its wrong answers are stored."""
    about = found.release
    rows = found.wrong or BenchFailures(store).latest(about.candidate, about.baseline, now=now) or ()
    kinds = dict[str, list[str]]()
    for row in rows:
        if row.get("candidate_failure"):
            ids = kinds.setdefault(str(row["candidate_failure"]), [])
            ids.append(str(row.get("candidate_request_id") or ""))
    for what, ids in kinds.items():
        named = [FailedRequest(at=0.0, request_id=each, exchange_id="") for each in ids if each]
        yield ProviderFailure(
            what=what,
            model=about.candidate,
            status=None,
            said=ProviderError(),
            count=len(ids),
            first_at=None,
            last_at=None,
            newest=tuple(named[:NEWEST]),
        )
