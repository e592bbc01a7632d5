"""What is wrong with a config: every problem with its place, all of a file in one exception."""

from collections.abc import Sequence
from dataclasses import dataclass

Path = tuple[str | int, ...]
"""The keys and list indexes that lead from the file's root to a value."""


def dotted(path: Path) -> str:
    """The path as a person reads it: `canaries[0].match.models[1]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing to mend. `path` is dotted ("" for the whole file); `line` counts from 1, None: no line."""

    file: str
    path: str
    line: int | None
    message: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return ": ".join(part for part in (place, self.path, self.message) if part)


class ConfigError(Exception):
    """The config was refused. `problems` has all that was found, in the file's order; str() one a line."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = sorted(problems, key=lambda problem: problem.line or 0)
        super().__init__("\n".join(str(problem) for problem in self.problems))
