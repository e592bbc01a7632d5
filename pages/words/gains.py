"""Gains and losses in words and money, a forecast of them, and the result of each layer of evidence."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from common.interval import Range
from common.numbers import rough_percent
from pages.words import judge, verdict
from pages.words.figures import amount, joined, label
from pages.words.reasons import sentences
from records.facts.metric import JUDGED
from verdict.decision.document import SHIPS, MetricLine, Report
from verdict.decision.offline import Forecast
from verdict.details import EvaluationCost, EvaluationPart, Money, OfflineRow, UnknownCosts, savings
from verdict.rows.row import State, worst
from verdict.terms.measures import BUSINESS, is_cost, source
from verdict.terms.rubric import parse_bound

_COSTS = frozenset(
    {"cost_per_request", "cost_total", "tokens", "session_cost", "session_tokens", "session_cache_hits"}
)
_TIMES = ("latency_", "ttft_", "session_length_s", "session_exchanges", "session_tool_calls")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceLayer:
    """One kind of evidence and its result. `tone` is a metric's state, for the colour."""

    kind: Literal["synthetic", "real", "judge", "user_experience", "business", "offline"]
    name: str
    says: str
    tone: State


def in_short(report: Report) -> str:
    """Over a verdict that ships, what would be saved at what quality; over any other, its first reason.

    41 % cheaper at equal quality: expected at full rollout are $4,877 less in the first month ($4,577 to
    $5,177 less) and $59,592 less in the first year ($55,942 to $63,242 less), net of $23.00 that the
    evaluation cost.
    """
    if report.verdict not in SHIPS:
        return next(iter(sentences(report)), "")
    return saved(report, _quality(report))


def further_reasons(report: Report) -> Sequence[str]:
    """The reasons that `in_short` has not said."""
    return sentences(report)[0 if report.verdict in SHIPS else 1 :]


def saved(report: Report, quality: str = "") -> str:
    """41 % cheaper: expected at full rollout are $4,877 less …; `quality` is added in words.

    No saving is told while too many costs are unknown.
    """
    money, unknown, saving = report.details.money, report.details.unknown_costs, savings(report.details)
    if unknown is not None:
        cost = f"Cost{f' {quality}' if quality else ''} cannot be compared"
        return f"{cost}: it is unknown for {_of(unknown)}."
    if money is None or saving is None:
        return ""
    if _crosses(money.change):
        cost = "No difference in cost seen"
    else:
        change = money.change.estimate
        cost = f"{rough_percent(abs(change))} {'cheaper' if change < 0 else 'more expensive'}"
    start = f"{cost}{f' {quality}' if quality else ''}"
    told = f"{_less(saving.month, ' in the first month')} and {_less(saving.year, ' in the first year')}"
    net = f"{_net_of(saving.evaluation)}{_unpriced(money)}"
    return f"{start}: expected at full rollout are {told}{net}."


def money_facts(report: Report) -> list[tuple[str, str]]:
    """The monthly and yearly figures by name; empty without any that can be told."""
    money, saving = report.details.money, savings(report.details)
    if money is None or saving is None:
        return []
    return [
        ("All users on the current model", f"{amount(money.baseline_usd, 'usd')} a month"),
        ("All users on the candidate", f"{amount(money.candidate_usd, 'usd')} a month"),
        ("Difference", _less(saving.monthly, " a month")),
        *_evaluation(saving.evaluation),
        *([("First month", _less(saving.month))] if saving.month != saving.monthly else []),
        ("First year", _less(saving.year)),
        (
            "Based on",
            f"{money.users:,} users in {money.days:.1f} days, and {money.requests_a_month:,} requests a "
            f"month at that rate, in {_CURRENCIES[saving.currency]} as the prices{_unpriced(money)}",
        ),
    ]


def no_money(report: Report) -> str:
    """Why there are no monthly figures."""
    if (unknown := report.details.unknown_costs) is not None:
        return f"Monthly figures need known costs, and the cost of {_of(unknown)} is unknown."
    if report.window.days < 1:
        return "Monthly figures need at least one day of traffic."
    return "No data: each arm needs 100 users with a known cost."


def layers(report: Report) -> list[EvidenceLayer]:
    """The layers: both benchmarks, a judge if there is one, user experience, business, and rows that only a
    benchmark measures."""
    business = [line for line in report.metrics if line.of_business]
    users = [line for line in report.metrics if line.metric not in JUDGED and not line.of_business]
    return [
        _benchmark("synthetic", "Synthetic benchmarks", report),
        _benchmark("real", "Benchmarks on real-world tasks", report),
        *_judged(report),
        _layer("user_experience", "User experience", users, report),
        _layer("business", "Business", business, report),
        *_offline(report),
    ]


_TONES: dict[str, State] = {"ship": "PASS", "dont_ship": "FAIL", "extend": "INCONCLUSIVE"}


def _benchmark(layer: Literal["synthetic", "real"], name: str, report: Report) -> EvidenceLayer:
    for found in report.details.benchmarks:
        if found.layer == layer:
            new = f"{found.new_failures} new failure{'' if found.new_failures == 1 else 's'}"
            return EvidenceLayer(
                kind=layer,
                name=name,
                says=f"{verdict.STATES[_TONES[found.verdict]][0]} {100 * found.candidate:.1f} % right "
                f"({100 * found.low:.0f} to {100 * found.high:.0f}), the current model "
                f"{100 * found.baseline:.1f} %; {new} in {found.examples:,} examples, {found.at[:10]}",
                tone=_TONES[found.verdict],
            )
    return EvidenceLayer(kind=layer, name=name, says="Not run.", tone="NODATA")


def _judged(report: Report) -> Iterator[EvidenceLayer]:
    """What a judge says of answers to real requests, with the mark of its rows, if it has any."""
    if report.judge is None:
        return
    lines = [line for line in report.metrics if line.metric in JUDGED]
    tone: State = "FAIL" if report.details.judged_worse else worst(line.state for line in lines)
    start = f"{verdict.STATES[tone][0]} " if lines else ""
    end = "" if lines else "; does not decide"
    says = f"{start}{judge.in_short(report.judge)}{end}"
    yield EvidenceLayer(kind="judge", name="A judge on real requests", says=says, tone=tone)


def _offline(report: Report) -> Iterator[EvidenceLayer]:
    """The rows that only a benchmark measures, which do not decide this report."""
    rows = report.details.offline
    if rows:
        found = [f"{verdict.STATES[row.state][0]} {row.says or _not_measured(row)}" for row in rows]
        tone = worst(row.state for row in rows)
        name = "Rows for a benchmark only"
        yield EvidenceLayer(kind="offline", name=name, says="; ".join(found), tone=tone)


def _not_measured(row: OfflineRow) -> str:
    return f'{row.metric} "{row.acceptable}": no benchmark has judged it'


def _layer(
    kind: Literal["user_experience", "business"], name: str, lines: Sequence[MetricLine], report: Report
) -> EvidenceLayer:
    if not lines:
        says = "Not measured: the rubric has no row on it."
        return EvidenceLayer(kind=kind, name=name, says=says, tone="NODATA")
    found = [f"{verdict.mark(line, report)[0]} {label(line.metric)}" for line in lines]
    tone = worst(line.state for line in lines)
    return EvidenceLayer(kind=kind, name=name, says=", ".join(found), tone=tone)


def changes(report: Report) -> list[str]:
    """The metrics that are better, worse, and not different, and where too few users hide a worse part. Costs
    are not among them while too many are unknown."""
    found: dict[str, list[str]] = {words: [] for words in (_BETTER, _WORSE, _MISSED, _ALIKE)}
    unpriced = report.details.unknown_costs is not None
    for line in report.metrics:
        if line.difference.estimate is None or line.difference.p_value is None:
            continue
        if unpriced and (line.cost_per or is_cost(line.metric)):
            continue
        words = _side(line)
        change = f" ({verdict.change(line)})" if words in (_BETTER, _WORSE) else ""
        found[words].append(f"{label(line.metric)}{change}")
    told = [f"{words}: {joined(names)}." for words, names in found.items() if names]
    return told + [f"{_HIDDEN}: {joined(hidden)}." for hidden in [_hidden(report)] if hidden]


def _hidden(report: Report) -> list[str]:
    """The passing metrics that too few users have in some parts, with the first of these by name."""
    found = []
    for line in report.metrics:
        parts = (*report.categories, *report.segments)
        few = [part for part in parts if part.metric == line.metric and part.state == "TOO_FEW"]
        if few and line.state in ("PASS", "IDEAL"):
            names = [verdict.part_name(part).replace(": ", " ") for part in few]
            more = f" and {len(few) - _NAMED} more parts" if len(few) > _NAMED else ""
            found.append(f"{label(line.metric)} in {', '.join(names[:_NAMED])}{more}")
    return found


_NAMED = 3
_HIDDEN = "Fewer than 100 users in an arm, so that even a clearly worse part may not show"
_BETTER, _WORSE, _ALIKE = "Better", "Worse", "No difference seen"
_MISSED = "Misses its bound, but is not shown to differ from the current model"


def _side(line: MetricLine) -> str:
    if _worse(line):
        return _WORSE
    if _significant(line):
        return _BETTER
    return _MISSED if line.state == "FAIL" else _ALIKE


def _worse(line: MetricLine) -> bool:
    """True if the difference is significant, or the looks show it."""
    return verdict.worse_by_looks(line) or (_significant(line) and not _better(line))


def _better(line: MetricLine) -> bool:
    return ((line.difference.estimate or 0) > 0) == parse_bound(line.acceptable).higher_is_better


def _significant(line: MetricLine) -> bool:
    return line.difference.p_value is not None and line.difference.p_value < 0.05


def _quality(report: Report) -> str:
    """The quality in words; equal only if every quality criterion passes and none differs significantly."""
    lines = [
        line
        for line in report.metrics
        if line.metric not in _COSTS and not line.cost_per and not line.metric.startswith(_TIMES)
    ]
    if not lines:
        return ""
    significant = [line for line in lines if _significant(line)]
    worse = [label(line.metric) for line in lines if _worse(line)]
    if worse:
        return f"at lower quality ({joined(worse)})"
    if missed := [label(line.metric) for line in lines if line.state == "FAIL"]:
        return f"with quality beyond the bound ({joined(missed)})"
    if any(line.state not in ("PASS", "IDEAL") for line in lines):
        return "with quality undecided"
    if all(source(line.metric) for line in lines):  # nobody rated an answer
        return "with fewer faults" if significant else "without more faults"
    return "at better quality" if significant else "at equal quality"


def _less(saved: Range, when: str = "") -> str:
    """$4,900 less a month ($4,600 to $5,200 less); what it costs, −$200 to +$400 a month, if it may be
    either."""
    cost = saved.scaled(-1)
    if _crosses(cost):
        return f"{_ends(cost)}{when}"
    side = "less" if saved.estimate > 0 else "more"
    ends = sorted(abs(end) for end in (saved.low, saved.high) if end is not None)
    between = " to ".join(amount(end, "usd") for end in ends)
    return f"{amount(abs(saved.estimate), 'usd')} {side}{when} ({between} {side})"


_CURRENCIES = {"USD": "US dollars"}
_PARTS: Mapping[EvaluationPart, str] = {
    "mirror": "the mirror",
    "judge": "the judge",
    "benchmark": "the benchmark",
    "candidate_extra": "what the candidate’s users cost more",
}


def _net_of(cost: EvaluationCost) -> str:
    """, net of $23.00 that the evaluation cost; "" where it cost nothing."""
    unknown = _unknown_part(cost)
    if not cost.total_usd:
        return f", without the evaluation’s cost ({unknown})" if unknown else ""
    also = f" ({unknown})" if unknown else ""
    return f", net of {amount(cost.total_usd, 'usd')} that the evaluation cost{also}"


def _evaluation(cost: EvaluationCost) -> Iterator[tuple[str, str]]:
    """What the evaluation cost, part by part; nothing where it cost nothing."""
    parts = [f"{_PARTS[part]} {amount(usd, 'usd')}" for part, usd in cost.parts.items() if usd]
    unknown = _unknown_part(cost)
    told = "; ".join([*([joined(parts)] if parts else []), *([unknown] if unknown else [])])
    if told:
        total = f"{amount(cost.total_usd, 'usd')}: " if parts else ""
        yield "The evaluation’s cost, once", f"{total}{told}"


def _unknown_part(cost: EvaluationCost) -> str:
    """that of the mirror is not all known; "" where all is."""
    names = joined([_PARTS[part] for part in cost.unknown])
    return f"that of {names} is not all known" if names else ""


def _unpriced(money: Money) -> str:
    if money.priced is None or money.priced > 0.995:
        return ""
    return f"; {rough_percent(1 - money.priced)} of requests have no known price and are not included"


def _of(unknown: UnknownCosts) -> str:
    ours, theirs = (amount(share, "share") for share in (unknown.candidate, unknown.baseline))
    return f"{ours} of the candidate’s answered requests and {theirs} of the baseline’s"


def _crosses(found: Range) -> bool:
    return found.low is None or found.high is None or found.low <= 0 <= found.high


def _ends(found: Range) -> str:
    low = "no lower limit" if found.low is None else _signed(found.low)
    return f"{low} to {'no upper limit' if found.high is None else _signed(found.high)}"


def _signed(usd: float) -> str:
    return f"{'−' if usd < 0 else '+'}{amount(abs(usd), 'usd')}"


# What a report knows of the answers themselves where no user's feedback is in its rubric.


_NO_ROW = "This does not decide: no criterion is about it."


def known_of_answers(report: Report) -> str:
    """What is known of the answers, and that it does not decide; "" where a row of the rubric decides it."""
    if any(_of_answers(line.metric) for line in report.metrics if not line.cost_per):
        return ""
    if report.judge is None:
        return (
            "Nothing here says whether the answers are better: the rubric has no feedback of users, and no "
            "judge has compared any. Give the rubric a row on feedback, or the canary a judge."
        )
    known = judge.in_short(report.judge)
    return f"The rubric has no feedback of users. Of the answers is known: {known}. {_NO_ROW}"


def _of_answers(metric: str) -> bool:
    return metric in JUDGED or (source(metric) is None and metric not in BUSINESS)


# A forecast of what a model would save, in words and as JSON.


def forecast_document(found: Forecast) -> dict[str, Any]:
    """JSON types, with the sentence."""
    says = f"{_saving(found.saving_usd)}, from its benchmark, not from users"
    return {**asdict(found), "says": says, "source": "benchmark"}


def _saving(found: Range) -> str:
    """would save about $1,200 a month ($900 to $1,500)."""
    low, high = found.low or 0.0, found.high or 0.0
    if low <= 0 <= high:
        ends = f"{amount(-low, 'usd')} more and {amount(high, 'usd')} less"
        return f"no saving seen: would cost between {ends} a month"
    about = amount(abs(found.estimate), "usd")
    ends = " to ".join(amount(end, "usd") for end in sorted((abs(low), abs(high))))
    return f"would {'save' if low > 0 else 'cost'} about {about}{'' if low > 0 else ' more'} a month ({ends})"
