"""A progress line: redrawn in place on a terminal, otherwise a new line every few seconds."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

from console.words import span

_REDRAW_EVERY_S, _PRINT_EVERY_S = 0.25, 5.0


class Progress:
    """Progress of work of a known size, with an estimate of the time left. Clears its line on a terminal at
    the end."""

    def __init__(self, stream: TextIO, now: Callable[[], float] = time.monotonic) -> None:
        """`now` gives seconds."""
        self._stream, self._now = stream, now
        self._terminal = stream.isatty()
        self._began = self._shown = now()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._terminal:
            self._write("\r\x1b[K")

    def show(self, done: float, of: float) -> None:
        """Show that `done` of `of` is done. Calls in quick succession are dropped."""
        now = self._now()
        if now - self._shown < (_REDRAW_EVERY_S if self._terminal else _PRINT_EVERY_S):
            return
        self._shown, elapsed_s = now, now - self._began
        left = f", at most about {span(elapsed_s * (of - done) / done)} left" if done else ""
        text = f"{100 * done / of:.0f} % after {span(elapsed_s)}{left}".replace("\u00a0", " ")
        self._write(f"\r{text}\x1b[K" if self._terminal else f"{text}\n")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
