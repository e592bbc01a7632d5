"""The four layers of a release, each against the current model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from judge.figures import JudgeFigures
from report.document import MetricLine, Report
from report.measures import BUSINESS
from report.row import State
from report.rubric import Bound, parse_bound
from report.score import points

LayerName = Literal["synthetic", "real", "users", "business"]
LAYERS: tuple[LayerName, ...] = get_args(LayerName)

_WORST_FIRST: tuple[State, ...] = ("FAIL", "INCONCLUSIVE", "NODATA", "PASS", "IDEAL")
_OF_VERDICT: dict[str | None, State] = {"ship": "PASS", "dont_ship": "FAIL", "extend": "INCONCLUSIVE"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerStanding:
    """One layer. `score` is from 0 to 100: the examples that the candidate got right, or the weighted score
    of the rubric's rows; None without data.

    `examples` is a benchmark's part on this layer, `rows` are those of the reports, and `judged` what judges
    say of the users' answers, which moves neither state nor score. `too_few`: there are values, of too few
    users for a state.
    """

    state: State
    score: float | None
    examples: Mapping[str, Any] | None = None
    rows: Sequence[MetricLine] = ()
    judged: Sequence[JudgeFigures] = ()
    too_few: bool = False


_NOTHING = LayerStanding(state="NODATA", score=None)


def layers_of(
    benchmark: Mapping[str, Any] | None, reports: Sequence[Report]
) -> Mapping[LayerName, LayerStanding]:
    """The layers of a benchmark's document, and of the reports of one or more canaries."""
    measured = {layer["layer"]: _benchmarked(layer) for layer in (benchmark or {}).get("layers", ())}
    lines = [line for report in reports for line in report.metrics]
    return {
        "synthetic": measured.get("synthetic", _NOTHING),
        "real": measured.get("real", _NOTHING),
        "users": replace(
            _rows([line for line in lines if line.metric not in BUSINESS]),
            judged=[report.judge for report in reports if report.judge is not None],
        ),
        "business": _rows([line for line in lines if line.metric in BUSINESS]),
    }


def _benchmarked(layer: Mapping[str, Any]) -> LayerStanding:
    side = layer["candidate"]
    if side is None or side["completion"] is None:
        return _NOTHING
    return LayerStanding(
        state=_OF_VERDICT.get(layer["verdict"], "NODATA"), score=100 * side["completion"], examples=layer
    )


def _rows(lines: Sequence[MetricLine]) -> LayerStanding:
    if not lines:
        return _NOTHING
    states = {line.state for line in lines}
    worst: State = next(state for state in _WORST_FIRST if state in states)
    known = all(line.candidate is not None for line in lines if line.state == "NODATA")
    return LayerStanding(
        state=worst,
        score=_score(lines),
        rows=lines,
        too_few=worst == "NODATA" and known,
    )


def _score(lines: Sequence[MetricLine]) -> float | None:
    known = [(line.weight, found) for line in lines if (found := _points(line)) is not None]
    whole = sum(weight for weight, _ in known)
    return sum(weight * found for weight, found in known) / whole if whole else None


def _points(line: MetricLine) -> float | None:
    """The row's points by its estimates, as in `report.score`."""
    candidate, baseline = line.candidate, line.baseline
    if candidate is None or baseline is None or line.state == "NODATA":
        return None
    bounds = (parse_bound(text) for text in (line.acceptable, line.ideal))
    acceptable, ideal = (_margin(bound, candidate, baseline) for bound in bounds)
    distance = acceptable - ideal
    if distance <= 0:
        return points(1.0 if acceptable >= 0 else -1.0)
    return points(acceptable / distance)


def _margin(bound: Bound, candidate: float, baseline: float) -> float:
    over = candidate - bound.at(baseline)
    return over if bound.higher_is_better else -over
