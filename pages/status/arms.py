"""The table that compares both arms, from a status document. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.interval import wilson
from pages.status.standing import error_rate
from pages.words import status
from pages.words.figures import title

_ALWAYS: Sequence[tuple[str, str, Callable[[float | None], str]]] = (
    ("p50 latency", "p50_s", status.seconds),
    ("p95 latency", "p95_s", status.seconds),
)
_WHERE_KNOWN: Sequence[tuple[str, str, Callable[[float | None], str]]] = (
    ("First token p50", "ttft_p50_s", status.seconds),
    ("First token p95", "ttft_p95_s", status.seconds),
    ("Tokens a second", "tokens_per_s", status.rate),
    ("Cost per request", "cost_per_request_usd", status.dollars),
)


_WHERE_SEEN = ("refused", "cut_off", "empty", "stalled", "invalid_output")
"""The parts of `answer_faults` that have a row only where there are any."""

DENOMINATORS: Mapping[str, str] = {
    **dict.fromkeys(("refused", "cut_off", "empty", "stalled", "answer_faults"), "finished"),
    "invalid_output": "output_judged",
    "abandoned": "ended",
}
"""By metric, the member of an arm's document that says how many requests could have been so."""


@dataclass(frozen=True, slots=True)
class ArmFigure:
    """A figure and a note, for example its interval; "" for no note."""

    figure: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class FigureRow:
    """One row: a figure of both arms."""

    name: str
    baseline: ArmFigure
    candidate: ArmFigure


def rows(arms: Mapping[str, Mapping[str, Any]]) -> Sequence[FigureRow]:
    """The rows for the arms of the status document."""
    baseline, candidate = arms["baseline"], arms["candidate"]
    found = [
        FigureRow("Requests", _requests(baseline), _requests(candidate)),
        FigureRow("Errors", _errors(baseline), _errors(candidate)),
        *_answers(baseline, candidate),
        *(FigureRow(name, *_each(arms, key, unit)) for name, key, unit in _ALWAYS),
    ]
    for name, key, unit in _WHERE_KNOWN:
        if any(arm[key] is not None for arm in (baseline, candidate)):
            found.append(FigureRow(name, *_each(arms, key, unit)))
    metrics = sorted({*baseline["feedback"], *candidate["feedback"]})
    return found + [
        FigureRow(title(metric), _rating(baseline, metric), _rating(candidate, metric)) for metric in metrics
    ]


def _each(
    arms: Mapping[str, Mapping[str, Any]], name: str, unit: Callable[[float | None], str]
) -> tuple[ArmFigure, ArmFigure]:
    baseline, candidate = (
        ArmFigure(unit(arms[arm][name]), _range(arms[arm]["intervals"][name], unit))
        for arm in ("baseline", "candidate")
    )
    return baseline, candidate


def _range(ends: Sequence[float | None] | None, unit: Callable[[float | None], str]) -> str:
    """The interval in words; "" if neither end is known."""
    low, high = ends or (None, None)
    if low is None:
        return f"at most {unit(high)}" if high is not None else ""
    if high is None:
        return f"at least {unit(low)}"
    return unit(low) if unit(low) == unit(high) else f"{unit(low)} to {unit(high)}"


def _requests(arm: Mapping[str, Any]) -> ArmFigure:
    other = arm["foreign_state"] + sum(arm.get("unreached", {}).values())
    beside = {"aborted": arm["aborted"], "answered by the other arm": other}
    told = ", ".join(f"{status.count(count)} {what}" for what, count in beside.items() if count)
    return ArmFigure(status.count(arm["requests"]), told)


def _errors(arm: Mapping[str, Any]) -> ArmFigure:
    share = error_rate(arm)
    if share is None:
        return ArmFigure(status.UNKNOWN)
    low, high = wilson(arm["errors"], arm["counted"])
    return ArmFigure(status.percent(share), f"{status.percent(low)} to {status.percent(high)}")


def _answers(baseline: Mapping[str, Any], candidate: Mapping[str, Any]) -> list[FigureRow]:
    """Answer faults, and the kinds of them and abandoned requests as far as there are any."""
    seen = [name for name in (*_WHERE_SEEN, "abandoned") if baseline.get(name) or candidate.get(name)]
    names = ("answer_faults", *seen)
    return [FigureRow(title(name), _share(baseline, name), _share(candidate, name)) for name in names]


def _share(arm: Mapping[str, Any], name: str) -> ArmFigure:
    found, of = arm.get(name), arm.get(DENOMINATORS[name])
    if found is None or not of:
        return ArmFigure(status.UNKNOWN)
    low, high = wilson(found, of)
    return ArmFigure(status.percent(found / of), f"{status.percent(low)} to {status.percent(high)}")


def _rating(arm: Mapping[str, Any], metric: str) -> ArmFigure:
    found = arm["feedback"].get(metric)
    if not found:
        return ArmFigure(status.UNKNOWN)
    known = _range(found["interval"], status.points)
    count = f"of {status.count(found['count'])}"
    return ArmFigure(status.points(found["mean"]), f"{known}, {count}" if known else count)
