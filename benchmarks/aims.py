"""The aims of a run: each beside its result, met or not. What a run did not measure is neither."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.rounds import SectionResult, ratio, spread
from benchmarks.sections import COMPILED, PLAIN, PLAINTEXT
from benchmarks.table import number

QUIET_SHARE = 0.05
"""Of the machine's CPU time that other work may take before latencies tell more about that work."""


@dataclass(frozen=True, slots=True)
class Aim:
    """`most` is the highest figure that meets the aim: a ratio to `base` within a round, or without `base`
    the figure itself, in `unit`."""

    name: str
    key: str
    most: float
    base: str | None = None
    unit: str = ""


AIMS = (
    Aim("CPU of an exchange, all processes", "exchange_all_us", 4.5, "nginx"),
    Aim("CPU of an exchange, worker", "exchange_worker_us", 3.0, "nginx"),
    Aim("CPU of an exchange, admin process and supervisor", "exchange_admin_us", 1.0, "nginx"),
    Aim("CPU of a paced chunk, all processes", "paced_all_us", 1.0, "envoy"),
    Aim("CPU of a paced chunk, worker", "paced_worker_us", 1.0, "envoy"),
    Aim("added p99", "added_p99_ms", 1.5, unit=" ms"),
)


@dataclass(frozen=True, slots=True)
class AimResult:
    """What a run says of an aim; None where it did not measure it."""

    aim: Aim
    value: float | None

    @property
    def is_met(self) -> bool | None:
        """Whether the value, rounded as it is shown, meets the aim."""
        return None if self.value is None else float(number(self.value)) <= self.aim.most

    def line(self) -> str:
        """One line: met or not, the aim, and the result."""
        aim = self.aim
        if self.value is None:
            return f"  not measured  {aim.name}{f': no {aim.base} in this run' if aim.base else ''}"
        word = "met" if self.is_met else "not met"
        result, most = (self._shown(value) for value in (self.value, aim.most))
        return f"  {word:12}  {aim.name}: {result}, aim {most} or less"

    def document(self) -> dict[str, Any]:
        """The same as JSON; `met` is null where nothing was measured."""
        aim = self.aim
        return {"aim": aim.name, "base": aim.base, "most": aim.most, "value": self.value, "met": self.is_met}

    def _shown(self, value: float) -> str:
        base = self.aim.base
        return f"×{number(value)} {base}'s" if base else f"{number(value)}{self.aim.unit}"


def judged(taken: Sequence[SectionResult]) -> tuple[str, list[AimResult]]:
    """The contender that the aims are for, and each aim's result: the compiled one where it was measured."""
    section = next((one for one in taken if one.section.title == PLAINTEXT), None)
    ways = section.section.ways if section is not None else ()
    name = COMPILED if any(way.name == COMPILED for way in ways) else PLAIN
    return name, [AimResult(aim, _value(section, aim, name)) for aim in AIMS]


def _value(section: SectionResult | None, aim: Aim, name: str) -> float | None:
    if section is None:
        return None
    if aim.base is not None:
        return ratio(section, aim.key, name, aim.base)
    found = spread(section, aim.key, name)
    return None if found is None else found.median


def lines(taken: Sequence[SectionResult], foreign_cpu_share: float) -> list[str]:
    """All aims, under a heading that says what was measured and how busy the machine was."""
    name, results = judged(taken)
    what = "canary compiled, as the image is" if name == COMPILED else "canary not compiled; the image is"
    busy = "quiet" if foreign_cpu_share <= QUIET_SHARE else "busy"
    return [f"Aims, {what}, on a {busy} machine (medians):", *(result.line() for result in results)]
