"""A candidate's newest benchmark, for the report and the archive."""

from collections.abc import Sequence

from records.benchmarks import Benchmarks
from report.details import Benchmarked
from routing.canary import Arm


def benchmarks_of(
    benchmarks: Benchmarks, candidate: Arm | None, baseline: Arm | None
) -> tuple[Benchmarked, ...]:
    """The layers of the candidate's newest benchmark against this baseline; empty without one. May raise
    StoreDown."""
    if candidate is None or baseline is None:
        return ()
    document = benchmarks.latest(*(f"{arm.provider}/{arm.model}" for arm in (candidate, baseline)))
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


def synthetic_score(benchmarks: Sequence[Benchmarked]) -> float | None:
    """The candidate's score on synthetic examples, 0 to 100; None without any."""
    return next((100 * layer.candidate for layer in benchmarks if layer.layer == "synthetic"), None)
