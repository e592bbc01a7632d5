"""Judges captured pairs, answers and sessions in the background, while this process leads.

Every five seconds, and whenever there is room, it takes what waits of each canary's current run. It reads the
store and asks the judge; requests are never touched, and the store is used in other threads. Why it pauses:

reason          begins when                                ends
budget          the day's budget has no room for a call    the UTC day ends, or the config changes
budget          the whole budget has no room for one       the config changes, or a shorter one is answered
provider        a call failed                              after 10 s, 20 s, … 10 min; an answer forgets it
no price        the model's price is not known             a minute later, or the config changes
no credential   its entry has none                         a minute later, or the config changes
"""

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any, Literal

import structlog

from bench.settings import BenchSettings, JudgeSource
from common.clock import put_off_without_descriptors
from common.numbers import set_dollars
from judge.judgements import BudgetSpent, Judgements
from judge.terms import JudgedRun, JudgeTerms, Kind
from records.errors import StoreDown
from records.store import Store

if TYPE_CHECKING:
    from judge.model import Calls, Ended, Judge, JudgementSubject
    from judge.runs.due import UnjudgedExchange

log = structlog.get_logger()

LOOK_EVERY_S = 5.0
MOST = 64
"""What one look takes of a canary."""

_DAY_S = 86400
ASIDE_S = 3600.0
"""The delay until a pair that the provider refused is tried again, so that it keeps no other waiting."""


Reason = Literal["", "budget", "provider", "no price", "no credential"]

FIRST_S, LONGEST_S = 10.0, 600.0
LOOK_AGAIN_S = 60.0


@dataclass(slots=True)
class JudgePause:
    """`words` says more, for example the provider's own words. `until` is UTC seconds. After it the judge
    asks again, and `reason` stays until something was answered. `has_end` is False where no day helps."""

    reason: Reason = ""
    words: str = ""
    until: float = 0.0
    failures: int = 0
    has_end: bool = True

    def holds(self, now: float) -> bool:
        """True while nothing is asked."""
        return now < self.until

    def look(self, now: float) -> None:
        """A new day has a new budget."""
        if self.reason == "budget" and self.has_end and not self.holds(now):
            self.forget()

    def budget_spent(self, words: str, now: float) -> None:
        """No call fits into what is left of this day's budget."""
        self.reason, self.words, self.has_end = "budget", words, True
        self.until = (now // _DAY_S + 1) * _DAY_S

    def budget_too_small(self, words: str, now: float) -> None:
        """No call that waits fits into the budget of any day; a shorter one may come."""
        self.reason, self.words, self.until, self.has_end = "budget", words, now + LONGEST_S, False

    def failed(self, words: str, now: float) -> None:
        """A call failed. Calls that were in flight when the pause began do not make it longer."""
        if self.holds(now):
            return
        self.failures += 1
        self.reason, self.words, self.has_end = "provider", words, True
        self.until = now + min(FIRST_S * 2.0 ** (self.failures - 1), LONGEST_S)

    def cannot(self, reason: Literal["no price", "no credential"], words: str, now: float) -> None:
        """The judge cannot be asked as the config stands."""
        self.reason, self.words, self.has_end = reason, words, True
        self.until = now + LOOK_AGAIN_S

    def answered(self) -> None:
        """A call was answered. A spent budget stays so."""
        if self.reason == "provider" or not self.has_end:
            self.forget()

    def forget(self) -> None:
        """Begin anew, as after a change of the config."""
        self.reason, self.words, self.until, self.failures, self.has_end = "", "", 0.0, 0, True


class JudgeJob:
    """The judging of one database's canaries. Belongs to the event loop's thread.

    `bench` is the config's part that knows the judge and its provider; `wanted` is True where the config has
    answers judged, `runs` are those that have begun; `works` is True while this process is the one to judge.
    """

    def __init__(
        self,
        store: Store,
        *,
        bench: Callable[[], BenchSettings],
        wanted: Callable[[], bool],
        runs: Callable[[], Sequence[JudgedRun]],
        works: Callable[[], bool],
        environment: Mapping[str, str],
    ) -> None:
        self._store, self._judgements = store, Judgements(store)
        self._bench, self._wanted, self._runs, self._works = bench, wanted, runs, works
        self._environment = environment
        self._pause = JudgePause()
        self._judge: Judge | None = None
        self._built_of: BenchSettings | None = None
        self._queue: list[tuple[JudgedRun, UnjudgedExchange]] = []
        self._looked_at, self._is_dry = float("-inf"), True
        self._busy: set[str] = set()
        self._aside: dict[str, float] = {}
        self._spent_usd: float | None = None
        self._held: tuple[str, ...] = ()
        self._has_room = asyncio.Event()

    async def run(self) -> None:
        """Judge what is due, forever."""
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    self._has_room.clear()
                    with put_off_without_descriptors():
                        await self._try_to_fill(group)
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._has_room.wait(), LOOK_EVERY_S)
        finally:
            if self._judge is not None:
                await self._judge.close()

    @property
    def trouble(self) -> str:
        """That it pauses, and why in one word; "" while it does not."""
        paused = self._pause.reason and self._works() and self._wanted()
        return f"judge: paused ({self._pause.reason})" if paused else ""

    def document(self) -> dict[str, Any] | None:
        """Its part of the status; None where the config has nothing to judge.

        `spent_usd` is the day's, as of the last look (None: none yet); `until` is UTC seconds, null while it
        does not pause, and where no day has room for a call.
        """
        source = self._bench().judge
        if source is None or not self._wanted():
            return None
        pause, leads = self._pause, self._works()
        return {
            "provider": source.provider,
            "model": source.model,
            "state": "standby" if not leads else "paused" if pause.reason else "judging",
            "reason": pause.reason if leads else "",
            "because": pause.words if leads else "",
            "until": pause.until if leads and pause.reason and pause.has_end else None,
            "spent_usd": self._spent_usd if leads else None,
            "daily_budget_usd": source.daily_budget_usd,
            "sentence": self._sentence(source) if leads else "another process leads and judges",
        }

    def _sentence(self, source: JudgeSource) -> str:
        pause = self._pause
        spent = f"{set_dollars(self._spent_usd or 0.0)} of {set_dollars(source.daily_budget_usd)} today"
        if not pause.reason:
            return "; ".join([f"{source.name}, {spent}", *self._held])
        until = datetime.fromtimestamp(pause.until, UTC).strftime(" until %d %b %H:%M UTC")
        words = f": {pause.words}" if pause.words else ""
        waits = ", ".join(each.canary for each in self._runs())
        told = f"{source.name} paused ({pause.reason}){until if pause.has_end else ''}{words}; {spent}"
        return f"{told}; waits: {waits}" if waits else told

    async def _try_to_fill(self, group: asyncio.TaskGroup) -> None:
        """What goes wrong here ends no server."""
        try:
            await self._fill(group)
        except Exception as problem:
            log.error("judge.failed", problem=f"{type(problem).__name__}: {problem}")

    async def _fill(self, group: asyncio.TaskGroup) -> None:
        """Begin as much as there is room for."""
        source, now = self._bench().judge, time.time()
        if source is None or not (self._works() and self._wanted()):
            return
        self._pause.look(now)
        judge = await self._ready(now)
        begun, needed = False, math.inf
        while (
            judge and self._may_ask(source, now) and (due := await self._next(now, look=needed == math.inf))
        ):
            try:
                begun |= await self._begin(group, judge, *due)
            except BudgetSpent as problem:
                needed = min(needed, problem.needed_usd)
                if self._busy:  # the highest price of what is in flight is reserved; its own will be lower
                    self._queue.clear()
        if needed < math.inf and not (begun or self._busy):
            await self._stop(source, needed, now)

    async def _stop(self, source: JudgeSource, needed: float, now: float) -> None:
        """Pause: the cheapest that waits needs more dollars than are left."""
        self._spent_usd = await asyncio.to_thread(self._judgements.spent, now)
        budget = set_dollars(source.daily_budget_usd)
        if needed > source.daily_budget_usd:
            words = f"{budget} is too small for one call, for which {set_dollars(needed)} is set aside"
            self._pause.budget_too_small(f"{words}; raise `daily_budget`", now)
        else:
            self._pause.budget_spent(f"no room for another call in {budget}", now)
        log.warning("judge.paused", reason="budget", problem=self._pause.words, spent_usd=self._spent_usd)

    def _may_ask(self, source: JudgeSource, now: float) -> bool:
        """True if there is room for one more; after a failure one at a time, until an answer comes."""
        at_once = 1 if self._pause.reason == "provider" else source.at_once
        return len(self._busy) < at_once and not self._pause.holds(now)

    async def _ready(self, now: float) -> "Judge | None":
        """The judge of this config. A change waits for what is in flight."""
        settings = self._bench()
        if settings != self._built_of:
            if self._busy:
                return None
            self._pause.forget()
            self._built_of = settings
            await self._build(settings, now)
        elif self._judge is None and not self._pause.holds(now):
            await self._build(settings, now)
        return self._judge

    async def _build(self, settings: BenchSettings, now: float) -> None:
        # The provider's client takes a while to import, and most admin processes have no judge.
        if self._judge is not None:
            await self._judge.close()
        self._judge, self._queue = None, []
        self._judge = await asyncio.to_thread(self._built, settings, now)
        if self._judge is not None:
            self._pause.forget()

    def _built(self, settings: BenchSettings, now: float) -> "Judge | None":
        from bench.errors import NoKey, Unpriced
        from judge.model import Judge

        try:
            return Judge.of(settings, self._judgements, self._environment)
        except Unpriced as problem:
            self._pause.cannot("no price", str(problem), now)
        except NoKey as problem:
            self._pause.cannot("no credential", str(problem), now)
        log.warning("judge.paused", reason=self._pause.reason, problem=self._pause.words)
        return None

    async def _next(self, now: float, *, look: bool) -> "tuple[JudgedRun, UnjudgedExchange] | None":
        """The next to judge. The store is looked at every five seconds, and when all it had is begun."""
        mono = time.monotonic()
        if look and (mono - self._looked_at >= LOOK_EVERY_S or not (self._queue or self._is_dry)):
            self._queue = await asyncio.to_thread(self._look, now)
            self._looked_at, self._is_dry = mono, not self._queue
        while self._queue:
            due = self._queue.pop(0)
            if due[1].exchange_id not in self._busy and self._aside.get(due[1].exchange_id, 0.0) <= now:
                return due
        return None

    def _look(self, now: float) -> "list[tuple[JudgedRun, UnjudgedExchange]]":
        """What every canary has for the judge now, in turns."""
        self._judgements.give_up(now)
        self._spent_usd = self._judgements.spent(now)
        self._aside = {each: until for each, until in self._aside.items() if until > now}
        from judge.runs.due import due_now

        found = [(run, due_now(self._store, run, now, most=MOST)) for run in self._runs()]
        self._held = tuple(f"{run.canary}: {due.held}" for run, due in found if due.held)
        due = [[(run, each) for each in known.now] for run, known in found]
        return [each for each in chain.from_iterable(zip_longest(*due)) if each is not None]

    async def _begin(
        self, group: asyncio.TaskGroup, judge: "Judge", run: "JudgedRun", due: "UnjudgedExchange"
    ) -> bool:
        """Note the calls of one judgement and make them in a task; False if there is nothing to ask any more.

        Raises BudgetSpent.
        """
        from judge.runs.due import subject_of

        subject = await asyncio.to_thread(subject_of, self._store, run, due.exchange_id, judge.source.name)
        calls = await judge.begin(subject) if subject is not None else {}
        if subject is None or not calls:
            self._aside[due.exchange_id] = time.time() + ASIDE_S
            return False
        self._busy.add(due.exchange_id)
        group.create_task(self._ask(judge, subject, calls))
        return True

    async def _ask(self, judge: "Judge", subject: "JudgementSubject", calls: "Calls") -> None:
        exchange_id = subject.judgement.exchange_id
        try:
            ended, problem = await judge.ask(subject, calls), judge.problem
        except StoreDown as down:
            log.error("judge.not_stored", exchange=exchange_id, problem=str(down))
            return
        except Exception as failure:  # for example a key that is no header's text
            ended, problem = "provider", f"{type(failure).__name__}: {failure}"
        finally:
            self._busy.discard(exchange_id)
            self._has_room.set()
        self._ended(exchange_id, ended, problem)

    def _ended(self, exchange_id: str, ended: "Ended", problem: str) -> None:
        if ended == "judged":
            self._pause.answered()
            return
        if ended == "refused":
            self._aside[exchange_id] = time.time() + ASIDE_S
        self._pause.failed(problem, time.time())
        log.warning("judge.paused", reason="provider", problem=problem)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeDay:
    """How many of the canary's pairs, single answers or sessions were judged today, also by hand, of how many
    a day; and what those of all canaries cost today. What waits for an answer, or was refused, is not
    judged."""

    judged: int
    wanted: int
    kind: Kind
    spent_usd: float


def judge_day(store: Store, canary: str, run: int, terms: JudgeTerms, *, now: float) -> JudgeDay:
    """The canary's day so far. May raise StoreDown."""
    judgements, today = Judgements(store), now // _DAY_S * _DAY_S
    return JudgeDay(
        judged=judgements.ended(canary, run, terms.kind, since=today),
        wanted=terms.number,
        kind=terms.kind,
        spent_usd=judgements.spent(now),
    )
