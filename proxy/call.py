"""One request, as routing, arms and recording see it. `proxy.call_reader` reads it."""

from collections.abc import AsyncIterator, Mapping

import msgspec

from proxy.adaptation import adapted
from proxy.caller_labels import NO_LABELS, CallerLabels
from proxy.facts import RequestFacts, facts_of, names_stored
from proxy.headers import Headers
from proxy.routes import ArmTarget, Route, Trial
from proxy.server import Incoming
from records.capture import CaptureSample


class Call(msgspec.Struct, kw_only=True):
    """One request. `at` and `mono` are the moment of its last byte, or of its head for pass-through requests.

    `upgrades`: the request asks for a WebSocket. `messages`: the route of its messages, where each is a
    request that a canary may take. `sample`: set when the exchange is captured. `unit`: the sticky identity,
    from the first source in the canary's order that has one. `rest`: the baseline of a request that canaries
    match and no lane has.
    """

    method: str
    route: Route
    query: bytes
    headers: Headers
    named: Mapping[bytes, bytes]
    body: bytes | AsyncIterator[bytes]
    facts: RequestFacts
    trial: Trial | None
    unit: str | None
    tags: Mapping[str, str]
    at: float
    mono: float
    labels: CallerLabels = NO_LABELS
    rest: ArmTarget | None = None
    upgrades: bool = False
    messages: Route | None = None
    sample: CaptureSample | None = None

    def adapted_body(self, target: ArmTarget) -> bytes | None:
        """The body with the changes of the arm's `request:`; None where it stays as it came."""
        if not target.request or not self.body or not isinstance(self.body, bytes):
            return None
        return adapted(self.body, target.request)

    @property
    def stateful(self) -> bool:
        """True when the request depends on state that only one arm's provider entry has or would have."""
        trial = self.trial
        if trial is None or trial.shares_state:
            return False
        return self._creates_state(trial.baseline) or self.touches_state(trial.candidate)

    def touches_state(self, target: ArmTarget) -> bool:
        """True when the request names provider-side state, or creates some when it goes to this arm."""
        names = self.facts.names_state or (isinstance(self.body, bytes) and names_stored(self.body))
        return names or self._creates_state(target)

    def _creates_state(self, target: ArmTarget) -> bool:
        if not self.route.operation.creates_state:
            return False
        facts = self.facts
        if target.request.concerns("store") and (body := self.adapted_body(target)) is not None:
            facts = facts_of(self.route, body) or facts
        return not facts.declines_store


async def streamed(incoming: Incoming) -> AsyncIterator[bytes]:
    """The request's body as it arrives. (mypyc compiles no asynchronous generator.)"""
    while part := await incoming.read():
        yield part
