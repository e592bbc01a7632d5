"""Selects exchanges for capture and sends them to the capture process. See `records.captures.capture`.

Regex matching holds the GIL, and a user's pattern may run for hours. In its own process it stalls no answer
and can be killed.
"""

import random
import time
from collections.abc import Callable, Sequence

import msgspec
import structlog

from proxy.answers.recorder import AnswerRecorder
from proxy.calls.call import Call
from proxy.network.child_process import ChildProcess
from proxy.providers.headers import without_key
from records.captures.capture import (
    CaptureInfo,
    CaptureRule,
    CaptureSample,
    RawCapture,
    source_of,
    takes_session,
)
from records.outcome import Outcome

log = structlog.get_logger()

LONGEST_REQUEST = 1 << 20
LONGEST_MESSAGE = 2 << 20
MOST_BYTES = 4 << 20
"""Bytes of messages that wait for the capture process."""

END_WITHIN_S = 5.0
TELL_EVERY_S = 60.0
MOST_OPEN = 128
"""Exchanges recorded at once; each may hold 256 KiB."""

MOST_CATEGORIES = 1024
"""Categories that a worker counts per day; bounded, because callers choose the names."""

_DAY_S = 86400
_TELLING = (b"anthropic-version", b"anthropic-beta", b"openai-beta")
"""Headers that change how a provider reads the body."""

_TEXT_OPERATIONS = ("chat", "text_completion", "generate_content", "invoke_model")


class Captures:
    """The captures of one worker.

    `send` takes an encoded `RawCapture` and never blocks; `draw` returns a number in [0, 1).
    """

    def __init__(self, send: Callable[[bytes], object], *, draw: Callable[[], float] = random.random) -> None:
        self._send, self._draw = send, draw
        self._open = 0
        self._day = -1
        self._counts: dict[tuple[str, str], int] = {}

    def drawn(
        self, call: Call, rule: CaptureRule | None, exchange_id: str, session: str = ""
    ) -> CaptureSample | None:
        """Return a sample if this exchange is captured, by its category's daily quota or by the rate, which
        draws whole sessions. `session` is a hash, "" without one."""
        if rule is None or not _is_capturable(call):
            return None
        by_category = bool(rule.per_category) and self._has_quota(call, rule)
        if self._open >= MOST_OPEN or not (by_category or self._by_rate(rule, session)):
            return None
        self._open += 1
        return CaptureSample(exchange_id=exchange_id, kept="category" if by_category else "rate", rule=rule)

    def close(
        self, call: Call, sample: CaptureSample, outcome: Outcome, recorder: AnswerRecorder | None
    ) -> None:
        """Send a sampled exchange, or its mirror copy, if it ended well. Never raises."""
        self._open -= outcome.exchange_id == sample.exchange_id
        try:
            raw = _raw(call, sample, outcome, recorder) if recorder is not None else None
            if raw is not None and self._send(msgspec.msgpack.encode(raw)) and not raw.about.copy_of:
                self._count(raw.about)
        except Exception as problem:
            log.error("capture.failed", exchange=outcome.exchange_id, problem=type(problem).__name__)

    def _by_rate(self, rule: CaptureRule, session: str) -> bool:
        return takes_session(session, rule.rate) if session else self._draw() < rule.rate

    def _has_quota(self, call: Call, rule: CaptureRule) -> bool:
        """True while the request's category has not reached its daily quota."""
        day = int(call.at // _DAY_S)
        if day != self._day:
            self._day = day
            self._counts.clear()
        key = (source_of(call.captured_for, call.facts.model), call.labels.category)
        count = self._counts.get(key)
        if count is None:
            return len(self._counts) < MOST_CATEGORIES
        return count < rule.per_category

    def _count(self, about: CaptureInfo) -> None:
        if about.kept == "category":
            key = (about.source, about.category)
            self._counts[key] = self._counts.get(key, 0) + 1


def _is_capturable(call: Call) -> bool:
    """True for requests of a text operation that are not too long."""
    body = call.body
    is_text = call.route.operation.name in _TEXT_OPERATIONS
    return is_text and isinstance(body, bytes) and len(body) <= LONGEST_REQUEST


def _raw(call: Call, sample: CaptureSample, outcome: Outcome, recorder: AnswerRecorder) -> RawCapture | None:
    (answer, calls), body = recorder.recorded(), call.body
    if not (answer or calls) or not isinstance(body, bytes) or outcome.outcome not in ("ok", "fallback"):
        return None
    return RawCapture(
        about=CaptureInfo(
            exchange_id=outcome.exchange_id,
            copy_of=sample.exchange_id if outcome.exchange_id != sample.exchange_id else "",
            at=outcome.at,
            expires_at=outcome.at + sample.rule.expires_after_s,
            canary=call.captured_for,
            run=0 if outcome.reason == "prompt_missed" else outcome.run,  # no arm's: nobody judges it
            phase=outcome.phase,
            arm=outcome.arm,
            served_by=outcome.served_by,
            kept=sample.kept,
            per_category=sample.rule.per_category,
            rate=sample.rule.rate,
            unit=outcome.unit,
            session=outcome.session,
            category=outcome.category,
            tags=outcome.tags,
            provider=outcome.provider,
            model=outcome.model,
        ),
        request=body,
        answer=answer,
        calls=calls,
        truncated=recorder.truncated,
        redact=sample.rule.redact,
        path=_path(call),
        headers={
            name.decode(): call.named[name].decode("latin-1") for name in _TELLING if name in call.named
        },
    )


def _path(call: Call) -> str:
    """The path as callers write it, with the query but without a credential."""
    query = without_key(call.query).decode("latin-1")
    return f"{call.route.path}?{query}" if query else call.route.path


class CapturePipe:
    """What goes to a worker's capture process.

    `dropped` counts messages that were lost: too long, one too many, or with their process.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.dropped = 0
        self._child = ChildProcess("capture", command, died=self._drop)
        self._told_at = float("-inf")
        self._closed = False

    def send(self, message: bytes) -> bool:
        """Send one message without blocking. False when it is dropped."""
        fits = len(message) <= LONGEST_MESSAGE and self._child.unsent + len(message) <= MOST_BYTES
        if self._closed or not fits or not self._child.send(message):
            self._drop(1)
            return False
        return True

    async def close(self) -> None:
        """Send what waits, and let the process write it. A process that hangs is killed."""
        self._closed = True
        await self._child.close(END_WITHIN_S)

    def _drop(self, count: int) -> None:
        """Count dropped messages; log the count at most once a minute."""
        self.dropped += count
        if count and time.monotonic() - self._told_at >= TELL_EVERY_S:
            self._told_at = time.monotonic()
            log.warning("capture.dropped", count=self.dropped)
