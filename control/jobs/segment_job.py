"""Has outcomes rolled into segments, and expired ones deleted, by a program that ends afterwards.

The admin process asks the store whether something is due; the program does it (`canary/programs/roller.py`).
"""

import asyncio
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import structlog
from prometheus_client.core import CounterMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from common.clock import every, put_off_without_descriptors
from records.errors import StoreDown
from records.exports.prometheus import gauge
from records.store import Store
from records.store.arm_texts import ArmTextsInStore
from records.store.captures import CaptureStore
from records.store.segment_writer import SegmentStanding, SegmentTurn, SegmentTurnResult, standing

log = structlog.get_logger()

LOOK_EVERY_S = 10.0
LONGEST_WAIT_S = 300.0
"""After failures, the wait doubles from LOOK_EVERY_S up to this."""

LONGEST_TURN_S = 3600.0
"""A program that takes longer is killed; what it has rolled stays."""

_PASSED = frozenset(
    {"PATH", "PYTHONPATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "TMPDIR", "HOME"}
)
_PASSED_OF = (
    "AWS_",
    "AZURE_",
    "GOOGLE_",
    "CLOUDSDK_",
    "PG",
    "SSL_CERT_",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
)
"""How the names begin of what finds and opens databases and object stores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentProgram:
    """The program that rolls, and the store that it is told: `url`, relative to `data`, and `outcomes`."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    url: str = field(repr=False)
    data: Path
    outcomes: str

    async def turn(self, before: float) -> SegmentTurnResult:
        """Do one turn in the program, which dies with this process. What goes wrong is in the result."""
        told = SegmentTurn(url=self.url, data=str(self.data), outcomes=self.outcomes, before=before)
        try:
            process = await asyncio.create_subprocess_exec(
                *self.command,
                env=passed(self.environment),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as problem:
            return SegmentTurnResult(problem=f"the program that rolls cannot be started: {problem}")
        try:
            async with asyncio.timeout(LONGEST_TURN_S):
                return await _result(process, msgspec.json.encode(told))
        except TimeoutError:
            return SegmentTurnResult(problem=f"the program that rolls took longer than {LONGEST_TURN_S:g} s")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def _result(process: asyncio.subprocess.Process, told: bytes) -> SegmentTurnResult:
    assert process.stdin is not None and process.stdout is not None  # noqa: S101
    process.stdin.write(told + b"\n")  # stdin stays open: its end is the program's
    try:
        return msgspec.json.decode(await process.stdout.read(), type=SegmentTurnResult)
    except msgspec.DecodeError:
        return SegmentTurnResult(problem=f"the program that rolls {_ended(await process.wait())}")


def _ended(code: int) -> str:
    if code == -signal.SIGKILL:
        return "was killed, perhaps because memory ran out: it needs some 300 MiB"
    return f"was ended by signal {-code}" if code < 0 else f"failed with code {code}; its log says why"


def passed(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without the secrets that rolling does not need: canary's and the providers'."""
    return {
        name: value
        for name, value in environment.items()
        if name in _PASSED or name.upper().startswith(_PASSED_OF)
    }


class SegmentJob(Collector):
    """The rolling of one database's outcomes, and its figures for Prometheus. Belongs to the event loop's
    thread.

    `before` returns the UTC second before which outcomes expire; `works` is True while this process is to
    roll.
    """

    def __init__(
        self,
        store: Store,
        roller: SegmentProgram,
        *,
        before: Callable[[float], float],
        works: Callable[[], bool],
    ) -> None:
        self._store, self._roller, self._before, self._works = store, roller, before, works
        self._standing: SegmentStanding | None = None
        self._problem = ""
        self._failures = self._in_a_row = 0

    @property
    def trouble(self) -> str:
        """Why outcomes wait in the database; "" while they do not."""
        if not (self._problem and self._works()):
            return ""
        return f"outcomes wait in the database and are not lost, but not rolled: {self._problem}"

    async def run(self) -> None:
        """Look every ten seconds, without end, and do what is due."""
        while True:
            if self._works():
                with put_off_without_descriptors():
                    await self.turn(time.time())
            await asyncio.sleep(min(LOOK_EVERY_S * 2.0**self._in_a_row, LONGEST_WAIT_S))

    async def turn(self, now: float) -> None:
        """Do what is due as of UTC second `now`. The store is asked in a thread."""
        before = self._before(now)
        try:
            self._standing = await asyncio.to_thread(standing, self._store, now, before)
            if self._standing.is_due:
                self._ended(await self._roller.turn(before))
                self._standing = await asyncio.to_thread(standing, self._store, now, before)
        except StoreDown as problem:  # the shipper says so, too
            log.error("outcomes.not_looked_at", problem=str(problem))

    def _ended(self, result: SegmentTurnResult) -> None:
        if not result.problem:
            self._problem, self._in_a_row = "", 0
            return
        self._problem = result.problem
        self._failures, self._in_a_row = self._failures + 1, min(self._in_a_row + 1, 10)
        log.error("outcomes.not_rolled", problem=result.problem)

    def collect(self) -> Iterator[Family]:
        """Every family, for prometheus-client, as of the last look. A process in standby has no gauges."""
        yield from families(self._standing if self._works() else None, self._failures)


def families(known: SegmentStanding | None, failures: int) -> Iterator[Family]:
    """The families, without gauges while nothing is known."""
    fresh, whole = ([((), known.fresh)], [((), known.segments)]) if known is not None else ((), ())
    yield gauge("canary_outcomes_fresh", "Outcomes in no segment yet", fresh)
    yield gauge("canary_segments", "Segments of outcomes", whole)
    yield CounterMetricFamily("canary_rolling_failures", "Turns of rolling that failed", value=failures)


EVERY_S = 3600.0


async def expiring(store: Store, retention_s: Callable[[], float | None]) -> None:
    """Delete once an hour, without end. `retention_s` returns how long records are kept, or None while
    another process is responsible."""

    async def expire() -> None:
        kept_s = retention_s()
        if kept_s is not None:
            await asyncio.to_thread(_expire, store, kept_s)

    await every(EVERY_S, expire, at_once=True)


def _expire(store: Store, kept_s: float) -> None:
    now = time.time()
    try:
        expired = {
            "records": store.expire(now - kept_s),
            "captures": CaptureStore(store).expire(now),
            "arm_texts": ArmTextsInStore(store).expire(now - kept_s),
        }
        for what, count in expired.items():
            if count:
                log.info(f"{what}.expired", count=count)
    except StoreDown as problem:
        log.error("records.not_expired", problem=str(problem))
