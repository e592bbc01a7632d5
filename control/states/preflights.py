"""Preflights: a canary that starts by itself waits until its candidate was asked, and while it refuses.

    waits, "preflight: …"          all but 1 % taken, or none answered   → starts
                                   more refused, only others than the
                                   main operation answered, or under
                                   95 % of the captured ones have a
                                   prompt's text                         → waits, "preflight_failed: …"
    waits, "preflight_failed: …"   asked again after a change of the config, and every five minutes

A person may start it at any time. A candidate that cannot be asked is not waited for. Only the leader asks.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from bench.preflight.result import NothingToAsk, PreflightResult
from control.settings import CanarySettings, ControlSettings
from control.states.rollouts import CONFIG, Rollouts, unready
from records.errors import StoreDown
from records.store import Act
from routing import transitions
from routing.states import PREFLIGHT_RUNS, State

log = structlog.get_logger()

REFUSED_SHARE = 0.01
"""A larger part of refused requests keeps a canary from starting."""

AGAIN_AFTER_S = 300.0
SOON_S = 10.0
"""When the store did not answer."""

_FAILED = "preflight_failed"


class PreflightWords(Protocol):
    """What people read of a result."""

    def sentence(self, result: PreflightResult, *, failed: bool) -> str:
        """One line; `failed`: the canary must not start by itself."""
        ...

    def text(self, result: PreflightResult) -> str:
        """All of it, as `canary preflight` prints it."""
        ...

    def document(self, result: PreflightResult) -> dict[str, Any]:
        """All of it as JSON types."""
        ...


class PreflightCandidates(Protocol):
    """The candidates of the config, as a preflight asks them."""

    @property
    def words(self) -> PreflightWords: ...

    def unaskable(self, name: str) -> str:
        """Why no request can be sent to this canary's candidate; "" when one can."""
        ...

    async def ask(self, name: str) -> PreflightResult:
        """Ask it. Raises NothingToAsk, StoreDown."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PreflightStanding:
    """What is known of a candidate at UTC second `at`: a result, or why there is none, in a `sentence`, and
    the whole result as `text` and as JSON types."""

    at: float
    sentence: str
    result: PreflightResult | None = None
    text: str = ""
    document: dict[str, Any] | None = None

    @property
    def failed(self) -> bool:
        """Whether the canary must not start by itself."""
        return self.result is not None and _failed(self.result)


def _failed(result: PreflightResult) -> bool:
    """True when too many requests were refused, only others than those of the main operation were answered,
    too few have a prompt's text, or none could be sent."""
    share, prompt = result.refused_share, result.prompt
    missed = prompt is not None and prompt.too_few
    refused = share is not None and (share > REFUSED_SHARE or result.main_unanswered)
    return bool(result.unsent) or missed or refused


def _not_asked(problem: str) -> PreflightStanding:
    return PreflightStanding(at=time.time(), sentence=f"not preflighted: {problem}")


class Preflights:
    """The preflights of every canary. Belongs to the event loop's thread."""

    def __init__(self, candidates: PreflightCandidates | None, rollouts: Rollouts) -> None:
        """Without `candidates` no canary waits."""
        self._candidates = candidates
        self._rollouts = rollouts
        self._known: dict[str, PreflightStanding] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._due: dict[str, float] = {}

    def awaits(self, wanted: CanarySettings) -> str:
        """The reason for which a canary that is new in the config waits; "" when it starts at once."""
        return "" if self._candidates is None or self._unaskable(wanted.canary.name) else PREFLIGHT_RUNS

    def changed(self) -> None:
        """The config has changed: whoever waits is asked again."""
        self._due.clear()

    def turn(self, settings: ControlSettings) -> None:
        """Ask the candidates of waiting canaries that are due, each in a task of its own."""
        unready_now = unready(settings.canaries, self._rollouts.states)
        for name, wanted in settings.canaries.items():
            if name in unready_now:
                continue
            running = self._tasks.get(name)
            if not _waits(wanted, self._rollouts.state(name)) or (running is not None and not running.done()):
                continue
            if time.monotonic() >= self._due.get(name, 0.0):
                self._due[name] = time.monotonic() + AGAIN_AFTER_S
                self._tasks[name] = asyncio.create_task(self._decide(wanted), name=f"preflight {name}")

    async def close(self) -> None:
        """End the requests in flight."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def ask(self, name: str) -> dict[str, Any]:
        """Ask one candidate, and return the result as JSON types. Raises NothingToAsk, StoreDown."""
        if self._candidates is None:
            raise NothingToAsk("this process asks no candidates")
        result = await self._candidates.ask(name)
        words = self._candidates.words
        self._known[name] = PreflightStanding(
            at=time.time(),
            sentence=words.sentence(result, failed=_failed(result)),
            result=result,
            text=words.text(result),
            document=(document := words.document(result)),
        )
        return document

    @property
    def failed(self) -> Mapping[str, str]:
        """What keeps waiting canaries from starting, in a sentence each."""
        return {name: each.sentence for name, each in self._known.items() if each.failed}

    def document(self, wanted: CanarySettings, state: State | None) -> dict[str, Any] | None:
        """The standing for the status document; None where the candidate was never to be asked.

        `state`: asking, taken, failed or not_preflighted. `text`: the result as `canary preflight` prints it.
        """
        name = wanted.canary.name
        known, running = self._known.get(name), self._tasks.get(name)
        if running is not None and not running.done():
            return {"state": "asking", "at": None, "sentence": PREFLIGHT_RUNS, "text": "", "result": None}
        if known is None:
            why = "" if wanted.canary.start_by_hand else self._unaskable(name)
            if self._candidates is None or not why:
                return None
            known = _not_asked(why)
        answered = known.result is not None and known.result.refused_share is not None
        return {
            "state": "failed" if known.failed else "taken" if answered else "not_preflighted",
            "at": known.at if known.result is not None else None,
            "sentence": known.sentence,
            "text": known.text,
            "result": known.document,
        }

    def _unaskable(self, name: str) -> str:
        return self._candidates.unaskable(name) if self._candidates is not None else ""

    async def _decide(self, wanted: CanarySettings) -> None:
        """Ask one candidate, then start its canary or say why it waits."""
        name = wanted.canary.name
        try:
            await self.ask(name)
        except NothingToAsk as problem:
            self._known[name] = _not_asked(str(problem))
        except StoreDown as problem:
            log.warning("preflight.not_asked", canary=name, problem=str(problem))
            self._due[name] = time.monotonic() + SOON_S
            return
        except Exception as problem:
            log.exception("preflight.crashed", canary=name)
            self._known[name] = _not_asked(f"internal error: {problem!r}")
        try:
            await asyncio.to_thread(self._settle, wanted, self._known[name])
        except StoreDown as problem:
            log.warning("preflight.not_stored", canary=name, problem=str(problem))
            self._due[name] = time.monotonic() + SOON_S

    def _settle(self, wanted: CanarySettings, standing: PreflightStanding) -> None:
        """Start the canary, or say why it waits, unless somebody else did meanwhile. May raise StoreDown."""
        name, now = wanted.canary.name, standing.at
        steps, sentence = wanted.canary.steps, standing.sentence

        def after(state: State) -> State:
            if not _waits(wanted, state):
                return state
            if standing.failed:
                return transitions.awaiting(state, reason=sentence)
            return transitions.start(state, steps, now=now)

        action = _FAILED if standing.failed else "start"
        self._rollouts.change(name, Act(at=now, action=action, who=CONFIG, reason=sentence), after)
        self._rollouts.enter(wanted, now)


def _waits(wanted: CanarySettings, state: State | None) -> bool:
    """True for a canary that starts by itself and waits, also if it once was to be started by hand."""
    return state is not None and state.state == "waiting" and not wanted.canary.start_by_hand
