"""The reasons of a verdict in sentences that need no statistics."""

from datetime import UTC, datetime
from typing import assert_never

from common.numbers import count, rough_percent, set_percent
from judge.figures import NEEDED_LABELS
from pages.words.drift import change_words
from pages.words.figures import (
    amount,
    between,
    chance,
    days,
    distance,
    ends_in_words,
    joined,
    label,
    signed,
    sooner,
    span,
    throttled,
    title,
    to_come,
    unreached,
)
from pages.words.status import day, minute
from records.facts.metric import JUDGED_PREFERENCE, PREDICTED_BY
from verdict.decision.document import MetricLine, PlanLine, Report
from verdict.decision.plan_course import end_of, look_ends, may_ship
from verdict.details import SinceFirst
from verdict.rows.comparison import A_FIFTH, FEWEST_EVENTS, GATE
from verdict.rows.reasons import (
    AnotherRubric,
    BoundMissedInParts,
    BusyUser,
    CacheDiffers,
    Capped,
    CostsUnknown,
    DaysDecide,
    DaysMissing,
    EarlierRun,
    EffectFades,
    FewDaysRequired,
    FewerUsers,
    GroundMoved,
    InBothArms,
    JudgeAgainst,
    LabelsWanted,
    LateFeedback,
    LeftOut,
    LogEnds,
    MissesOutweighed,
    NobodyRead,
    NoRubric,
    NotByUsers,
    NotExpected,
    OneSided,
    OneUser,
    OutageLeftOut,
    OverQuota,
    PartTooFew,
    PartTooWide,
    PartUnseen,
    PartWorse,
    PlanUsedUp,
    Reason,
    RiskTaken,
    RowMissed,
    RowNotComputed,
    RowOpen,
    RowsAcceptable,
    RowsIdeal,
    SessionsDiffer,
    SessionsEndEarly,
    ShareChanged,
    SilenceDecides,
    SplitNotChecked,
    SplitOff,
    StoredReason,
    TooFewEvents,
    TooFewUsers,
    TrafficDiffers,
    UnequalResponse,
    UnevenlyAbandoned,
    UnitsNotUsers,
    Unreached,
    WorseInParts,
)
from verdict.sample.observations import MissingShare
from verdict.sample.sample import Outage
from verdict.terms.judged_canary import RunRolledBack
from verdict.terms.measures import Unit, quantile_level
from verdict.terms.plan import DAY_S, ShareChange
from verdict.terms.rubric import parse_bound

PAIRS_INSTEAD = "use `mirror` and `judge: {pairs: …}`, with a row on judged_preference"
"""What to do instead of a row on marks."""

_SPANS = 3
"""So many times of an outage are named."""

_WITHOUT = {"pass": "it would pass", "fail": "it would miss it", "open": "it would be undecided"}


def sentences(report: Report) -> tuple[str, ...]:
    """The report's reasons, the deciding ones first."""
    return tuple(sentence(reason, report) for reason in report.reasons)


def sentence(reason: Reason, report: Report) -> str:
    """One reason; the figures of a row, and its bound, are those of the report's line."""
    match reason:
        case StoredReason():
            return reason.words
        case (
            SplitOff()
            | SplitNotChecked()
            | Unreached()
            | InBothArms()
            | NobodyRead()
            | EarlierRun()
            | NoRubric()
            | OverQuota()
        ):
            return _of_users(reason)
        case RunRolledBack():
            return _rolled_back(reason)
        case RowMissed() | RowOpen() | OneUser():
            return _of_row(reason, _line(report, reason.metric, reason.acceptable), report.plan)
        case DaysDecide():
            return _by_days(reason, _line(report, reason.metric, reason.acceptable))
        case SilenceDecides():
            return _by_silence(reason, _line(report, reason.metric, reason.acceptable))
        case TooFewUsers():
            return _without_data(reason, _line(report, reason.metric, reason.acceptable))
        case RowNotComputed() | CostsUnknown() | LabelsWanted() | OneSided() | TooFewEvents():
            return _held_open(reason)
        case PartWorse() | WorseInParts() | BoundMissedInParts():
            return _worse(reason, report)
        case PartUnseen() | PartTooFew() | PartTooWide():
            return _unknown_in_part(reason)
        case MissesOutweighed():
            names = joined([miss_words(name) for name in reason.names])
            return f"{reason.who} outweighed {names} ({reason.why.rstrip('.')})."
        case PlanUsedUp() | NotExpected() | RiskTaken() | ShareChanged() | LogEnds():
            return _of_plan(reason, report)
        case DaysMissing():
            more = f"; about {days(reason.more, more=True)}" if reason.more > 0 else ""
            done = count(reason.done, "whole day")
            return f"{done} of candidate traffic, {reason.required:g} required{more}."
        case AnotherRubric():
            return _another_rubric(reason)
        case GroundMoved():
            return _moved(reason)
        case OutageLeftOut():
            return _outage(reason.outage)
        case UnevenlyAbandoned():
            return _abandoned(reason)
        case CacheDiffers():
            return _cache_differs(reason, report)
        case UnequalResponse():
            return _unequal_response(reason, _line(report, reason.metric, reason.acceptable))
        case NotByUsers():
            return _not_by_users(reason, _line(report, reason.metric, reason.acceptable))
        case SessionsDiffer():
            return _sessions_differ(reason, _unit_in(report, reason.metric))
        case SessionsEndEarly():
            return _sessions_end_early(reason)
        case BusyUser() | TrafficDiffers() | LateFeedback() | UnitsNotUsers():
            return _of_traffic(reason)
        case EffectFades():
            return _fades(reason.since, _unit_in(report, reason.since.metric))
        case RowsIdeal():
            return f"Ideal: {joined([label(metric) for metric in reason.metrics])}."
        case RowsAcceptable():
            near = joined([label(metric) for metric in reason.may_be_ideal])
            may = f" (may be ideal: {near})" if near else ""
            return f"Acceptable: {joined([label(metric) for metric in reason.metrics])}{may}."
        case FewDaysRequired():
            asks = f"{reason.days:g} day{'' if reason.days == 1 else 's'} of traffic (`minimum_days`)"
            needs = f"a real decision needs at least {reason.needed}, because "
            return f"The config asks for {asks}; {needs * (reason.days < reason.needed)}weekdays differ."
        case Capped():
            cap = amount(reason.at, _line(report, reason.metric, reason.acceptable).unit)
            return (
                f"{title(reason.metric)}: values are capped at the baseline's 99.9th percentile, {cap}, so "
                "the means shown are those of the capped values."
            )
        case LeftOut():
            left = f"{_detail(reason)} could not be made and is left out: {reason.why}"
            return f"{left}. The rest of the report stands."
        case _:
            assert_never(reason)


def _line(report: Report, metric: str, acceptable: str) -> MetricLine:
    """The line of the row with this bound."""
    return next(line for line in report.metrics if (line.metric, line.acceptable) == (metric, acceptable))


def _unit_in(report: Report, metric: str) -> Unit:
    """The unit of a metric of several rows is that of the last."""
    return next(line.unit for line in reversed(report.metrics) if line.metric == metric)


def miss_words(name: str) -> str:
    """A miss by its name: satisfaction, category refund, segment region eu."""
    kind, colon, value = name.partition(":")
    return f"{kind} {value.replace('=', ' ', 1)}" if colon else label(name)


def _of_users(
    reason: SplitOff
    | SplitNotChecked
    | Unreached
    | OverQuota
    | InBothArms
    | NobodyRead
    | EarlierRun
    | NoRubric,
) -> str:
    match reason:
        case SplitOff():
            p = "" if reason.p_value is None else f", p = {reason.p_value:.2g}"
            return (
                f"The split does not match the configured share (sample-ratio mismatch{p}), and why is not "
                "known: whoever is missing from an arm may differ from the others, so no comparison can be "
                "trusted."
            )
        case SplitNotChecked(assigned_outside=True):
            return (
                "A flag system assigned the users, so their split was not checked: the figures are worth "
                "what that system's own sample-ratio check says."
            )
        case SplitNotChecked():
            return "The split of users could not be checked: too few users, or the share is unknown."
        case Unreached():
            return unreached(reason.found, reason.of)
        case OverQuota():
            return (
                f"Quota: {throttled(reason.found)}. The baseline answered the candidate’s, so what its users "
                "did shows the candidate less than its share of them says."
            )
        case InBothArms():
            return (
                f"The flag system gave both arms to {reason.users:,} of {reason.of:,} users who had "
                "the candidate, while the share stayed the same: they are in no criterion."
            )
        case NobodyRead():
            return (
                "Nobody has read the candidate's answers: text that refuses, wrong language, invention are "
                "not seen without feedback or a judge."
            )
        case EarlierRun():
            return (
                f"No user of the candidate is counted in this run. Run {reason.run} had "
                f"{count(reason.users, 'user')} of it: what they say is in `canary release show`."
            )
        case NoRubric():
            return "The canary has no rubric, so it cannot be judged."


def _rolled_back(reason: RunRolledBack) -> str:
    if not reason.who:
        return "This run was rolled back by a guardrail or a person."
    why = reason.why.rstrip(".")
    return f"This run was rolled back by {reason.who}{': ' if why else ''}{why}."


def _of_row(reason: RowMissed | RowOpen | OneUser, line: MetricLine, plan: PlanLine | None) -> str:
    match reason:
        case RowMissed():
            bound = f"“{line.acceptable}”" if line.look is None else bound_and_value(line)
            missed = f"{title(line.metric)} misses {bound}: {_standing(line)}, entirely on the wrong side."
            return missed + _happened(line) + _worse_than(reason.now_worse_than, reason.undecided_for)
        case RowOpen():
            return _undecided(reason, line) if plan is None else still_open(line, plan)
        case OneUser():
            return _by_one_user(reason, line)


_IN_AN_ARM = {"exchange": "answers", "session": "sessions", "user": "users"}


def _happened(line: MetricLine) -> str:
    """Of an event: how often it happened in each arm, or what it comes to."""
    if line.per is None or line.per == "value" or line.baseline is None:
        return ""
    arms, ours, theirs = _IN_AN_ARM[line.per], _value(line), amount(line.baseline, line.unit)
    if line.unit == "share":
        to = "to" if line.per == "user" else "in"
        return f" It happened {to} {ours} of the candidate's {arms} and {to} {theirs} of the baseline's."
    return (
        f" All {arms} together, also those without any, come to {ours} each with the candidate and to "
        f"{theirs} with the baseline."
    )


def _worse_than(who: str, undecided_for: str = "") -> str:
    if undecided_for:
        return f" It was undecided when {undecided_for} outweighed it."
    return f" It is worse than all that was likely when {who} outweighed it." if who else ""


def _undecided(reason: RowOpen, line: MetricLine) -> str:
    if reason.heavy:
        return (
            f"{title(line.metric)} depends on too few users: more than a fifth of its variance comes from "
            f"one user ({_standing(line)})."
        )
    least = distance(line.mde, line.unit)
    mde = f"; this traffic can show a difference of {least} or more" if line.mde else ""
    return (
        f"{title(line.metric)} is undecided against “{line.acceptable}”: {_standing(line)}{mde}; "
        f"{_still_needed(line)}."
    )


def _still_needed(line: MetricLine) -> str:
    if line.mde is None:
        return "the days still needed cannot be estimated"
    if line.units_needed is None:
        return "it is too close to the bound to estimate the days still needed"
    return to_come(line.metric, line.units_needed, line.days_needed)


def _by_one_user(reason: OneUser, line: MetricLine) -> str:
    found = reason.found
    arm = "candidate" if found.candidate else "baseline"
    if found.values > A_FIFTH:
        part = f"{rough_percent(found.values)} of the {arm}'s values"
    else:
        part = f"{rough_percent(found.variance)} of its variance"
    verb = {"pass": "would keep", "fail": "would miss", "open": "is undecided against"}[found.would]
    return (
        f"{title(line.metric)} {verb} {bound_and_value(line)} only because of one user of the {arm}, who has "
        f"{part}: without this user {_WITHOUT[found.without]}. One user decides no row, so it stays open."
    )


def _by_days(reason: DaysDecide, line: MetricLine) -> str:
    """A row that would pass but for its days: which, and the values there and elsewhere."""
    found, name = reason.found, title(line.metric)
    on = day(found.day * DAY_S)
    bound = bound_and_value(line)
    there, others = (_in_days(values, line.unit, found.above) for values in (found.there, found.others))
    match found.kind:
        case "one_day":
            return (
                f"{name} would keep {bound} only because of {on}: {there} then, {others} on the other days. "
                "One day decides no row, so it stays open."
            )
        case "since":
            return (
                f"{name} is worse since {on}: {there} since then, {others} before. The days since then do "
                f"not keep {bound} on their own, so it stays open."
            )
        case "late":
            return (
                f"{name} does not keep {bound} from a user's day {found.day + 1} on: {there} then, {others} "
                "before. Few users have been seen for so long, so it stays open."
            )
        case "fades":
            return (
                f"{name} fades with a user's time: {there} from a user's day {found.day + 1} on, {others} "
                f"before. The days from then on do not keep {bound} on their own, so it stays open."
            )
        case "weekdays":
            return (
                f"{name} is not shown to keep {bound} in a usual week: {there} if each weekday counts as the "
                f"traffic has it, {others} as the candidate's share and the days so far count them. So it "
                "stays open."
            )
        case "uneven":
            return (
                f"{name} differs between days by more than chance: {there} on {on}, {others} on the other "
                f"days. So few days do not show that it keeps {bound} in the long run."
            )


def _in_days(values: tuple[float, float | None], unit: Unit, above: tuple[float, float | None] | None) -> str:
    """The arms' values; of a percentile the shares above these values."""
    if above is not None:
        said = [
            f"{amount(value, 'share')} above {amount(limit, unit)}"
            for value, limit in zip(values, above, strict=True)
            if value is not None
        ]
    else:
        said = [amount(value, unit) for value in values if value is not None]
    return " against the baseline's ".join(said)


def _standing(line: MetricLine) -> str:
    """The value and the interval on which the bound is judged."""
    unit = line.unit
    if line.look is not None:
        return standing_words(line)
    if parse_bound(line.acceptable).relative:
        low, high = line.difference.low, line.difference.high
        return (
            f"{amount(line.candidate, unit)} against the baseline's {amount(line.baseline, unit)}, "
            f"compatible with {between(low, high, unit)}"
        )
    return f"{amount(line.candidate, unit)}, compatible with {span(*line.candidate_interval, unit)}"


def still_open(line: MetricLine, plan: PlanLine) -> str:
    """An undecided row of a plan, with its chance."""
    look, name, bound = line.look, title(line.metric), bound_and_value(line)
    by = "" if look is None or look.chance is None else _by(look.chance, plan)
    if may_ship(plan) or plan.next_look is None:
        return f"{name} is undecided against {bound}: {standing_words(line)}.{by}"
    return (
        f"{name} is open until day {plan.first_look}, the first on which a look may ship: "
        f"now {_value(line)}, against {bound}.{by}"
    )


def _by(value: float, plan: PlanLine) -> str:
    return "" if plan.next_look is None else f" Chance to pass by day {end_of(plan)}: {chance(value)}."


def bound_and_value(line: MetricLine) -> str:
    """“< 2s”; of a bound against the baseline, its value too: “>= baseline - 3pp” (now 90.9 %)."""
    bound = parse_bound(line.acceptable)
    if not bound.relative or line.baseline is None:
        return f"“{line.acceptable}”"
    return f"“{line.acceptable}” (now {amount(bound.at(line.baseline), line.unit)})"


def standing_words(line: MetricLine) -> str:
    """The candidate's value, and what the looks leave possible."""
    look = line.look
    if look is None or look.day is None:
        return f"{_value(line)}, before the first look"
    possible = ends_in_words(look_ends(line), line.unit)
    return f"{_value(line)}; as of the look of day {look.day} it may be {possible}"


def _value(line: MetricLine) -> str:
    return amount(line.candidate, line.unit)


def _without_data(reason: TooFewUsers, line: MetricLine) -> str:
    """Of a row without data: how many users are missing."""
    name, pairs = title(reason.metric), reason.metric == JUDGED_PREFERENCE
    if line.units == 0:
        none = "no pair has a readable judgement yet" if pairs else "the candidate has no recorded value yet"
        return f"{name} has no data: {none}."
    if reason.arm == "baseline":
        return f"{name} has too few baseline users: {_have(reason, 'baseline users have a value')}."
    more = f"; about {days(line.days_needed, more=True)}" if line.days_needed else ""
    have = _have(reason, "users have a judged pair" if pairs else "candidate users have a value")
    return f"{name} has too few users: {have}{more}."


def _have(reason: TooFewUsers, what: str) -> str:
    effective = "effectively " if reason.carrying < reason.users else ""
    return f"{effective}{reason.carrying} {what}, and {GATE} are required"


def _held_open(reason: RowNotComputed | CostsUnknown | LabelsWanted | OneSided | TooFewEvents) -> str:
    """A row that more users alone will not decide: why, and what to do."""
    match reason:
        case RowNotComputed():
            name = _row_or_part(reason)
            if reason.day is not None:
                return (
                    f"{name} stays open: its look of day {reason.day} could not be computed from its values "
                    f"({reason.why}). The next look decides."
                )
            return (
                f"{name} cannot be computed from its values, so it stays open: {reason.why}. More users "
                "alone may not change this: look at the values that were sent."
            )
        case CostsUnknown():
            ours, theirs, differs = _shares(reason.share)
            return (
                f"{title(reason.metric)} cannot be judged: {ours} of the candidate's answered requests and "
                f"{theirs} of the baseline's have no known cost{differs}. More users will not change this: "
                "set the missing prices under `prices:` or `price_as:` (in a log: fill cost_usd)."
            )
        case LabelsWanted():
            return _labels_wanted(reason)
        case OneSided():
            said = "true" if reason.said else "false"
            return (
                f"{title(reason.metric)} cannot be judged: only {said} was ever sent: say `per: user` or "
                "`per: session` if your app reports only when it happens."
            )
        case TooFewEvents():
            return (
                f"{_row_or_part(reason)} has too few events to divide by: {label(reason.event)} "
                f"{count(reason.events, 'time')} in the {reason.arm}, and {FEWEST_EVENTS} in each arm are "
                "required."
            )


def _row_or_part(reason: RowNotComputed | TooFewEvents) -> str:
    if reason.value is None:
        return title(reason.metric)
    return title(f"{label(reason.metric)} in critical {_place(reason.by, reason.value)}")


def _shares(share: MissingShare) -> tuple[str, str, str]:
    differs = f" (p = {share.p_value:.2g})" if share.different else ""
    return amount(share.candidate, "share"), amount(share.baseline, "share"), differs


def _labels_wanted(reason: LabelsWanted) -> str:
    name = title(reason.metric)
    if reason.metric in PREDICTED_BY:
        return (
            f"{name} waits for ratings of what the judge marked: {reason.labels} of {NEEDED_LABELS} in the "
            "arm that has fewer."
        )
    if reason.metric != JUDGED_PREFERENCE:
        return (
            f"{name} is shown but decides nothing: people label pairs of answers, not single ones, "
            f"so nothing shows what these marks are worth. To decide: {PAIRS_INSTEAD}."
        )
    return _judge_against(reason.against) + (
        f"{name} waits for labels: {reason.labels} of {NEEDED_LABELS} of randomly drawn pairs. "
        f"{'Traffic alone will not do: label' if reason.enough else 'Label'} pairs on the page."
    )


def _judge_against(found: JudgeAgainst | None) -> str:
    if found is None:
        return ""
    low, estimate, high = (
        rough_percent(each or 0.0) for each in (found.share.low, found.share.estimate, found.share.high)
    )
    return (
        f"The judge prefers the current model's answer in {found.lost:,} of {found.pairs:,} pairs: the "
        f"candidate's share of {estimate} ({low} to {high}) is entirely below “{found.acceptable}”. "
    )


def _worse(reason: PartWorse | WorseInParts | BoundMissedInParts, report: Report) -> str:
    match reason:
        case PartWorse():
            missed = "misses the acceptable bound" if reason.below_floor else "is worse"
            unit = _unit_in(report, reason.metric)
            how = f" ({_extent(reason, unit)} against the baseline{_found_by(reason)})"
            shown = how if reason.estimate is not None else ""
            place = _place(reason.by, reason.value)
            worse_than = _worse_than(reason.now_worse_than)
            return f"Critical {place}: {label(reason.metric)} {missed}{shown}.{worse_than}"
        case WorseInParts() | BoundMissedInParts():
            unit = _unit_in(report, reason.metric)
            against = " against the baseline" if isinstance(reason, BoundMissedInParts) else ""
            where = [
                f"{part.by or 'category'} {part.value} ({_extent(part, unit)}{against}{_found_by(part)})"
                for part in reason.parts
            ]
            if isinstance(reason, WorseInParts):
                return f"{title(reason.metric)} is worse than the baseline's in {joined(where)}."
            bound = f"the acceptable bound “{reason.acceptable}”"
            return f"{title(reason.metric)} misses {bound} in {joined(where)}."


def _unknown_in_part(reason: PartUnseen | PartTooFew | PartTooWide) -> str:
    match reason:
        case PartTooWide():
            have = joined([_users_of(users) for users in reason.users])
            return (
                f"Critical {_place(reason.by, reason.value)} may still miss an acceptable bound by twice the "
                f"room that it leaves, which takes more users to rule out: {have}."
            )
        case PartUnseen():
            place = _place(reason.by, reason.value)
            return f"No exchange of critical {place} was seen, so it cannot be judged."
        case PartTooFew():
            have = joined([_users_of(users) for users in reason.users])
            return (
                f"Critical {_place(reason.by, reason.value)} has too few users to be judged: {have}; "
                f"{GATE} are required in each arm."
            )


def _place(by: str | None, value: str) -> str:
    return f"category {value}" if by is None else f"segment {by} {value}"


def _extent(part: PartWorse, unit: Unit) -> str:
    """The difference's interval; of a small part, the estimate."""
    return between(part.low, part.high, unit) if part.interval else signed(part.estimate, unit)


def _found_by(part: PartWorse) -> str:
    users = part.exact_users
    if part.shown_on is not None and not part.below_floor:
        return f", by the look of day {part.shown_on}"
    return "" if users is None else f", by the exact test with {count(users, 'candidate user')}"


def _users_of(found: FewerUsers) -> str:
    """task completed 45 candidate users; of the arm that has fewer users."""
    metric, arm, users = found
    return f"{label(metric)} {count(users, f'{arm} user')}"


def _of_plan(reason: PlanUsedUp | NotExpected | RiskTaken | ShareChanged | LogEnds, report: Report) -> str:
    match reason:
        case PlanUsedUp():
            more = sooner(reason.open)
            again = f" Start again under a new name, with {more}." if more else ""
            return (
                f"The plan of {_plan(report).planned_days} days and its extension are used up: nothing more "
                f"is decided.{again}"
            )
        case NotExpected():
            last, more = 2 * _plan(report).planned_days, sooner([reason.metric])
            return (
                "Will not be decided in its favour; stop or extend on purpose: even if its true value were "
                f"halfway between acceptable and ideal, {label(reason.metric)} would pass by day {last} "
                f"with a chance of {chance(reason.chance)}. "
                f"{more[0].upper()}{more[1:]} or more days, under a new name, would help if the true value "
                "is within the bound."
            )
        case RiskTaken():
            return _risk_taken(report, reason)
        case ShareChanged():
            return _late_change(reason.change)
        case LogEnds():
            ends = datetime.fromtimestamp(reason.at, UTC)
            return (
                f"The log ends on {ends.day} {ends:%b} at {ends:%H:%M} UTC: the look of day {reason.day} "
                "needs an exchange from 23:00 on."
            )


def _plan(report: Report) -> PlanLine:
    if report.plan is None:
        raise ValueError("a reason of the plan, in a report without one")
    return report.plan


def _risk_taken(report: Report, reason: RiskTaken) -> str:
    misses = [
        f"{label(metric)} by {distance(miss, _line(report, metric, acceptable).unit)}"
        for metric, acceptable, miss in reason.misses
    ]
    here = f" (here: {joined(misses)})" if misses else ""
    return (
        f"Fixed beforehand, to decide sooner: a high risk of shipping a candidate that is not good enough in "
        f"{joined([label(metric) for metric in reason.metrics])}. A candidate exactly at the bound ships "
        f"{10 * reason.risk:.2g} times in 10; one that misses it by {reason.miss:.2f} standard errors of day "
        f"{reason.day}{here} still ships 1 time in 20."
    )


def _late_change(change: ShareChange) -> str:
    share = f"from {set_percent(change.before)} to {set_percent(change.after)}"
    return (
        f"{change.who} changed the share {share} by hand on {day(change.at)}, when the verdict could already "
        "be to ship. If the results were the reason, the stated risk does not hold."
    )


def _moved(reason: GroundMoved) -> str:
    change = reason.change
    return (
        f"The {reason.arm}'s model, {change.model}, {change_words(change)}. Looks before day {reason.day} "
        "are of the one before, later ones of both."
    )


def _outage(found: Outage) -> str:
    spans = [f"{minute(begin)} to {minute(end)}" for begin, end in found.spans]
    if len(spans) > _SPANS:
        spans = [*spans[: _SPANS - 1], f"{len(spans) - _SPANS + 1} times more"]
    theirs, ours = (
        amount(failed / of if of else 0.0, "share")
        for failed, of in (
            (found.failed.baseline, found.of.baseline),
            (found.failed.candidate, found.of.candidate),
        )
    )
    return (
        f"The baseline had an outage ({joined(spans)} UTC): of its users' first requests in these "
        f"{count(len(found.hours), 'hour')} {theirs} failed, usually {amount(found.usual, 'share')}; of the "
        f"candidate's {ours}. They count for neither arm."
    )


def _another_rubric(reason: AnotherRubric) -> str:
    if reason.retro:
        fixed = reason.fixed
        before = f"{fixed[:12]} was fixed before the run" if fixed is not None else "none was fixed"
        return (
            f"Scored after the run under another rubric ({reason.used[:12]}; {before}): "
            "exploratory, not the planned test."
        )
    return (
        f"The rubric{' or its judge' if reason.judged else ''} has changed since it was fixed before the run "
        f"({str(reason.fixed)[:12]} then, {reason.used[:12]} now): exploratory, not the planned test."
    )


def _abandoned(reason: UnevenlyAbandoned) -> str:
    ours, theirs, _ = _shares(reason.share)
    lacking = joined([label(metric) for metric in reason.lacking])
    spans = f" They are missing from {lacking}, and the intervals span the worst and the best case."
    return (
        f"Callers abandoned {ours} of the candidate's requests and {theirs} of the baseline's "
        f"(p = {reason.share.p_value:.2g}).{spans if lacking else ''}"
    )


def _cache_differs(reason: CacheDiffers, report: Report) -> str:
    ours, theirs = (amount(share, "share") for share in (reason.hits.candidate, reason.hits.baseline))
    said = (
        f"The provider had {ours} of the candidate's input tokens in its cache, {theirs} of the baseline's "
        "(p < 0.001); a cache is warmer for the arm with more traffic."
    )
    lines = {line.metric: line for line in report.metrics}
    found = [
        f"{label(metric)} {amount(usd, 'usd')} in place of {amount(lines[metric].candidate, 'usd')}"
        for metric, usd in reason.hits.costs.items()
    ]
    if found:
        return f"{said} At the baseline's share the candidate would have {joined(found)}."
    return f"{said} {title(joined([label(metric) for metric in reason.metrics]))} depends on it."


def _unequal_response(reason: UnequalResponse, line: MetricLine) -> str:
    said = f"{title(reason.metric)}: {_rates(reason)} (p = {reason.p_value:.2g})."
    if reason.ends is None:
        return f"{said} The missing values may hide a difference."
    return (
        f"{said} In the worst and the best case of the missing values the difference is "
        f"{between(*reason.ends, line.unit)}; the interval spans both."
    )


def _rates(reason: UnequalResponse) -> str:
    ours, theirs = (amount(rate, "share") for rate in reason.rates)
    return f"{ours} of the candidate's users gave a value, {theirs} of the baseline's{_when(reason.phases)}"


def _when(phases: int) -> str:
    return " in the same phases of the ramp" if phases > 1 else ""


def _by_silence(reason: SilenceDecides, line: MetricLine) -> str:
    ours, theirs = (f"{100 * rate:.3g}" for rate in reason.rates)
    return (
        f"{title(line.metric)} would keep {bound_and_value(line)}, but 100 of the candidate's users gave "
        f"{ours} values, 100 of the baseline's {theirs}{_when(reason.phases)}. If the unhappy are those who "
        "keep silent, it looks too good: it stays open until more users show that it is chance."
    )


def _not_by_users(reason: NotByUsers, line: MetricLine) -> str:
    if reason.baseline is None:
        theirs = ""
    else:
        theirs = f" against the baseline's {amount(reason.baseline, line.unit)}"
    done = "misses" if line.state == "FAIL" else "keeps"
    return (
        f"{title(line.metric)} {done} {bound_and_value(line)} with {_value(line)}, and would not if each "
        f"user counted once: then it is {amount(reason.candidate, line.unit)}{theirs}. Busy users decide it, "
        f"most of all {joined(list(reason.users))} with {rough_percent(reason.part)} of what is counted: "
        "look who they are."
    )


def _whose_units(reason: UnitsNotUsers) -> str:
    units, likelier = count(reason.units, reason.of), "wrong verdicts are likelier than the risk says"
    if reason.known:
        users = (
            f"The users of {reason.known:,} of {units} are known: {reason.users:,}, and each counts as one."
        )
        return f"{users} The others count as one each, so {likelier}." if reason.understated else users
    if reason.fleeting:
        return (
            f"Hardly any unit of this log comes back after hours, as users do: if its {units} are no users, "
            f"one person is several, in both arms, so {likelier}. Name the users in a column `user`."
        )
    if reason.sure:
        return (
            f"{units} count as a user each: one person is several, in both arms, so {likelier}. "
            "Let the app send its users, or name them in a log's column `user`."
        )
    return (
        f"Each unit of this log has a single {reason.of}. If a unit is not a user, {likelier}: "
        "name the users in a column `user`."
    )


def _of_traffic(reason: BusyUser | TrafficDiffers | LateFeedback | UnitsNotUsers) -> str:
    match reason:
        case UnitsNotUsers():
            return _whose_units(reason)
        case BusyUser():
            return f"One user ({reason.user}) makes {rough_percent(reason.part)} of the candidate's requests."
        case TrafficDiffers():
            when, change = _when(reason.phases), reason.candidate / reason.baseline - 1
            return (
                f"A user of the candidate makes {rough_percent(abs(change))} "
                f"{'more' if change > 0 else 'fewer'} requests than one of the baseline{when} "
                f"(p = {reason.p_value:.2g}). Figures over requests compare other mixes of users then: "
                "read those by users."
            )
        case LateFeedback():
            return (
                f"{title(reason.metric)} comes late: more than 1 value in 20 comes "
                f"{count(reason.days, 'day')} or more after its request. Only requests that had the time "
                "count; `matures_after` in the config would fix it beforehand."
            )


def _sessions_differ(reason: SessionsDiffer, unit: Unit) -> str:
    (mine, others), change = reason.by_user, reason.sessions[0] / reason.sessions[1] - 1
    if unit == "share":
        by_user = f"100 users have {100 * mine:.3g} of it against the baseline's {100 * others:.3g}"
    else:
        by_user = f"a user has {amount(mine, unit)} against the baseline's {amount(others, unit)}"
    return (
        f"{title(reason.metric)} counts by the session, and a user of the candidate has "
        f"{rough_percent(abs(change))} {'more' if change > 0 else 'fewer'} sessions than one of the "
        f"baseline{_when(reason.phases)} (p = {reason.p_value:.2g}). By the user: {by_user}."
    )


def _sessions_end_early(reason: SessionsEndEarly) -> str:
    what = "requests" if reason.metric == "session_exchanges" else "tokens"
    return (
        f"Sessions of the candidate end after {rough_percent(reason.candidate / reason.baseline)} of the "
        f"baseline's {what}: {reason.candidate:,.3g} against {reason.baseline:,.3g} a session"
        f"{_when(reason.phases)} (p = {reason.p_value:.2g} at any time). A model that gives up early is "
        "cheaper and faster, too: are tasks done? A row on `task_completed`, or on a "
        "`bool` per session, would say."
    )


def _fades(found: SinceFirst, unit: Unit) -> str:
    percentile = quantile_level(found.metric) is not None
    unit = "share" if percentile else unit
    name = f"The share of requests beyond {label(found.metric)}" if percentile else title(found.metric)
    return (
        f"{name} changes with a user's time: the difference is {signed(found.late, unit)} from day "
        f"{found.late_from + 1} after the first request on, and {signed(found.whole, unit)} over all days "
        f"(p = {found.p_value:.2g})."
    )


def _detail(reason: LeftOut) -> str:
    match reason.detail:
        case "over_time":
            return f"{title(reason.metric)} over time"
        case "by_day":
            return f"{title(reason.metric)} by day"
        case "judge":
            return "What the judge says"
        case "looks":
            return "The course of the looks"
        case "spreads":
            return "The spread of the times"
        case "failures":
            return "The list of failures"
        case "money":
            return "The saving"
        case "cache_hits":
            return "The share of cached input tokens"
        case "where":
            return "Where failures lie"
        case "benchmark":
            return "The benchmark"
