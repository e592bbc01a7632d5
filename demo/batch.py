"""One batch of questions and its results, independent of wire formats."""

from dataclasses import dataclass
from typing import Any, Literal

from demo.connection import Headers

DAY_S = 86400


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLine:
    """One question of a batch: the request's path and body."""

    id: str
    path: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LineResult:
    """What came of one question; `status` and `body` where it was answered."""

    id: str
    state: Literal["answered", "expired", "canceled"]
    status: int = 0
    body: bytes = b""

    @property
    def good(self) -> bool:
        return self.state == "answered" and self.status < 300


@dataclass(slots=True, kw_only=True)
class LocalBatch:
    """A batch; `results` once it has ended. `wrong`: OpenAI's reasons to refuse the whole file."""

    id: str
    created: int
    headers: Headers
    lines: tuple[BatchLine, ...]
    input_file: str = ""
    wrong: tuple[dict[str, Any], ...] = ()
    canceled: bool = False
    results: tuple[LineResult, ...] | None = None

    def count(self, *, good: bool) -> int:
        """The results so far that are, or are not, answers."""
        return sum(result.good == good for result in self.results or ())
