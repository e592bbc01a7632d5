"""The archive in sentences: its trends with their figures, and why a release stands as it does."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import get_args

from alerts.wording import capitalized
from common.interval import Interval, Range
from common.numbers import count as number
from common.numbers import set_percent
from pages.words.figures import between, defined, joined, label, look_words, signed
from pages.words.judge import with_ends
from pages.words.reasons import sentences
from pages.words.status import act, day, in_words, minute, moment, plain, shares
from pages.words.verdict import failure_rate
from records.outcome import ProviderError
from records.store.releases import is_drift
from routing.canary import Arm, RequestChanges
from verdict.archive.release_facts import ProviderFailures, ReleaseCosts, TimelineEntry, TimelineKind
from verdict.archive.releases import Dossier, RunStanding, verdicts
from verdict.archive.trends import Family, TrendStep, Validity, YearSaved
from verdict.archive.week_after import Kept, PromisedRow, PromisesHeld, WeekAfter, Why, promises_kept
from verdict.decision.document import SHIPS, Difference, Report
from verdict.terms.measures import Unit

_UNPRICED = "no price"

SAVINGS = (
    "Savings are a forecast, not a bill: for all users in the first month and year, net of what the "
    "evaluation cost, if traffic and prices stay as measured."
)


def family(family: Family) -> str:
    """A vendor family's mean changes; below five releases, only their number."""
    releases = "1 release" if len(family.releases) == 1 else f"{len(family.releases)} releases"
    if len(family.releases) < family.needed:
        return f"{family.vendor}: {releases}; more is said from {_NEEDED} on."
    parts = [
        f"{name} {words}"
        for name, words in (
            ("cost", _mean(family.cost, percent)),
            (
                defined(family.accuracy_metric or "accuracy", family.accuracy_per),
                _mean(family.accuracy, _in_unit(family.accuracy_unit)),
            ),
            ("latency p95", _mean(family.latency, percent)),
        )
        if words
    ]
    known = ", ".join(parts) or f"no change is known of {_NEEDED}"
    last = f"; the last {_NEEDED} all shipped" if family.last_shipped else ""
    return f"{family.vendor}: {releases}, on average: {known}; {family.shipped} shipped{last}."


_NEEDED = "five"


def _mean(found: Interval | None, words: Callable[[Range], str]) -> str:
    if found is None:
        return ""
    return words(found.shown())


def accuracy(step: TrendStep) -> str:
    """The change of the metric that stands for accuracy, named, with its interval."""
    if step.accuracy is None or step.accuracy_metric is None:
        return "–"
    return f"{defined(step.accuracy_metric, step.accuracy_per)} {_in_unit(step.accuracy_unit)(step.accuracy)}"


def _in_unit(unit: Unit) -> Callable[[Range | None], str]:
    return points if unit == "share" else _number


def validity(validity: Validity) -> str:
    """The correlation of the accuracy on synthetic examples and with users."""
    evaluations = "1 evaluation" if validity.pairs == 1 else f"{validity.pairs} evaluations"
    users = f" (users: {label(validity.metric)})" if validity.metric is not None else ""
    start = f"Do synthetic tasks predict real ones? {evaluations} with the accuracy of both{users}"
    if validity.pairs < validity.needed:
        return f"{start}; their correlation is shown from {validity.needed} on."
    if validity.pearson is None or validity.spearman is None:
        return f"{start}; one of them is constant, so there is no correlation."
    values = (
        f"{name} {found.estimate:.2f} ({found.low:.2f} to {found.high:.2f})"
        for name, found in (("Pearson", validity.pearson), ("Spearman", validity.spearman))
    )
    return f"{start}: {', '.join(values)}."


def points(change: Range | None) -> str:
    """A share's change, with its interval."""
    return _change(change, 100, " points")


def _number(change: Range | None) -> str:
    """A change in the metric's own unit, with its interval."""
    return _with_interval(change, lambda value: f"{value:+.2f}".replace("-", "−"))


def percent(change: Range | None) -> str:
    """A relative change, with its interval."""
    return _change(change, 100, " %")


def cost(step: TrendStep) -> str:
    """The relative change of the cost, with its interval."""
    return _UNPRICED if step.unpriced else percent(step.cost)


def judged(step: TrendStep) -> str:
    """The share of pairs in which a judge preferred the candidate's answer, with its interval."""
    return "–" if step.judged is None else with_ends(step.judged)


def saving(step: TrendStep, *, year: bool = False) -> str:
    """The saving of the first month, or `year`, with its interval."""
    return _UNPRICED if step.unpriced else dollars(step.saving_usd_year if year else step.saving_usd_month)


def year_saved(year: YearSaved) -> str:
    """What the reports expect a year to save, what its evaluations cost, what is left, and what comes."""
    name = f"{year.year} so far" if year.goes_on else f"{year.year}"
    if not year.promoted:
        return f"{name}: no candidate was promoted; evaluations cost {usd(year.evaluated_usd)}."
    candidates = number(year.promoted, "promoted candidate")
    spent = f"{usd(year.evaluated_usd)} without people's time"
    if year.in_vain_usd:
        spent += f", {usd(year.in_vain_usd)} of it for what did not ship"
    if year.unknown == year.promoted:
        return f"{name}: what {candidates} should save is not known; evaluations cost {spent}."
    unknown = f" (of {year.unknown} of them it is not known)" if year.unknown else ""
    said = (
        f"{name}: {candidates} should have saved {dollars(year.saved_usd)}{unknown}, each against the "
        "model before it, as its report expected of a month, for the time since its promotion; no bill was "
        f"compared. Evaluations cost {spent}, which leaves {dollars(year.net_usd)}."
    )
    ahead = year.ahead_usd if year.goes_on else None
    return said if ahead is None else f"{said} A year from now on should save {dollars(ahead)}."


def became(step: TrendStep) -> str:
    """Whether the candidate shipped; a dash while nobody has decided."""
    return "–" if step.shipped is None else "shipped" if step.shipped else "not shipped"


def dollars(change: Range | None) -> str:
    """Dollars, with their interval."""
    return _with_interval(change, usd)


def usd(value: float) -> str:
    """$1,240, −$310."""
    return f"−${-value:,.0f}" if value < 0 else f"${value:,.0f}"


def _change(change: Range | None, scale: float, unit: str) -> str:
    return _with_interval(change, lambda value: f"{value * scale:+.1f}".replace("-", "−"), unit)


def _with_interval(change: Range | None, words: Callable[[float], str], unit: str = "") -> str:
    """The estimate with its interval in brackets, without unknown ends."""
    if change is None:
        return "–"
    low, high = change.low, change.high
    if low is not None and high is not None:
        ends = f"{words(low)} to {words(high)}"
    elif low is not None:
        ends = f"at least {words(low)}"
    else:
        ends = f"at most {words(high)}" if high is not None else "no interval"
    return f"{words(change.estimate)}{unit} ({ends})"


def promises(found: PromisesHeld) -> str:
    """How often promises held; below five releases, only their number."""
    releases = number(found.releases, "release")
    if found.rows is None:
        return f"Promises: {releases} with a week after; more is said from {_NEEDED} on."
    said = promises_kept(found.kept or 0, found.not_kept or 0, found.unknown or 0)
    return f"Promises of {releases}: {said}."


_UNKNOWN: Mapping[Why, str] = {
    "open": "the intervals do not tell",
    "no_promise": "nothing was promised: its interval was open",
    "too_few": "too few users with a value",
    "not_judged": "its values cannot be judged",
    "sums_up": "it sums up over time, and the times differ",
}


def promised(row: PromisedRow) -> str:
    """The promised difference with its interval."""
    return _difference(row.promised, row.unit)


def came(row: PromisedRow) -> str:
    """The difference that came with its interval, or why it is not known; and why it does not tell."""
    if row.came is None:
        return _UNKNOWN.get(row.why, "–")
    found = _difference(row.came, row.unit)
    return f"{found}: {_UNKNOWN[row.why]}" if row.why else found


def _difference(found: Difference | Range, unit: Unit) -> str:
    if found.estimate is None:
        return "–"
    return f"{signed(found.estimate, unit)} ({between(found.low, found.high, unit)})"


def week_after(found: WeekAfter) -> Sequence[str]:
    """How many rows kept their promise, and from whom that is known."""
    lacks = Counter(_UNKNOWN[row.why] for row in found.rows if row.why)
    why = f": {joined([f'of {times} {lack}' for lack, times in lacks.most_common()])}" if lacks else ""
    by = f" by {found.ended_by}" if found.ended_by else ""
    planned = minute(found.planned_until)
    early = f" It was ended early{by}, before {planned} UTC, too early to tell more."
    return (
        f"{capitalized(promises_kept(*map(found.count, get_args(Kept))))}{why}.",
        f"{set_percent(found.share)} of the users were held back with the former baseline from "
        f"{day(found.since)} to {day(found.until)}: {number(found.units.baseline, 'user')} seen against "
        f"{found.units.candidate:,} promoted."
        f"{'' if found.until >= found.planned_until else early}",
    )


# Why a release stands as it does.


def ending(found: Dossier) -> str:
    """What became of the release, in a few words: shipped; rolled back in category refund."""
    if not found.newest:
        return found.state.replace("_", " ")
    last = max(found.newest, key=lambda run: run.started_at)
    if last.state == "promoted":
        return "shipped"
    if last.state == "ended":
        return "tried"
    if last.state != "rolled_back":
        return last.state
    if last.who.startswith("guardrail "):
        return f"rolled back in {joined([*last.places])}" if last.places else "rolled back"
    return f"{'shipped' if last.shipped else 'tried'}, and taken back by {last.who}"


_POINTS = 2
"""So many reasons of a canary that keeps the release from shipping are told."""


def reasons_of(found: Dossier) -> tuple[str, ...]:
    """The reasons of the release's verdict, the deciding ones first."""
    promoted = [run for run in found.newest if run.state == "promoted"]
    return (
        *_superseded(found),
        *_earlier(found),
        *(_pulled_back(run) for run in found.newest if run.state == "rolled_back"),
        *map(_promoted, promoted),
        *_not_made(found),
        *(_begun(run) for run in found.newest if run.verdict is None and run not in promoted),
        *map(_outweighed, (run for run in found.newest if run.despite and run.verdict in SHIPS)),
        *_agreement(found),
        *_open_points(found),
        *_missing(found),
    )


def _superseded(found: Dossier) -> Iterator[str]:
    """Where the candidate's story goes on."""
    after = found.superseded_by
    if after is not None:
        yield f"Superseded by release {after.id}, against {after.baseline}."


def _earlier(found: Dossier) -> Iterator[str]:
    """Which run speaks for a canary whose newest run has had no user, and what it says if that one took its
    rollback back."""
    newest, deciding = ({run.canary: run for run in runs} for runs in (found.newest, found.deciding))
    for run in found.telling:
        last = newest[run.canary]
        if last is not run and run.report is not None:
            users = number(run.report.units.candidate, "user")
            yield (
                f"No user is counted in run {last.run} of canary {run.canary}: what users say is of run "
                f"{run.run}, {users} of the candidate.{_but(run, deciding)}"
            )


def _but(run: RunStanding, deciding: Mapping[str, RunStanding]) -> str:
    """What the run says but for its rollback, where that was taken back."""
    speaks = deciding[run.canary]
    if speaks.run != run.run or speaks.verdict is None:
        return ""
    return f" Its rollback was taken back; without it the verdict is {in_words(speaks.verdict)}."


def decided(found: Dossier) -> list[str]:
    """Who promoted it or took it back, when, why, and against which verdict."""
    over = [run for run in found.newest if run.state in ("promoted", "rolled_back")]
    told = [(_promoted(run) if run.state == "promoted" else _pulled_back(run), run.ended_at) for run in over]
    return [f"{'' if at is None else f'{day(at)}: '}{said}" for said, at in told]


def _pulled_back(run: RunStanding) -> str:
    return f"Canary {run.canary} was rolled back by {run.who}{f': {run.reason}' if run.reason else ''}."


def _begun(run: RunStanding) -> str:
    return f"Canary {run.canary} has begun, and has no report yet."


def _outweighed(run: RunStanding) -> str:
    """Who outweighed what, and why, which is the first reason of such a report."""
    return f"{run.canary}: {_first(run.report)[0]}"


def _promoted(run: RunStanding) -> str:
    """Who decided, and what the report said of it then."""
    said = "without a report" if run.verdict is None else f"when the verdict was {in_words(run.verdict)}"
    said = f"against the verdict {in_words(run.against)}" if run.against else said
    reason = f": {run.reason.rstrip('.')}" if run.reason else ""
    last = run.acts[-1].after
    held = last.holdback if last.holds_back else None
    kept = (
        ""
        if held is None
        else (
            f" {set_percent(1.0 - last.effective_share)} of the users are held back with the former "
            f"baseline until {minute(held.until)} UTC."
        )
    )
    return f"Canary {run.canary} was promoted by {run.who} {said}{reason}.{kept}"


def _not_made(found: Dossier) -> Iterator[str]:
    for run in found.missing:
        instead = "the newest kept one is shown" if run.kept else "no earlier one was kept"
        yield f"The present report of canary {run.canary} could not be made, {instead}: {run.why}."


def _agreement(found: Dossier) -> Iterator[str]:
    """Who decides, where the layers disagree."""
    told = [
        (who, verdict) for who, verdict in verdicts(found.benchmark, found.deciding) if verdict is not None
    ]
    if len({"ship" if verdict == "ship_now" else verdict for _, verdict in told}) < 2:
        return
    parts = [
        f"{'the benchmark' if who is None else f'canary {who}'} says {in_words(verdict)}"
        for who, verdict in told
    ]
    yield f"They disagree: {joined(parts)}. The worst of them decides."


def _open_points(found: Dossier) -> Iterator[str]:
    """What keeps each part from a ship, of a canary its first two reasons; and what a benchmark says beside
    its verdict."""
    for run in found.deciding:
        if run.verdict in ("dont_ship", "extend") and run.state != "rolled_back":
            yield from (f"{run.canary}: {text}" for text in _first(run.report))
    document = found.benchmark or {}
    examples = document.get("reasons", ()) if document.get("verdict") != "ship" else ()
    yield from (f"Examples: {text}." for text in (*examples, *document.get("caveats", ())))


def _first(report: Report | None) -> Sequence[str]:
    return sentences(report)[:_POINTS] if report is not None else ()


def _missing(found: Dossier) -> Iterator[str]:
    if is_drift(found.release.candidate, found.release.baseline):
        yield "Users have had it since that day, under its old name: the verdict rests on examples only."
    elif not found.newest:
        yield "No user has tried it yet: the verdict rests on examples only."
    if found.benchmark is None:
        yield "No benchmark has compared these two models on all datasets."


# What a release's costs assume, for finance.


def assumed(costs: ReleaseCosts) -> list[str]:
    """What the figures rest on, and do not know."""
    report, money = costs.report, costs.report.details.money
    window, users = report.window, report.units
    dates = ""
    if window.start is not None and window.end is not None:
        dates = f", {day(window.start)} to {day(window.end)}"
    told = [
        f"Measured with {costs.canary}, run {costs.run}{dates}, on {number(users.baseline, 'user')} of the "
        f"current model and {number(users.candidate, 'user')} of the candidate.",
        "Users are compared, not requests: a model that makes users ask more often costs more.",
        "A user's cost is that of all priced requests in a phase of the run.",
        "Costs are those of the price list at the time of each request, without discounts.",
        "Intervals are 95 %.",
    ]
    return [*told, SAVINGS] if money is not None else told


# What happened to a release, for its team.


def happened(entry: TimelineEntry) -> str:
    """An entry of the timeline: support, run 1: ramp, 5 % to 10 % of the users."""
    where = f"{entry.canary}, run {entry.run}: " if entry.canary else ""
    return f"{where}{_HAPPENED[entry.kind](entry)}"


def _acted(entry: TimelineEntry) -> str:
    said = act(entry.action)
    if entry.shares is not None:
        said = f"{said}, {shares(*entry.shares)} of the users"
    return f"{said}, against the verdict {in_words(entry.against)}" if entry.against else said


_HAPPENED: Mapping[TimelineKind, Callable[[TimelineEntry], str]] = {
    "noticed": lambda entry: "the model was noticed",
    "benchmark": lambda entry: f"benchmark: {in_words(entry.action) if entry.action else 'no verdict'}",
    "act": _acted,
    "look": lambda entry: look_words(entry.day, entry.seen, entry.rubric),
    "page": lambda entry: f"people were told: {plain(entry.action)}",
    "note": lambda entry: "a note",
}


# What failed at a candidate's provider, for its vendor.


def failed_requests(found: ProviderFailures) -> list[str]:
    """How often the candidate failed, and how many requests were kept from it because it did."""
    told = (
        f"{failure_rate(found.failed, found.asked)} requests to the candidate failed or had a fault."
        if found.asked
        else "No request of a user was sent to the candidate."
    )
    if found.spared_at is None:
        return [told]
    first, last = (f"{moment(at)} UTC" for at in found.spared_at)
    return [
        told,
        f"{number(found.spared, 'more request')} never reached it, from {first} to {last}: after such "
        "failures its circuit breaker was open, and the current model answered.",
    ]


def provider_said(said: ProviderError) -> str:
    """Unsupported parameter: 'seed' (code unsupported_parameter, param seed); a dash for nothing."""
    named = ", ".join(
        f"{name} {value}" for name in ("code", "type", "param") if (value := getattr(said, name))
    )
    if not said.message:
        return named or "–"
    return f"{said.message} ({named})" if named else said.message


def adapted_members(canary: str, arm: Arm) -> str:
    """What a canary changes in the candidate's requests, without the values: support sets seed."""
    changes = arm.request
    steps = [f"renames {name} to {new}" for name, new in changes.rename]
    steps += [f"{verb} {name}" for verb, names in _given(changes) for name in names]
    steps += ["replaces a part of the system prompt"] if arm.prompt is not None else []
    steps += [f"describes the tool {name} in other words" for name, _ in arm.tools]
    return f"{canary} {joined(steps)}."


def _given(changes: RequestChanges) -> Iterator[tuple[str, Sequence[str]]]:
    yield "removes", changes.remove
    yield "sets", [name for name, _ in changes.set]
    yield "gives a default of", [name for name, _ in changes.default]
