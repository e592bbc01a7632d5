"""A benchmark's values as sentences: reasons, caveats, and the rubric's rows."""

import math
from typing import assert_never

from bench.benchmark.figures import ComparedFigures, ModelFigures
from bench.benchmark.reasons import BenchCaveat, BenchReason
from bench.benchmark.rubric import Measurement, MissingEvidence, RubricRowResult, Unit
from bench.dataset.file import FEW, FEW_CRITICAL
from bench.settings import DatasetSource
from common.interval import Interval
from common.numbers import percent

_BY_TRAFFIC = " weighted by traffic"
_ON = {"synthetic": " on synthetic tasks", "real": " on real-world tasks"}
_VERBS = {"IDEAL": "is ideal,", "PASS": "keeps", "FAIL": "misses", "INCONCLUSIVE": "is not clearly within"}
_FORMS: dict[Unit, str] = {"share": "{:.1f}", "seconds": "{:.3g}", "dollars": "{:.4g}"}
_WHO = {"baseline": "the current model", "candidate": "the candidate", None: ""}


def reason(found: BenchReason) -> str:
    """For example: support: 12 examples are a sanity check; a benchmark needs 50: …"""
    if found.row is not None:
        return f"rubric: {row(found.row)}"
    if found.source is None or found.figures is None:
        raise ValueError(f"a reason {found.kind} without its dataset")
    where = found.source.name
    if found.category is not None:
        where += f", critical category {found.category or '(none)'}"
    says = _said_of(found, found.source, found.figures)
    failed = _failed(found.figures.candidate) if found.severity == "fails" else ""
    if found.kind == "refuses":
        return f"{where}: {says}{failed}; to ask it otherwise, give its arm a `request:`"
    return f"{where}: {says}{failed}"


def _said_of(found: BenchReason, source: DatasetSource, figures: ComparedFigures) -> str:
    """What a reason says of a dataset or of a part of it."""
    by = _BY_TRAFFIC if found.weighted is not None else ""
    floor, examples = f"the floor of {found.limit:.0%}", figures.examples
    completion = f"completion {value_words(found.completion, 'share')}{by}"
    match found.kind:
        case "refuses":
            return "refuses every request"
        case "below_floor":
            return f"{completion} is below {floor}"
        case "maybe_below_floor":
            return f"{completion} is below {floor}, maybe by chance"
        case "not_above_floor":
            return f"{completion} is not clearly above {floor}"
        case "worse":
            return _worse(found, figures)
        case "loss_possible":
            lost = _known(found.difference)
            says = f"{_points(lost.estimate)} points{by} against the current model"
            return f"{says}; {_points(lost.low)} is not ruled out (limit {_points(found.limit)})"
        case "few_critical":
            says = f"{examples} examples: below {FEW_CRITICAL} a loss may go undetected"
            return f"{says}; {source.file} needs {FEW_CRITICAL} of it"
        case "unreviewed":
            review = f"review them with `canary dataset label {source.file}`"
            return f"{found.count} labels are unreviewed proposals; {review}"
        case "part":
            return f"{examples} of {found.count} examples are a sanity check; a benchmark asks all"
        case "few":
            says = f"{examples} examples are a sanity check; a benchmark needs {FEW}"
            return f"{says}: {_remedy(source, found.count)}"
        case "none_right":
            return "neither model got an example right: check the expected answers"
        case "unmarked":
            return f"{found.count} examples got no mark from the judge"
        case "row":
            raise ValueError("a row says what it says")
    assert_never(found.kind)


def _worse(found: BenchReason, figures: ComparedFigures) -> str:
    lost = _known(found.difference)
    if found.weighted is not None:
        interval = f"{_points(lost.low)} to {_points(lost.high)}"
        return f"{_points(lost.estimate)} points ({interval}){_BY_TRAFFIC} against the current model"
    return (
        f"{_points(lost.estimate)} points against the current model "
        f"(p = {figures.mcnemar_p:.2g}), {len(figures.new_failures)} new failures"
    )


def _failed(side: ModelFigures | None) -> str:
    """The most common failure with the provider's words; "" without failures."""
    if side is None or not side.failures:
        return ""
    failure, count = next(iter(side.failures.items()))
    return f"; {count} times {failure}: {side.said}" if side.said else f"; {count} times {failure}"


def _remedy(source: DatasetSource, missing: int) -> str:
    """What to do about a file with too few examples, which is a file of the config or of the command line."""
    without = (
        f"leave out `--dataset {source.file}`"
        if source.name == source.file
        else f"take the dataset {source.name} out of the config's `datasets`"
    )
    return f"add {missing} to {source.file}, or {without} to benchmark without it"


def caveat(found: BenchCaveat) -> str:
    """For example: costs 10 times (9.8 to 10.2) as much as the current model."""
    if found.ratio is None:
        return f"no example is of the critical category {found.category}"
    much = f"{found.ratio.estimate:.3g} times ({_ends(found.ratio, '{:.3g}')})"
    where = "" if found.alone or found.layer is None else _ON[found.layer]
    if found.kind == "cost":
        return f"costs {much} as much as the current model{where}"
    return f"takes {much} as long as the current model at p95{where}"


def row(found: RubricRowResult) -> str:
    """For example: recall:fraud 98.0 % (93.0 to 99.4) is not clearly within ">= 98%"."""
    metric, acceptable, measured = found.row.metric, found.row.acceptable, found.measurement
    if found.state == "NODATA":
        return f'{metric} "{acceptable.text}" cannot be judged: {lack(found.lack)}'
    value = value_words(measured.candidate, measured.unit)
    if acceptable.relative and measured.baseline is not None:
        value = f"{value}, {_against(measured, measured.baseline)},"
    if measured.by_traffic:
        value += _BY_TRAFFIC
    if measured.at_once is not None:
        value = f"{value} with --at-once {measured.at_once}"
    if found.lack is not None and found.state == "INCONCLUSIVE":
        return f'{metric} {value} cannot pass "{acceptable.text}": {lack(found.lack)}'
    bound = found.row.ideal if found.state == "IDEAL" else acceptable
    return f'{metric} {value} {_VERBS[found.state]} "{bound.text}"{_more_at_once(found)}'


def lack(found: MissingEvidence | None) -> str:
    """What a metric needs."""
    if found is None:
        return ""
    match found.kind:
        case "timed":
            needs = f"p{100 * found.level:.0f} needs {found.of} independent timed answers"
            return f"{needs}, and has {found.count}"
        case "pace":
            return "no answer of this run was timed"
        case "usage":
            return "no answer states its usage"
        case "price":
            return f"{_WHO[found.arm]} has no known price"
        case "costs":
            return f"{found.count} of {found.of} answers of {_WHO[found.arm]} have no known cost"
        case "marks":
            return "no example can be judged"
        case "class":
            return f"no example has the class {found.name}"
        case "examples_of":
            return f"no example to measure {found.measure} of {found.name} on"
        case "named":
            return f"no answer named the class {found.name}"
        case "examples":
            return "too few examples"
        case "users":
            return "a user's total needs users, so only a canary measures it"
    assert_never(found.kind)


def _more_at_once(found: RubricRowResult) -> str:
    """The concurrency that this pace would need."""
    measured, bound = found.measurement, found.row.acceptable
    if measured.at_once is None or measured.candidate is None or found.state in ("IDEAL", "PASS"):
        return ""
    if bound.relative or measured.candidate.estimate <= 0:
        return ""
    needed = math.ceil(measured.at_once * bound.value / measured.candidate.estimate)
    return f"; at this latency it would take --at-once {max(needed, measured.at_once + 1)}"


def _against(found: Measurement, baseline: Interval) -> str:
    kind, interval = found.against
    theirs = f"the current model's {number(baseline.estimate, found.unit)}"
    if interval is None:
        return f"against {theirs}"
    if kind == "ratio":
        return f"{interval.estimate:.3g} times ({_ends(interval, '{:.3g}')}) {theirs}"
    points = interval.scaled(100)
    return f"{points.estimate:+.1f} points ({_ends(points, '{:+.1f}')}) against {theirs}".replace("-", "−")


def value_words(found: Interval | None, unit: Unit) -> str:
    """A value with its interval: 98.0 % (93.0 to 99.4)."""
    if found is None:
        return "unknown"
    scaled = found.scaled(100) if unit == "share" else found
    return f"{number(found.estimate, unit)} ({_ends(scaled, _FORMS.get(unit, '{:,.0f}'))})"


def _ends(found: Interval, form: str) -> str:
    return f"{form.format(found.low)} to {form.format(found.high)}"


def number(value: float, unit: Unit) -> str:
    """A value with its unit: 98.0 %, 1.25 s, $0.0125, 12,400 an hour."""
    match unit:
        case "share":
            return percent(value)
        case "seconds":
            return f"{value:.3g} s"
        case "dollars":
            return f"${value:.4g}"
        case "tokens":
            return f"{value:,.0f}"
    return f"{value:,.0f} an hour"


def _known(found: Interval | None) -> Interval:
    if found is None:
        raise ValueError("a reason without its interval")
    return found


def _points(share: float) -> str:
    return f"{100 * share:+.1f}".replace("-", "−")
