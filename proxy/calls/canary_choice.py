"""Which canary takes a request, and which arm somebody else has chosen for it.

Of several canaries that match, the one takes it whose lane has the unit. The pin token has two uses:
benchmarks and QA choose an arm, and a flag system's arms are signed.
"""

import hmac
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from random import getrandbits
from typing import NamedTuple

from proxy.calls.call import DISTINCT, RequestFacts
from proxy.calls.refusal import Refused
from proxy.calls.routes import ArmTarget, Route, Routes, Trial
from routing.assign import Held, assign
from routing.assignment import Given
from routing.canary import SESSION_FROM, UNIT_FROM, ArmName, SessionSource, UnitSource
from routing.identity import AGENT, session_of, unit_of
from routing.lanes import holds
from routing.states import Lane, States, lane_place

PIN = b"x-canary-pin"
"""The header that asks for an arm."""

NAME = b"x-canary-name"
"""The header by which a pinned request says which of several canaries it means."""

ASSIGNMENT = b"x-canary-assignment"
"""The header with a unit's arm from a flag system: `candidate; sig=HEX` or `baseline; sig=HEX`."""


Choice = tuple[Trial | None, ArmTarget | None, str | None, str]
"""The canary that takes a request; the baseline of one that none takes; the unit; the session."""


class ArmAnswer(NamedTuple):
    """What an app that asks for a unit's arm is told. `name`: what people call the arm, "" if nobody said."""

    canary: str
    arm: ArmName
    name: str
    model: str


class CanaryChooser:
    """Follows the states. `key` returns the assignment key. `began`: in which of these canaries a session of
    this name began; None where that is not known."""

    def __init__(
        self,
        states: Callable[[], States],
        key: Callable[[], bytes],
        began: Callable[[str, Sequence[Trial]], Trial | None] = lambda session, trials: None,
    ) -> None:
        self._states = states
        self._key = key
        self._began = began
        self._seen: tuple[States, Routes] | None = None
        self._left: Sequence[Lane] = ()

    def choose(
        self,
        routes: Routes,
        route: Route,
        facts: RequestFacts,
        named: Mapping[bytes, bytes],
        tags: Mapping[str, str],
    ) -> Choice:
        """The canary that takes the request: of several that match the one whose lane has the unit, the first
        one where lanes do not matter, none where no lane has it."""
        trials = routes.matching(route, facts.model, named, tags)
        if not trials:
            session = session_in(SESSION_FROM, named, facts)
            now = routes.standing_for(route, facts.model, named, tags) if routes.standing else None
            return (
                None,
                None if now is None else now.baseline,
                _unit(UNIT_FROM, named, facts, session),
                session,
            )
        first, states = trials[0], self._states().states
        session = session_in(first.canary.session_from, named, facts)
        unit = _unit(first.canary.unit_from, named, facts, session)
        if len(trials) == 1 and ((state := states.get(first.canary.name)) is None or state.lane is None):
            return first, None, unit, session
        if PIN in named:
            return self._pinned(trials, unit, named), None, unit, session
        if session and (trial := self._began(session, trials)) is not None:
            state = states.get(trial.canary.name)
            if state is not None and state.state != "ended":
                return trial, None, unit, session
        if unit is None and not first.canary.random_without_unit:
            return *self._without_unit(routes, trials, route, facts.model, named, tags), None, session
        place = getrandbits(32) if unit is None else lane_place(self._key(), unit)
        known = [(trial, states.get(trial.canary.name)) for trial in trials]
        trial = next((each for each, state in known if holds(state, place)), None)
        if trial is None and not any(state is not None and state.lane is not None for _, state in known):
            trial = first
        rest = self._rest(routes, first, place, route, facts.model, named, tags) if trial is None else None
        return trial, rest, unit, session

    def arm_of(self, routes: Routes, name: str, unit: str, held: Held) -> ArmAnswer:
        """The arm that a unit has in a canary; of a standing one in the trial that tries it, else its
        baseline. Raises Refused (404, 409)."""
        standing = next((each for each in routes.standing if each.name == name), None)
        names = (name,) if standing is None else standing.trials
        trials = [routes.trials[each] for each in names if each in routes.trials]
        if standing is None and not trials:
            raise Refused(404, f"there is no canary {name[:64]!r}", "caller_not_found")
        found = [self._arm_in(each, unit, held) for each in trials]
        mine = next((answer for answer in found if answer is not None), None)
        if mine is not None:
            return mine
        arm = trials[0].canary.baseline if standing is None else standing.arm
        return ArmAnswer(canary=name, arm="baseline", name=arm.name, model=arm.model)

    def _arm_in(self, trial: Trial, unit: str, held: Held) -> ArmAnswer | None:
        """The unit's arm in this canary; None if the canary's lane does not have it. Raises Refused."""
        canary, key = trial.canary, self._key()
        if canary.assigned_outside:
            problem = f"the arms of canary {canary.name!r} come from a flag system: ask that"
            raise Refused(409, problem, "caller_rejected")
        state = self._states().state_of(canary.name, trial.definition)
        if state is not None and state.lane is not None and not state.lane.has(lane_place(key, unit)):
            return None
        name = assign(canary, state, key=key, unit=unit, held=held).arm
        arm = canary.arm(name)
        return ArmAnswer(canary=canary.name, arm=name, name=arm.name, model=arm.model)

    def _pinned(self, trials: Sequence[Trial], unit: str | None, named: Mapping[bytes, bytes]) -> Trial:
        """The canary that the request names, else the one whose lane has the unit, else the first."""
        called = (each for each in trials if each.canary.name.encode() == named.get(NAME))
        if (trial := next(called, None)) is not None:
            return trial
        states, place = self._states().states, None if unit is None else lane_place(self._key(), unit)
        mine = (each for each in trials if place is not None and holds(states.get(each.canary.name), place))
        return next(mine, trials[0])

    def _without_unit(
        self, routes: Routes, trials: Sequence[Trial], route: Route, model: str,
        named: Mapping[bytes, bytes], tags: Mapping[str, str],
    ) -> tuple[Trial | None, ArmTarget | None]:  # fmt: skip
        """Of several canaries the first one, whose baseline serves such a request. Where a standing canary
        matches it, too, the first that gives that one's baseline in force, or that baseline itself."""
        name = trials[0].canary.name
        standing = routes.standing_for(route, model, named, tags, name) if routes.standing else None
        if standing is None:
            return trials[0], None
        states = self._states()
        found = (each for each in trials if each.without_unit(states) == standing.arm)
        trial = next(found, None)
        return trial, standing.baseline if trial is None else None

    def _rest(
        self, routes: Routes, first: Trial, place: int, route: Route, model: str,
        named: Mapping[bytes, bytes], tags: Mapping[str, str],
    ) -> ArmTarget:  # fmt: skip
        """The baseline of a request whose unit's place no lane has: of the standing canary that matches, else
        the last one of the newest canary that took such a request before it ended, else that of the first
        canary that matches."""
        name = first.canary.name
        if routes.standing and (now := routes.standing_for(route, model, named, tags, name)) is not None:
            return now.baseline
        left = (each for each in self._lanes_that_left(routes) if each.has(place))
        last = (routes.last_baseline(each, route, model, named, tags) for each in left)
        return next((each for each in last if each is not None), first.baseline)

    def _lanes_that_left(self, routes: Routes) -> Sequence[Lane]:
        """The lanes of canaries that have ended, or have left the config and will: the newest first."""
        seen = self._states(), routes
        if seen != self._seen:
            states = seen[0].states.items()
            left = [each for name, each in states if each.state == "ended" or name not in routes.trials]
            left.sort(key=lambda state: (state.state != "ended", state.changed_at or 0.0), reverse=True)
            self._seen, self._left = seen, [state.lane for state in left if state.lane is not None]
        return self._left


def _unit(
    sources: Sequence[UnitSource], named: Mapping[bytes, bytes], facts: RequestFacts, session: str
) -> str | None:
    """Return the unit from the first source that has one. An empty unit would be one bucket for everyone."""
    for source in sources:
        if source == "body":
            unit = facts.unit
        elif source == "session":
            unit = session
        else:
            unit = named.get(_UNIT, b"").decode(*DISTINCT).strip()
            if unit.startswith(AGENT):
                unit = unit_of(unit)
        if unit:
            return unit
    return None


def session_in(sources: Sequence[SessionSource], named: Mapping[bytes, bytes], facts: RequestFacts) -> str:
    """Return the session from the first source that has one; "" without one."""
    if not (facts.agent_session or facts.body_session) and named.keys().isdisjoint(_SESSION_HEADERS):
        return ""  # most requests
    for source in sources:
        if source == "metadata":
            session = facts.agent_session
        elif source == "body":
            session = facts.body_session
        else:
            session = _first_session(named, _HARNESSES if source == "harness" else _OWN)
        if session:
            return session
    return ""


def _first_session(named: Mapping[bytes, bytes], headers: Sequence[bytes]) -> str:
    for header in headers:
        if (value := named.get(header)) and (session := session_of(value.decode(*DISTINCT))):
            return session
    return ""


def subagent_in(named: Mapping[bytes, bytes]) -> str:
    """A subagent's own session, which is a part of its parent's; "" without one."""
    return _first_session(named, _HARNESSES[1:]) if _PARENT in named else ""


_PARENT = b"x-parent-session-id"
"""OpenCode's subagents name the session that started them, to which they belong."""

_UNIT, _OWN = b"x-canary-unit", (b"x-canary-session",)
_HARNESSES = (
    _PARENT,
    b"x-claude-code-session-id",
    b"session_id",  # Codex, older and newer
    b"session-id",
    b"x-opencode-session",
    b"x-amp-thread-id",
    b"x-litellm-session-id",
    b"x-session-id",
    b"x-grok-conv-id",
)
_SESSION_HEADERS = frozenset({*_OWN, *_HARNESSES})
"""The headers that name a session: the caller's for us, those of coding agents and gateways."""


_ARMS: Mapping[bytes, ArmName] = {b"baseline": "baseline", b"candidate": "candidate"}


class ArmPins:
    """Reads pins and given arms. `token()` returns the current pin token; None or "" switches both off."""

    def __init__(self, token: Callable[[], str | None]) -> None:
        self._token = token

    def asked(self, named: Mapping[bytes, bytes]) -> ArmName | None:
        """Return the arm in `x-canary-pin`, or None. Raises Refused for a wrong token or an unknown arm."""
        pin = named.get(PIN)
        if pin is None:
            return None
        token, given = self._token(), named.get(b"x-canary-pin-token", b"")
        if not token or not hmac.compare_digest(token.encode(errors="surrogateescape"), given):
            raise Refused(
                403, "x-canary-pin needs the pin token in x-canary-pin-token", "caller_unauthorized"
            )
        if pin not in _ARMS:
            raise Refused(400, "x-canary-pin must be 'candidate' or 'baseline'", "caller_rejected")
        return _ARMS[pin]

    def asked_of(self, canary: str, named: Mapping[bytes, bytes]) -> ArmName | None:
        """As `asked`, of the canary that takes the request. Raises Refused when another one is named."""
        arm, name = self.asked(named), named.get(NAME)
        if arm is not None and name is not None and name != canary.encode():
            raise Refused(
                400, "x-canary-name must name a canary that matches the pinned request", "caller_rejected"
            )
        return arm

    def given(self, canary: str, unit: str | None, named: Mapping[bytes, bytes]) -> Given:
        """Return the arm that a flag system gave this unit in this canary, or why there is none.

        It is signed with the pin token (`signature`). Never raises: a flag system's mistake fails no request.
        """
        header, token = named.get(ASSIGNMENT), self._token()
        if header is None or unit is None:
            return "no_assignment"
        arm, _, signed = header.partition(b";")
        name, equals, signature_given = signed.strip().partition(b"=")
        given = _ARMS.get(arm.strip())
        if given is None or not token or name != b"sig" or not equals:
            return "bad_assignment"
        wanted = signature(token, canary=canary, unit=unit, arm=given)
        good = hmac.compare_digest(wanted.encode(), signature_given.strip().lower())
        return given if good else "bad_assignment"


def signature(token: str, *, canary: str, unit: str, arm: ArmName) -> str:
    """Sign a unit's arm: HMAC-SHA-256 of `canary NUL unit NUL arm` in UTF-8, in hex digits.

    The token is taken as the bytes that the environment has, also if they are not UTF-8.
    """
    return hmac.new(
        token.encode(errors="surrogateescape"), f"{canary}\0{unit}\0{arm}".encode(), sha256
    ).hexdigest()
