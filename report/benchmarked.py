"""What a candidate's last benchmark says, as the report and the archive take it."""

from collections.abc import Sequence

from records.benchmarks import Benchmarks
from report.details import Benchmarked
from routing.canary import Arm


def benchmarks_of(benchmarks: Benchmarks, candidate: Arm | None) -> tuple[Benchmarked, ...]:
    """The layers of the candidate's newest benchmark; none where it has none. May raise StoreDown."""
    if candidate is None:
        return ()
    document = benchmarks.latest(f"{candidate.provider}/{candidate.model}")
    if document is None:
        return ()
    return tuple(
        Benchmarked(
            layer=each["layer"],
            at=document["at"],
            examples=each["examples"],
            baseline=each["baseline"]["completion"],
            candidate=each["candidate"]["completion"],
            low=each["candidate"]["interval"][0],
            high=each["candidate"]["interval"][1],
            new_failures=len(each["new_failures"]),
            verdict=each["verdict"],
        )
        for each in document["layers"]
        if each["examples"]
    )


def synthetic_score(benchmarks: Sequence[Benchmarked]) -> float | None:
    """The share of synthetic examples that the candidate got right, 0 to 100; None where none were asked."""
    return next((100 * each.candidate for each in benchmarks if each.layer == "synthetic"), None)
