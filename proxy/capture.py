"""Which exchanges are captured, and what is handed over of them. The rest is in `records.capture*`."""

import random
from collections.abc import Callable

import msgspec
import structlog

from proxy.answer_recorder import AnswerRecorder
from proxy.call import Call
from records.capture import CaptureInfo, CaptureRule, CaptureSample, RawCapture
from records.outcome import Outcome

log = structlog.get_logger()

LONGEST_REQUEST = 1 << 20
MOST_OPEN = 128
"""Exchanges that are listened to at once: each may hold 256 KiB."""

MOST_CATEGORIES = 1024
"""A day's categories that one worker counts: callers choose their names."""

_DAY_S = 86400
_TALKS = ("chat", "text_completion", "generate_content")


class Captures:
    """One worker's. `send` takes an encoded `RawCapture` and never waits; `draw` gives a number in [0, 1)."""

    def __init__(self, send: Callable[[bytes], object], *, draw: Callable[[], float] = random.random) -> None:
        self._send, self._draw = send, draw
        self._open = 0
        self._day = -1
        self._counts: dict[tuple[str, str], int] = {}

    def drawn(self, call: Call, exchange_id: str) -> CaptureSample | None:
        """The sample, if this exchange is to be captured: the day's first of a category, then the rate's."""
        trial = call.trial
        if trial is None or trial.capture is None or not _can_be(call):
            return None
        rule = trial.capture
        wanted = self._left(trial.canary.name, call, rule)
        if self._open >= MOST_OPEN or (not wanted and self._draw() >= rule.rate):
            return None
        self._open += 1
        return CaptureSample(exchange_id=exchange_id, kept="category" if wanted else "rate", rule=rule)

    def close(
        self, call: Call, sample: CaptureSample, outcome: Outcome, heard: AnswerRecorder | None
    ) -> None:
        """A drawn exchange, or its mirror copy, has ended: hand it over if it ended well. Never raises."""
        self._open -= outcome.exchange_id == sample.exchange_id
        try:
            taken = _taken(call, sample, outcome, heard) if heard is not None else None
            if taken is not None and self._send(msgspec.msgpack.encode(taken)) and not taken.about.copy_of:
                self._count(taken.about)
        except Exception as problem:
            log.error("capture.failed", exchange=outcome.exchange_id, problem=type(problem).__name__)

    def _left(self, canary: str, call: Call, rule: CaptureRule) -> bool:
        """True while the category has not had its share today."""
        if not rule.per_category:
            return False
        day = int(call.at // _DAY_S)
        if day != self._day:
            self._day = day
            self._counts.clear()
        key = (canary, call.text(b"x-canary-category"))
        known = self._counts.get(key)
        if known is None:
            return len(self._counts) < MOST_CATEGORIES
        return known < rule.per_category

    def _count(self, about: CaptureInfo) -> None:
        if about.kept == "category":
            key = (about.canary, about.category)
            self._counts[key] = self._counts.get(key, 0) + 1


def _can_be(call: Call) -> bool:
    """True for requests whose text is read, and which are not too long."""
    body = call.body
    return call.route.operation.name in _TALKS and isinstance(body, bytes) and len(body) <= LONGEST_REQUEST


def _taken(call: Call, sample: CaptureSample, outcome: Outcome, heard: AnswerRecorder) -> RawCapture | None:
    answer, body = heard.kept, call.body
    if not answer or not isinstance(body, bytes) or outcome.outcome not in ("ok", "fallback"):
        return None
    return RawCapture(
        about=CaptureInfo(
            exchange_id=outcome.exchange_id,
            copy_of=sample.exchange_id if outcome.exchange_id != sample.exchange_id else "",
            at=outcome.at,
            expires_at=outcome.at + sample.rule.expires_after_s,
            canary=outcome.canary,
            run=outcome.run,
            phase=outcome.phase,
            arm=outcome.arm,
            served_by=outcome.served_by,
            kept=sample.kept,
            per_category=sample.rule.per_category,
            unit=outcome.unit,
            session=outcome.session,
            category=outcome.category,
            tags=outcome.tags,
            provider=outcome.provider,
            model=outcome.model,
        ),
        request=body,
        answer=answer,
        streamed=heard.streamed,
        truncated=heard.truncated,
        redact=sample.rule.redact,
    )
