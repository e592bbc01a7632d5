"""Callers in closed loops who keep the ids of what they got whole, and know whose connections broke."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count

from tests.e2e.stage import chat
from tests.reliability.answers import DONE, SSE, chunk, document, events, head, whole
from tests.reliability.callers import request
from tests.reliability.fault_provider import Seen
from tests.reliability.load import Caller, Gone
from tests.serving import eventually


async def paced(seen: Seen) -> None:
    """A provider's play: a document after 10 ms, or a stream of ten events 5 ms apart."""
    await asyncio.sleep(0.01)
    if b'"stream": true' not in bytes(seen.message.body):
        seen.write(whole(document(seen.model)))
        return
    seen.write(head(fields=SSE))
    for event in events(seen.model):
        seen.write(chunk(event))
        await asyncio.sleep(0.005)
    seen.write(chunk(b""))


@dataclass
class Askers:
    """`whole` are the exchanges that came to their end, `broken` the callers' ports of those that did not;
    `refused` counts connections that could not be made; `waits_s` is what each exchange took."""

    address: str
    whole: list[str] = field(default_factory=list)
    broken: list[int] = field(default_factory=list)
    refused: int = 0
    waits_s: list[float] = field(default_factory=list)
    _stop: bool = False

    @asynccontextmanager
    async def asking(self, callers: int) -> AsyncIterator[None]:
        """So many callers ask while this is entered: every other one for streams, every fourth over a new
        connection each time."""
        async with asyncio.TaskGroup() as group:
            for number in range(callers):
                group.create_task(self._ask_on(number))
            try:
                yield
            finally:
                self._stop = True

    async def more(self, exchanges: int) -> None:
        """Wait for so many exchanges more."""
        wanted = len(self.whole) + exchanges
        await until(lambda: len(self.whole) >= wanted)

    async def _ask_on(self, number: int) -> None:
        stream, caller = number % 2 == 0, None
        for asked in count():
            if self._stop:
                break
            began = time.monotonic()
            try:
                caller = caller or await Caller.connect(self.address)
                body = chat("gpt-4o", f"user-{number}-{asked}", stream=stream)
                answer = await caller.ask(request(self.address, body))
            except Gone:
                self.broken.append(caller.transport.get_extra_info("sockname")[1] if caller else 0)
                caller = None
                continue
            except OSError:
                self.refused += 1
                continue
            assert answer.status == 200
            assert answer.body.endswith(DONE) if stream else answer.body.endswith(b"}")
            self.waits_s.append(time.monotonic() - began)
            self.whole.append((answer.first(b"x-canary-exchange") or b"").decode())
            if number % 4 == 3 or answer.first(b"connection") == b"close":  # the server is about to end
                caller.leave()
                caller = None
        if caller is not None:
            caller.leave()


async def until(condition: Callable[[], object]) -> None:
    """`eventually`, beside a running loop."""
    await asyncio.to_thread(eventually, condition)
