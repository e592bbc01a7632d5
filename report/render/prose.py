"""What every rendering says in words: headlines, the split, what changed."""

from collections.abc import Sequence
from datetime import UTC, datetime

from report.document import CategoryLine, MetricLine, PartState, Report, SegmentLine, Verdict
from report.judge import State
from report.reading import GATE
from report.wording import Unit, amount, between, count, days, distance, signed, unit_of

HEADLINES: dict[Verdict, tuple[str, str]] = {
    "ship_now": ("Ship now", "The candidate is ideal on everything that was asked of it."),
    "ship": ("Ship", "The candidate is acceptable on everything that was asked of it."),
    "ship_with_caveats": ("Ship with caveats", "The candidate may ship if the points below are accepted."),
    "dont_ship": ("Don’t ship", "The candidate fails on at least one point that decides."),
    "extend": ("Extend the canary", "Nothing has failed, but there is not enough evidence yet to ship."),
}

STATES: dict[State, tuple[str, str]] = {
    "IDEAL": ("✓✓", "Ideal"),
    "PASS": ("✓", "Acceptable"),
    "FAIL": ("✗", "Misses"),
    "INCONCLUSIVE": ("?", "Undecided"),
    "NODATA": ("–", "No data"),
}

PART_STATES: dict[PartState, str] = {
    "WORSE": "worse",
    "BETTER": "better",
    "NO_DIFFERENCE": "no difference seen",
    "TOO_FEW": "too few users",
}

METHOD = (
    "Every interval covers the true value 95 % of the time, also when the report is looked at every day.",
    "Users are compared, not requests: many requests of one user count as one piece of evidence.",
    "A request counts to the model it was assigned to, also when the current model had to answer instead.",
    "A criterion passes only when its whole interval keeps the bound. Missing data is never a pass.",
    "No interval is given before 100 candidate users have a value.",
    "The score ranks candidates; it decides nothing. A failed criterion cannot be outvoted.",
    "Segments and categories are tested together: at most about 1 in 20 of those marked is chance. Where "
    "many are marked they support each other, and one’s own interval may just reach no difference.",
    "Quantiles such as p95 are the inverted CDF, with Woodruff’s interval over users.",
)


def span_of_days(report: Report) -> str:
    """2 Nov 2026 – 11 Nov 2026 (9 days)."""
    if report.window.start is None or report.window.end is None:
        return "no exchange yet"
    start, end = (_date(moment) for moment in (report.window.start, report.window.end))
    return f"{start} – {end} ({report.window.days:.1f} days)"


def _date(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment.day} {moment:%b %Y}"


def users(report: Report) -> str:
    """How many units each arm had."""
    return f"{report.units.candidate:,} on the candidate, {report.units.baseline:,} on the current model"


def split(report: Report) -> str:
    """The sample-ratio check in a sentence."""
    p = report.srm.p_value
    if p is None:
        return "not checked: too few users yet, or the share is not known"
    if report.srm.blocked:
        return f"does not fit the share that was set (p = {p:.2g}); no comparison can be trusted"
    return f"as planned (p = {p:.2g})"


def mirror(report: Report) -> str | None:
    """The copies that nobody got the answers of, in a sentence; None where there were none."""
    found = report.mirror
    if found is None:
        return None
    cost = "their cost is not known" if found.cost_usd is None else f"{amount(found.cost_usd, 'usd')} in all"
    return f"{count(found.copies, 'copied request')}, {found.failed:,} failed, {cost}; in no other figure"


_DECIDED = {"ship": "ship", "dont_ship": "don’t ship", "extend": "extend"}


def decision(report: Report) -> str | None:
    """What a person decided, in a sentence; None where nobody did."""
    found = report.decision
    if found is None:
        return None
    factor = f" Compensating factor: {found.compensating}." if found.compensating else ""
    return f"{_DECIDED[found.decision]}, by {found.by} on {_date(found.at)}: {found.reason}{factor}"


def score_words(report: Report) -> str:
    """83 (71 to 94) of 100."""
    score = report.score
    if score.estimate is None:
        return f"not known yet; {score.low:.0f} to {score.high:.0f} of 100 is possible"
    return f"{score.estimate:.0f} of 100, {score_range(report)}"


def score_range(report: Report) -> str:
    """compatible with 71 to 94, or that both ends are the same."""
    low, high = f"{report.score.low:.0f}", f"{report.score.high:.0f}"
    return f"compatible with {low} to {high}" if low != high else "the same at both ends of the intervals"


def against_baseline(line: MetricLine) -> str:
    """The metric against the current model: what was seen, or what could have been hidden."""
    unit = unit_of(line.metric, line.acceptable)
    found = line.difference
    if found.estimate is None or found.p_value is None:
        return "cannot be compared yet"
    if found.p_value >= 0.05:
        return f"no difference seen ({between(found.low, found.high, unit)})"
    return f"{_change(found.estimate, line.baseline, unit)} ({between(found.low, found.high, unit)})"


def change(line: MetricLine) -> str:
    """By how much the candidate differs; its difference must be known."""
    return _change(line.difference.estimate or 0.0, line.baseline, unit_of(line.metric, line.acceptable))


def _change(difference: float, baseline: float | None, unit: Unit) -> str:
    """41 % lower, 2.0 points higher, or 4.1 times the current where per cents grow hard to read."""
    direction = "higher" if difference > 0 else "lower"
    if unit not in ("s", "usd") or not baseline:
        return f"{distance(difference, unit)} {direction}"
    part = difference / baseline
    if part >= 1:
        return f"{1 + part:.1f} times the current"
    return f"{100 * abs(part):.0f} % {direction}"


def mark(line: MetricLine, report: Report) -> tuple[str, str]:
    """The line's sign and word: as STATES, but that some values cannot be there yet."""
    if unripe(line, report):
        return "–", "Not measurable in this window"
    return STATES[line.state]


def unripe(line: MetricLine, report: Report) -> bool:
    """True where no user has been here for as long as the metric takes to mature."""
    return line.state == "NODATA" and report.window.days < line.matures_days


def evidence(line: MetricLine, report: Report) -> str:
    """How many users the line rests on, and the smallest difference that so many show."""
    if unripe(line, report):
        return f"a value is complete {days(line.matures_days)} after a user’s first request"
    users = f"{line.units:,} candidate user{'' if line.units == 1 else 's'} with a value"
    if line.units < GATE:
        return f"{users}, of {GATE} needed for an interval"
    if line.mde is None:
        return users
    return f"{users}; a difference of {distance(line.mde, unit_of(line.metric, line.acceptable))} can be seen"


Part = SegmentLine | CategoryLine

_ORDER: dict[PartState, int] = {"WORSE": 0, "NO_DIFFERENCE": 1, "BETTER": 2, "TOO_FEW": 3}


def worst_first(parts: Sequence[Part]) -> list[Part]:
    """Blocking first, then worse, with no difference, better, too few; the surest first within each."""

    def rank(part: Part) -> tuple[bool, int, float]:
        p = part.difference.p_value
        return (not part.blocks, _ORDER[part.state], 2.0 if p is None else p)

    return sorted(parts, key=rank)


def differs(part: Part) -> bool:
    """True for a place worth a line of its own."""
    return part.blocks or part.state in ("WORSE", "BETTER")


def part_name(part: Part) -> str:
    """region: eu, or the category's own name."""
    return f"{part.by}: {part.value}" if isinstance(part, SegmentLine) else f"category: {part.value}"


def part_difference(part: Part, report: Report) -> str:
    """The part's difference from the baseline with its interval."""
    bounds = {line.metric: line.acceptable for line in report.metrics}
    unit = unit_of(part.metric, bounds[part.metric])
    if part.difference.estimate is None:
        return "–"
    if part.difference.p_value is None:
        return signed(part.difference.estimate, unit)
    ends = between(part.difference.low, part.difference.high, unit)
    return f"{signed(part.difference.estimate, unit)} ({ends})"


def value(line: MetricLine, number: float | None) -> str:
    """A number of this line in its unit."""
    return amount(number, unit_of(line.metric, line.acceptable))


def interval(line: MetricLine) -> str:
    """The candidate's interval, from – to."""
    low, high = line.candidate_interval
    if low is None and high is None:
        return "–"
    return f"{'…' if low is None else value(line, low)} – {'…' if high is None else value(line, high)}"
