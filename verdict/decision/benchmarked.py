"""A candidate's newest benchmark, for the report and the archive."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from records.store.benchmarks import Benchmarks
from routing.canary import Arm, arm_names
from verdict.details import Benchmarked, OfflineRow
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


def newest_benchmark(
    benchmarks: Benchmarks, candidate: Arm | None, baseline: Arm | None
) -> dict[str, Any] | None:
    """The newest document of these arms; None without one, or without an arm. May raise StoreDown."""
    if candidate is None or baseline is None:
        return None
    theirs, ours = arm_names(baseline, candidate)
    return benchmarks.latest(ours, theirs)


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


def synthetic_score(benchmarks: Sequence[Benchmarked]) -> float | None:
    """The candidate's score on synthetic examples, 0 to 100; None without any."""
    return next((100 * layer.candidate for layer in benchmarks if layer.layer == "synthetic"), None)
