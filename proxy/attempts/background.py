"""Exchanges whose answer is made in the background and fetched later.

OpenAI's responses and Gemini's interactions are made so.

    the caller                                        the exchange
    is told that its answer is queued                 waits for the answer
    leaves the stream of an answer in the background  waits for it, too
    fetches or cancels it, and it has not ended       goes on waiting
    fetches or cancels it, and it has ended           ends with the answer's usage, finish and faults
    has not fetched it for an hour                    ends as it was left; so do the oldest of too many

It waits in the worker that began it, until that ends: another worker does not know of it. The request that
fetches is an exchange of its own, outside every canary and without usage.
"""

import re
import time
from collections.abc import Callable

from proxy.answers.reader import BlindReader, reader_for
from proxy.answers.recorder import AnswerRecorder
from proxy.attempts.attempt import Attempt
from proxy.attempts.record import ExchangeRecord
from proxy.calls.call import Call
from proxy.dialects.operation import CollectedOutput

FETCHED_WITHIN_S = 3_600.0
MOST_WAITING = 1_000
MOST_BYTES = 64 << 20
"""Of the requests of all that wait."""
_FETCHES = re.compile(r"/(?:responses|interactions)/([^/]+)(?:/cancel)?\Z")

Key = tuple[str, str]
"""The provider entry, and its id of the answer."""


class AwaitedAnswer:
    """An exchange that waits for its answer. `close` ends it as it was left."""

    __slots__ = ("attempt", "call", "close", "record", "size", "until")

    def __init__(
        self, record: ExchangeRecord, call: Call, attempt: Attempt, close: Callable[[Attempt], None]
    ) -> None:
        self.record = record
        self.call = call
        self.attempt = attempt
        self.close = close
        self.size = len(call.body) if isinstance(call.body, bytes) else 0
        self.until = time.monotonic() + FETCHED_WITHIN_S


class AwaitedAnswers:
    """Those of one worker. `waiting`: by entry and id, the oldest first."""

    def __init__(self) -> None:
        self.waiting: dict[Key, AwaitedAnswer] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self.waiting)

    def wait(self, record: ExchangeRecord, attempt: Attempt, close: Callable[[Attempt], None]) -> bool:
        """Let an exchange wait if its answer is made in the background. False where it is not, or failed."""
        answer_id, call = attempt.reader.seen.pending, record.call
        if not answer_id or call is None or attempt.wrong is not None:
            return False
        record.await_answer()
        if call.facts.stream:
            attempt.gap_s = attempt.silence_s(time.monotonic())  # it ends with the caller's leaving
            attempt.drop()
        key = (attempt.target.provider.name, answer_id)
        self._end(key)  # a request that was sent again
        waiting = self.waiting[key] = AwaitedAnswer(record, call, attempt, close)
        self._bytes += waiting.size
        while len(self.waiting) > MOST_WAITING or self._bytes > MOST_BYTES:
            self._end(next(iter(self.waiting)))
        return True

    def fetch(self, call: Call, attempt: Attempt) -> "AnswerFetch | None":
        """What reads the answer in a response that is about to be relayed; None where no exchange waits for
        it."""
        if call.trial is not None or (found := _FETCHES.search(call.route.path)) is None:
            return None
        key = (attempt.target.provider.name, found[1])
        waiting = self.waiting.get(key)
        return AnswerFetch(self, key, waiting, attempt) if waiting is not None else None

    def take(self, key: Key, waiting: AwaitedAnswer) -> bool:
        """End the wait. False where it has ended before: of several polls one closes the exchange."""
        if self.waiting.get(key) is not waiting:
            return False
        del self.waiting[key]
        self._bytes -= waiting.size
        return True

    def close_old(self, now: float) -> None:
        """Close the exchanges that have waited for too long at monotonic `now`."""
        while (key := next(iter(self.waiting), None)) is not None and self.waiting[key].until <= now:
            self._end(key)

    def close(self) -> None:
        """Close all: the worker ends."""
        for key in list(self.waiting):
            self._end(key)

    def _end(self, key: Key) -> None:
        waiting = self.waiting.get(key)
        if waiting is not None and self.take(key, waiting):
            waiting.close(waiting.attempt)


class AnswerFetch:
    """Reads the answer that an exchange waits for, while `attempt` relays it."""

    def __init__(self, awaited: AwaitedAnswers, key: Key, waiting: AwaitedAnswer, attempt: Attempt) -> None:
        self._awaited = awaited
        self._key = key
        self._waiting = waiting
        self._attempt = attempt
        request = waiting.attempt.request
        self._output = CollectedOutput() if request is not None and request.output is not None else None
        self._recorder = AnswerRecorder() if waiting.call.sample is not None else None
        headers = dict(attempt.response.headers) if attempt.response is not None else {}
        attempt.reader = reader_for(
            waiting.call.route.operation,
            status=attempt.status or 0,
            content_type=headers.get(b"content-type", b"").lower(),
            encoding=headers.get(b"content-encoding", b"").lower(),
            strip=False,
            recorder=self._recorder,
            output=self._output,
        )

    async def end(self) -> None:
        """Close the exchange that waits, if its answer has ended: as left by its caller if that cancelled it.
        What was read is that exchange's alone."""
        fetched, waiting = self._attempt, self._waiting
        reader, failure = fetched.reader, fetched.failure
        fetched.reader, fetched.failure = BlindReader(), None
        seen = reader.seen
        has_ended = seen.failed or (seen.done and seen.valid and not seen.pending)
        if not has_ended or not self._awaited.take(self._key, waiting):
            return
        own = waiting.attempt
        seen.first_token_at = own.reader.seen.first_token_at
        own.reader, own.output, own.recorder, own.failure = reader, self._output, self._recorder, failure
        cancelled = seen.answer is not None and seen.answer.finish == "other" and seen.usage is None
        if cancelled and not seen.failed:
            waiting.record.leave(own)
            return
        try:
            await waiting.record.examine(own)
        finally:  # the caller may leave meanwhile; the answer is whole
            waiting.record.finish(own)
