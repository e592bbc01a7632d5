"""A whole run."""

from collections.abc import Iterator

from benchmarks.compare import _taken
from benchmarks.rounds import BenchSection, SectionResult


def test_a_run_that_ends_early_keeps_what_it_had_measured() -> None:
    first = SectionResult(BenchSection(title="first", ways=[], loads=[], rows={}))

    def broken() -> Iterator[SectionResult]:
        yield first
        raise RuntimeError("canary: 497 answers were wrong")

    assert _taken(broken()) == ([first], "canary: 497 answers were wrong")
