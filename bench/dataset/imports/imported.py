"""What an import of another tool's tests gives: lines of a dataset, their places, what was left out."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.errors import BenchError


class BadImport(BenchError):
    """The problems of a foreign file, a line each: `FILE:LINE: KEY what is wrong; what is right`."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePlace:
    """Where something stands: the file, its line (None: not known), and the key as a path."""

    file: str
    line: int | None
    key: str = ""

    def at(self, key: str, value: object = None) -> "SourcePlace":
        """A key below this one: `.vars`, `[0]`; on the line of the value there, if it has one."""
        line = getattr(value, "line", None) or self.line
        return SourcePlace(file=self.file, line=line, key=f"{self.key}{key}")

    def problem(self, message: str) -> BadImport:
        """The error that names this place."""
        line = "" if self.line is None else f":{self.line}"
        key = self.key.lstrip(".")
        return BadImport([f"{self.file}{line}: {key}{' ' if key else ''}{message}"])


@dataclass(slots=True, kw_only=True)
class ImportedExamples:
    """The lines in the order of their tests, with the place of each; `left_out` counts by what and why."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    places: list[SourcePlace] = field(default_factory=list)
    left_out: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(
        self, place: SourcePlace, category: str = "", tags: Mapping[str, str] | None = None, **line: Any
    ) -> None:
        """One example."""
        labels = {"category": category, "tags": tags}
        self.lines.append(line | {name: value for name, value in labels.items() if value})
        self.places.append(place)


def texts_in(value: Any) -> Iterator[str]:
    """Every text in a value of lists and mappings."""
    match value:
        case str():
            yield value
        case list() | dict():
            for each in value.values() if isinstance(value, dict) else value:
                yield from texts_in(each)
