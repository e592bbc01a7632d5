"""One worker's capture process: reads exchanges from stdin, redacts them and writes them to files.

The process ends with its stdin. A crash loses the exchanges of the last second at most.
"""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import msgspec
import structlog

from canary.programs.process import log_to_stderr
from proxy.calls.prompt import PromptMessage, conversation, declared_tools
from proxy.network.pipe import messages
from records.captures.capture import (
    Capture,
    CapturedMessage,
    CapturedToolCall,
    RawCapture,
    WireRequest,
    write_captures,
)
from records.captures.redaction import Clean, json_redacted, redacted, redacted_request, storable

log = structlog.get_logger()

FLUSH_EVERY_S = 1.0
MOST_HELD = 64
REDACT_WITHIN_S = 5.0
CUT_SHORT = 256
"""Characters dropped before a cut: half a key would not be recognised as a key."""

_decode = msgspec.msgpack.Decoder(RawCapture).decode


class TooSlow(Exception):
    """A pattern took longer than REDACT_WITHIN_S for one text."""


def captured(taken: RawCapture) -> Capture | None:
    """The redacted exchange; None if it has neither text nor a tool call, or holds more than that."""
    turns = conversation(taken.request)
    answer = taken.answer[:-CUT_SHORT] if taken.truncated else taken.answer
    if not (turns and (answer or taken.calls) and all(turn.whole for turn in turns)):
        return None
    clean = _cleaner(taken.redact)
    return Capture(
        about=taken.about,
        messages=tuple(_message(turn, clean) for turn in turns),
        answer=json_redacted(answer, clean),
        answer_calls=tuple(_call(call, clean) for call in taken.calls),
        tools=json_redacted(declared_tools(taken.request), clean),
        truncated=taken.truncated,
        request=_request(taken, clean),
    )


def _message(turn: PromptMessage, clean: Clean) -> CapturedMessage:
    calls = tuple(_call(call, clean) for call in turn.calls)
    return CapturedMessage(turn.role, json_redacted(turn.text, clean), calls, clean(turn.call_id))


def _call(call: CapturedToolCall, clean: Clean) -> CapturedToolCall:
    return CapturedToolCall(clean(call.id), clean(call.name), json_redacted(call.arguments, clean))


def _request(taken: RawCapture, clean: Clean) -> WireRequest | None:
    """The redacted request; a mirror copy's is that of the real exchange."""
    if not taken.path or taken.about.copy_of:
        return None
    return redacted_request(taken.path, taken.headers, taken.request, clean)


def _cleaner(patterns: tuple[str, ...]) -> Clean:
    """What redacts the texts of one exchange. Messages and request have the same: each is redacted once."""
    return cache(lambda text: redacted(storable(text), patterns))


class Capturer:
    """Collects captures and writes them in batches."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: list[Capture] = []
        self._since = time.monotonic()

    def run(self, fd: int) -> None:
        """Run until the other end closes."""
        for message in messages(fd, FLUSH_EVERY_S):
            if message is not None:
                self._take(message)
            if len(self._held) >= MOST_HELD or time.monotonic() - self._since >= FLUSH_EVERY_S:
                self._flush()
        self._flush()

    def _take(self, message: bytes) -> None:
        if not self._held:
            self._since = time.monotonic()
        try:
            with _within(REDACT_WITHIN_S):
                capture = captured(_decode(message))
        except TooSlow:
            log.error("capture.too_slow", seconds=REDACT_WITHIN_S)
        except Exception as problem:
            log.error("capture.failed", problem=type(problem).__name__)  # its message might quote the text
        else:
            if capture is not None:
                self._held.append(capture)

    def _flush(self) -> None:
        if self._held and not write_captures(self._folder, self._held):
            log.error("capture.no_room", count=len(self._held))
        self._held.clear()


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Raise TooSlow inside the block after this long. Regex matching checks for signals."""

    def stop(_number: int, _frame: object) -> None:
        raise TooSlow

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def main() -> None:
    """Entry point of `python -m canary.programs.capturer FOLDER`."""
    log_to_stderr()
    Capturer(Path(sys.argv[1])).run(sys.stdin.fileno())


if __name__ == "__main__":
    main()
