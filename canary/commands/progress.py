"""How far long work is: one line that is redrawn on a terminal, elsewhere a new one every few seconds."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

from console.words import span

_REDRAWN_EACH_S, _TOLD_EACH_S = 0.25, 5.0


class Progress:
    """Tells of work of a known size. What is left is told by how long went before; on a terminal nothing
    stays of it at the end."""

    def __init__(self, stream: TextIO, now: Callable[[], float] = time.monotonic) -> None:
        """`now` gives seconds."""
        self._stream, self._now = stream, now
        self._terminal = stream.isatty()
        self._began = self._told = now()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._terminal:
            self._write("\r\x1b[K")

    def show(self, done: float, of: float) -> None:
        """So much of it is done; told only as often as somebody can read it."""
        now = self._now()
        if now - self._told < (_REDRAWN_EACH_S if self._terminal else _TOLD_EACH_S):
            return
        self._told, gone_s = now, now - self._began
        left = f", at most about {span(gone_s * (of - done) / done)} left" if done else ""
        text = f"{100 * done / of:.0f} % after {span(gone_s)}{left}".replace("\u00a0", " ")
        self._write(f"\r{text}\x1b[K" if self._terminal else f"{text}\n")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
