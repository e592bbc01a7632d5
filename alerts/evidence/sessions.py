"""A canary's sessions as they stand: what each has cost so far, how many exchanges it took, if it is stuck.

A session is over after half an hour of silence. Sums over all sessions of the run stay; of sessions that are
over nothing else does.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from alerts.evidence.exchanges import SLOTS, EndedExchange, unit_slot
from records.outcome import MOST_TOOL_CALLS, Outcome, ToolCall
from routing.canary import ArmName

OVER_AFTER_S = 1_800.0
MOST_OPEN = 10_000
"""Open sessions of a canary. Of more, those that have been silent for longest are forgotten."""
STUCK_AT = 3
"""A call of the same tool with the same arguments so many times in a row is stuck."""


class RepeatedCall(msgspec.Struct, array_like=True, gc=False):
    """A tool call of a session, by hash, made so many `times` in a row in its conversation.

    `answer`: the number of the session's exchange that made it. `id`: its `ToolCall.id`.
    """

    hash: int
    times: int
    answer: int = 0
    id: int = 0


class LiveSession(msgspec.Struct, array_like=True, gc=False):
    """One session so far. Times are CLOCK_MONOTONIC seconds.

    `serial` counts the sessions of its arm, from 0. `is_first`: its unit's first in the run. `last`: when its
    last exchange ended, which failed or was left by its caller if `broke_off`. `repeated`: the calls of the
    last answer with tools in each conversation that may go on, the newest last. `held`: it went on through a
    change of share that its unit did not follow. `unread`: its answers whose tool calls were not read. None
    is unknown.
    """

    unit: str
    arm: ArmName
    serial: int
    is_first: bool
    began: float
    last: float
    share: float
    exchanges: int = 0
    cost_usd: float | None = None
    tokens: int | None = None
    tool_calls: int = 0
    faulty: bool = False
    broke_off: bool = False
    is_stuck: bool = False
    repeated: tuple[RepeatedCall, ...] = ()
    phase: int = 0
    held: bool = False
    input_tokens: int = 0
    cached_tokens: int = 0
    unread: int = 0

    @property
    def cache_hits(self) -> float | None:
        """The share of its input tokens that came from the provider's cache; None is unknown."""
        return _ratio(self.cached_tokens, self.input_tokens)


class SessionStep(NamedTuple):
    """A session after one more exchange, whose outcome arrived at monotonic `at`. `held`: its unit keeps an
    arm through a change of share, so the share does not say whose an event is."""

    session: LiveSession
    outcome: Outcome
    at: float
    held: bool = False


@dataclass(slots=True)
class SessionSums:
    """One arm's sessions of the run in sum; `open` ones are not over. `priced` and `counted` are those whose
    cost and whose tokens are known; `faulty` had an answer fault, `broke_off` ended in an error or were left
    so far."""

    sessions: int = 0
    open: int = 0
    exchanges: int = 0
    priced: int = 0
    cost_usd: float = 0.0
    counted: int = 0
    tokens: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    tool_calls: int = 0
    faulty: int = 0
    broke_off: int = 0
    length_s: float = 0.0

    def document(self) -> dict[str, Any]:
        """How many have `begun`, and each figure of one of them on average; None is unknown."""
        return {
            "begun": self.sessions,
            "open": self.open,
            "cost_usd": _ratio(self.cost_usd, self.priced),
            "exchanges": _ratio(self.exchanges, self.sessions),
            "length_s": _ratio(self.length_s, self.sessions),
            "tokens": _ratio(self.tokens, self.counted),
            "tool_calls": _ratio(self.tool_calls, self.sessions),
            "faults": _ratio(self.faulty, self.sessions),
            "abandoned": _ratio(self.broke_off, self.sessions),
            "cache_hits": _ratio(self.cached_tokens, self.input_tokens),
        }


def _ratio(total: float, of: float) -> float | None:
    return total / of if of else None


def _no_sums() -> dict[ArmName, SessionSums]:
    return {"baseline": SessionSums(), "candidate": SessionSums()}


@dataclass(slots=True)
class LiveSessions:
    """The sessions of one canary in one run, JSON-able. `open` is in the order of their last exchanges.

    `met` has a bit for all units of a slot: one that shares its slot with a unit met before has no first
    session. `ended` are those that are over and not yet given to the rules, nor held.
    """

    open: dict[str, LiveSession] = field(default_factory=dict)
    sums: dict[ArmName, SessionSums] = field(default_factory=_no_sums)
    met: bytearray = field(default_factory=bytearray)
    ended: list[LiveSession] = field(default_factory=list)

    def take(self, ended: Iterable[EndedExchange]) -> list[SessionStep]:
        """Add exchanges. Returns those that belong to a session, in order, each with its session. A held one
        only goes on with a session that began before the change of share."""
        steps = (self._take(each.outcome, each.at, held=each.held) for each in ended if each.outcome.session)
        return [step for step in steps if step is not None]

    def _take(self, outcome: Outcome, at: float, *, held: bool) -> SessionStep | None:
        key = outcome.session[-16:] + outcome.unit[-16:]  # one name may be that of many users' sessions
        session = self.open.pop(key, None)
        started = at - (outcome.latency_s or 0.0)
        if session is not None and (started - session.last > OVER_AFTER_S or session.arm != outcome.arm):
            self._end(session)
            session = None
        if session is None and held:
            return None
        if session is None:
            session = self._begin(outcome, started)
        self.open[key] = session
        if len(self.open) > MOST_OPEN:
            self._forget(next(iter(self.open)))
        if held:
            session.held = True
        else:
            session.share, session.phase = outcome.share, outcome.phase
        self._add(session, outcome, at)
        return SessionStep(session, outcome, at, held)

    def _begin(self, outcome: Outcome, started: float) -> LiveSession:
        sums = self.sums[outcome.arm]
        sums.sessions += 1
        sums.open += 1
        return LiveSession(
            outcome.unit,
            outcome.arm,
            sums.sessions - 1,
            self._meets(unit_slot(outcome.unit)),
            started,
            started,
            outcome.share,
        )

    def _meets(self, slot: int) -> bool:
        if not self.met:
            self.met = bytearray(SLOTS >> 3)
        is_new = not self.met[slot >> 3] >> (slot & 7) & 1
        self.met[slot >> 3] |= 1 << (slot & 7)
        return is_new

    def _add(self, session: LiveSession, outcome: Outcome, at: float) -> None:
        sums, usage = self.sums[session.arm], outcome.usage
        session.exchanges += 1
        sums.exchanges += 1
        sums.length_s += max(0.0, at - session.last)
        session.last = max(session.last, at)
        if outcome.cost_usd is not None:
            sums.priced += session.cost_usd is None
            sums.cost_usd += outcome.cost_usd
            session.cost_usd = (session.cost_usd or 0.0) + outcome.cost_usd
        if usage.input_tokens is not None or usage.output_tokens is not None:
            tokens = (usage.input_tokens or 0) + (usage.output_tokens or 0)
            sums.counted += session.tokens is None
            sums.tokens += tokens
            session.tokens = (session.tokens or 0) + tokens
        if usage.input_tokens is not None and usage.cached_input_tokens is not None:
            sums.input_tokens += usage.input_tokens
            sums.cached_tokens += usage.cached_input_tokens
            session.input_tokens += usage.input_tokens
            session.cached_tokens += usage.cached_input_tokens
        sums.tool_calls += len(outcome.tool_calls)
        session.tool_calls += len(outcome.tool_calls)
        session.unread += is_unread(outcome)
        sums.faulty += bool(outcome.faults) and not session.faulty
        session.faulty = session.faulty or bool(outcome.faults)
        broke_off = outcome.outcome in ("aborted", "error")
        sums.broke_off += broke_off - session.broke_off
        session.broke_off = broke_off
        _repeat(session, outcome)

    def end_before(self, now: float) -> None:
        """Forget the sessions that are over at monotonic `now`."""
        for key, session in list(self.open.items()):
            if now - session.last <= OVER_AFTER_S:
                return
            self._forget(key)

    def _forget(self, key: str) -> None:
        self._end(self.open.pop(key))

    def _end(self, session: LiveSession) -> None:
        self.sums[session.arm].open -= 1
        if not session.held:
            self.ended.append(session)

    def take_ended(self) -> list[LiveSession]:
        """Return the sessions that have ended since the last call."""
        ended, self.ended = self.ended, []
        return ended

    def document(self) -> dict[str, dict[str, Any]]:
        """Both arms' figures of the run, as the status shows them."""
        return {arm: sums.document() for arm, sums in self.sums.items()}


def _repeat(session: LiveSession, outcome: Outcome) -> None:
    """Count how many times in a row each call of the answer was made in its conversation. That goes on
    from the call whose result the request brings: parallel subagents have a conversation each. Failures, and
    answers to requests without tools, which agents send in between, change nothing."""
    if outcome.tool_calls:
        before, others = _conversation(session, outcome.result_of)
        calls = [(hash_of(call), call.id) for call in outcome.tool_calls]
        times: dict[int, int] = {}
        for name, _ in calls:
            times[name] = times.get(name, before.get(name, 0)) + 1
        made = [RepeatedCall(name, times[name], session.exchanges, id) for name, id in calls]
        session.repeated = (*others, *made)[-MOST_TOOL_CALLS:]
        session.is_stuck = session.is_stuck or max(times.values()) >= STUCK_AT
    elif outcome.finish is not None and outcome.output_check:
        session.repeated = _conversation(session, outcome.result_of)[1]


def _conversation(session: LiveSession, result_of: int) -> tuple[dict[int, int], tuple[RepeatedCall, ...]]:
    """How often in a row the calls of a conversation's last answer were made; the calls of the others."""
    last = next((call.answer for call in session.repeated if call.id == result_of), None)
    before = {call.hash: call.times for call in session.repeated if call.answer == last}
    return before, tuple([call for call in session.repeated if call.answer != last])


def is_unread(outcome: Outcome) -> bool:
    """True for an answer that calls tools, of which none was read: no request declares them, or the answer
    was too long."""
    return outcome.finish == "tool_calls" and not outcome.tool_calls


def hash_of(call: ToolCall) -> int:
    """A call's hash as a number."""
    return int.from_bytes(call.digest, "big")


class SizeBound(NamedTuple):
    """A size of sessions, and the part of all that goes beyond it, between .01 and .99."""

    size: float
    beyond: float


def sizes_of(sizes: Iterable[tuple[float, bool]]) -> list[SizeBound]:
    """What part of all sessions goes beyond each size, by (size, whether it is known to be its last).

    An open session says only that it is as large at least: it is censored there (Kaplan and Meier 1958). So
    the list ends early where open ones may be larger, for all that is known. It has a hundred bounds at most.
    """
    ordered = sorted((size, not is_last) for size, is_last in sizes)
    beyond, found = 1.0, list[SizeBound]()
    for place, (size, is_open) in enumerate(ordered):
        if not is_open:
            beyond *= 1.0 - 1.0 / (len(ordered) - place)
        part = max(0.01, round(beyond, 2))
        if place + 1 < len(ordered) and ordered[place + 1] == (size, is_open):
            continue
        if part < (found[-1].beyond if found else 1.0):
            found.append(SizeBound(size, part))
    return found
