"""Config problems: each with its place in the file, all of them in one exception."""

from collections.abc import Sequence
from dataclasses import dataclass

Path = tuple[str | int, ...]
"""The keys and list indexes that lead from the file's root to a value."""


def dotted(path: Path) -> str:
    """The path as text, for example `canaries[0].match.models[1]`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigProblem:
    """One problem. `path` is dotted ("" for the whole file); `line` counts from 1, None if unknown."""

    file: str
    path: str
    line: int | None
    message: str

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return ": ".join(part for part in (place, self.path, self.message) if part)


class ConfigError(Exception):
    """The config is invalid. `problems` is in the file's order; str() prints one problem per line."""

    def __init__(self, problems: Sequence[ConfigProblem]) -> None:
        self.problems = sorted(problems, key=lambda problem: problem.line or 0)
        super().__init__("\n".join(str(problem) for problem in self.problems))
