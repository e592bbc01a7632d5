"""What a benchmark says of a candidate: its layers, its rows, and the saving that it lets expect."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from common.interval import Range
from records.store.benchmarks import Benchmarks
from records.store.tables import model_days
from routing.canary import Arm, arm_names
from verdict.details import MONTH_DAYS, Benchmarked, OfflineRow
from verdict.rows.row import MOST_UNPRICED
from verdict.terms.rubric import Criterion


def benchmarks_of(document: Mapping[str, Any] | None) -> tuple[Benchmarked, ...]:
    """The layers of a benchmark; empty without one."""
    if document is None:
        return ()
    return tuple(
        Benchmarked(
            layer=layer["layer"],
            at=document["at"],
            examples=layer["examples"],
            baseline=layer["baseline"]["completion"],
            candidate=layer["candidate"]["completion"],
            low=layer["candidate"]["interval"][0],
            high=layer["candidate"]["interval"][1],
            new_failures=len(layer["new_failures"]),
            verdict=layer["verdict"],
        )
        for layer in document["layers"]
        if layer["examples"]
    )


def benchmarks_between(
    benchmarks: Benchmarks, candidate: Arm | None, baseline: Arm | None
) -> list[dict[str, Any]]:
    """The documents of these arms, oldest first; none without an arm. May raise StoreDown."""
    if candidate is None or baseline is None:
        return []
    theirs, ours = arm_names(baseline, candidate)
    return benchmarks.all_of(ours, theirs)


def offline_rows(rows: Sequence[Criterion], document: Mapping[str, Any] | None) -> tuple[OfflineRow, ...]:
    """The rows that only a benchmark measures, as a document judged them; other bounds are another row."""
    found = document or {}
    judged = {(row["metric"], row["acceptable"]): row for row in found.get("rubric", ())}
    return tuple(_offline_row(row, judged.get((row.metric, row.acceptable.text)), found) for row in rows)


def _offline_row(row: Criterion, judged: Mapping[str, Any] | None, document: Mapping[str, Any]) -> OfflineRow:
    told = OfflineRow(metric=row.metric, acceptable=row.acceptable.text)
    if judged is None:
        return told
    return replace(told, state=judged["state"], says=judged["says"], at=document["at"])


def spent_on(documents: Iterable[Mapping[str, Any]]) -> tuple[float, bool]:
    """Dollars: what these benchmarks cost, the judge's and embeddings' calls included, as far as it is known;
    and whether all of it is."""
    usd, whole = 0.0, True
    for document in documents:
        sides = [
            side
            for layer in document["layers"]
            for dataset in layer["datasets"]
            for side in (dataset["baseline"], dataset["candidate"])
            if side is not None
        ]
        judge: Mapping[str, Any] = document.get("judge") or {}
        beside = [document.get("embedding_cost_usd"), judge.get("cost_usd")]
        known = [*beside, *(side[name] for side in sides for name in ("cost_usd", "judge_cost_usd"))]
        usd += sum(cost for cost in known if cost is not None)
        whole = whole and all(_answered(side) <= side["priced"] for side in sides)
    return usd, whole


def _answered(side: Mapping[str, Any]) -> int:
    return int(side["examples"] - sum(side["failures"].values()))


def synthetic_score(benchmarks: Sequence[Benchmarked]) -> float | None:
    """The candidate's score on synthetic examples, 0 to 100; None without any."""
    return next((100 * layer.candidate for layer in benchmarks if layer.layer == "synthetic"), None)


# What a model would save a month, from its benchmark and the recorded traffic, before any user gets it. Not


DAYS = 7
"""The whole days of traffic that are read before today: a week, since weekdays differ."""

_DAY_S = 86400.0
_LEAST_DAYS = 1.0
ArmModels = Mapping[tuple[str, int], Mapping[str, str]]
"""Each arm's `provider/model` by canary and run; run 0 stands for those that are not named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """The answered requests for a model in `days`, those of them that the current model `answered`, and how
    many of these have a known cost: `cost_usd` together."""

    days: float
    requests: int
    answered: int
    priced: int
    cost_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Dollars a month for all requests, at the traffic of the last `days`. The interval of `saving_usd` is
    that of the benchmark's cost ratio on the `layer`; a negative saving is a cost."""

    layer: str
    days: float
    requests_a_month: int
    baseline_usd: float
    candidate_usd: float
    saving_usd: Range


def forecast(spending: Spending | None, layers: Sequence[Mapping[str, Any]]) -> Forecast | None:
    """The saving, from a benchmark's layers: the real-world one's cost ratio, else the synthetic one's. None
    without a ratio, with less than a day of traffic, or while too many costs are unknown."""
    ratios = {each["layer"]: each["cost_ratio"] for each in layers if each["cost_ratio"] is not None}
    layer = next((name for name in ("real", "synthetic") if name in ratios), None)
    if layer is None or spending is None or spending.days < _LEAST_DAYS or not spending.priced:
        return None
    if spending.priced < (1 - MOST_UNPRICED) * spending.answered:
        return None
    ratio, months = ratios[layer], spending.days / MONTH_DAYS
    monthly = spending.cost_usd / spending.priced * spending.requests / months
    saving = Range(
        low=monthly * (1 - ratio["high"]),
        estimate=monthly * (1 - ratio["estimate"]),
        high=monthly * (1 - ratio["low"]),
    )
    return Forecast(
        layer=layer,
        days=round(spending.days, 2),
        requests_a_month=round(spending.requests / months),
        baseline_usd=monthly,
        candidate_usd=monthly * ratio["estimate"],
        saving_usd=saving,
    )


def read_spending(
    connection: sa.Connection,
    current: str,
    asked_for: Collection[str],
    arms: ArmModels,
    *,
    now: float,
) -> Spending | None:
    """Today's and the week before's requests for the models named `asked_for` by callers, and what those that
    the model `current` (`provider/model`) answered have cost. `arms` has every run that may be among them.
    None without any."""
    groups = connection.execute(_groups(asked_for, {canary for canary, _ in arms}, now)).all()
    ours = [row for row in groups if _model(row, arms) == current]
    if not ours:
        return None
    first = min(row.first_at for row in groups)
    return Spending(
        days=(now - first) / _DAY_S,
        requests=int(sum(row.answered for row in groups)),
        answered=int(sum(row.answered for row in ours)),
        priced=int(sum(row.priced for row in ours)),
        cost_usd=sum(row.cost_usd for row in ours),
    )


def _model(row: sa.Row[Any], arms: ArmModels) -> str | None:
    """The model of a group: its arm's, or for requests without a canary the entry's that was asked."""
    if not row.canary:
        return f"{row.provider}/{row.model_requested}"
    return (arms.get((row.canary, row.run)) or arms.get((row.canary, 0), {})).get(row.arm)


def _groups(asked_for: Collection[str], canaries: Collection[str], now: float) -> sa.Select[*tuple[Any, ...]]:
    """By canary, run, arm and entry, of today and the seven days before."""
    columns = model_days.c
    keys = (columns.canary, columns.run, columns.arm, columns.provider, columns.model_requested)
    sums = (columns.answered, columns.priced, columns.cost_usd)
    return (
        sa.select(
            *keys,
            sa.func.min(columns.first_at).label("first_at"),
            *(sa.func.sum(sa.cast(each, sa.Double)).label(each.name) for each in sums),
        )
        .where(
            columns.day >= int(now // _DAY_S) - DAYS,
            columns.canary.in_(["", *sorted(canaries)]),
            columns.model_requested.in_(sorted(asked_for)),
        )
        .group_by(*keys)
    )
