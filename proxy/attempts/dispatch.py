"""Whether an attempt asks for a stream's usage, and when the wait for a candidate ends.

OpenAI's API takes `stream_options` and says the usage of a stream only on request. Some compatible providers
refuse the member with 400 or 422. The request is then sent once more without it, and the entry not asked
again.

The baseline answers in a candidate's place:

| during the wait                                           | failure            |
|-----------------------------------------------------------|--------------------|
| the candidate loses its share: a rollback, an old plan    | `breaker_open`     |
| for a conversation it began: a hard rollback, an old plan | `breaker_open`     |
| the candidate's breaker opens                             | `breaker_open`     |
| the candidate's patience is over                          | `provider_timeout` |

A promoted candidate has no patience, because no baseline answers beside it any more: its `timeout` holds.
A wait lasts from the choice of the candidate until its first event or its whole JSON is there to be relayed.
"""

import asyncio
from collections.abc import Callable
from time import monotonic

import structlog

from proxy.attempts.attempt import Attempt, open_session
from proxy.attempts.request import upstream_request
from proxy.calls.call import Call, UpstreamRequest
from proxy.calls.routes import Trial
from proxy.network.upstream import UpstreamError, Upstreams
from proxy.providers.credentials import Credentials, NoCredential
from proxy.providers.provider import Provider
from records.outcome import ErrorType
from routing.states import UNKNOWN_PATIENCE_S, States

log = structlog.get_logger()

_REFUSED = frozenset({400, 422})
_MEMBER = b"stream_options"


class StreamUsage:
    """One worker's memory of the entries that refuse `stream_options`. A changed entry is asked again."""

    def __init__(self) -> None:
        self._refusing: dict[str, Provider] = {}

    def asks(self, provider: Provider) -> bool:
        """True when streams of this entry are to be asked for their usage."""
        if not self._refusing:
            return provider.asks_stream_usage
        return provider.asks_stream_usage and self._refusing.get(provider.name) != provider

    async def refused(self, attempt: Attempt) -> bool:
        """True when the provider refuses the `stream_options` that the proxy added. The attempt is then ready
        to be opened again; otherwise it holds what was read of the refusal for the caller."""
        if attempt.status not in _REFUSED or _MEMBER not in await attempt.refusal():
            return False
        attempt.start_again()
        return True

    def sent_without(self, attempt: Attempt) -> None:
        """Remember the entry, unless the request is refused without `stream_options` as well: some servers
        repeat the whole request in each refusal, and so name the member whatever is wrong."""
        provider = attempt.target.provider
        if attempt.status in _REFUSED or not self.asks(provider):
            return
        self._refusing[provider.name] = provider
        log.warning(
            "provider.refuses_stream_options",
            provider=provider.name,
            effect="its streams are no longer asked for usage; `stream_usage: leave` spares the refusal",
        )


class AttemptDispatch:
    """Sends attempts to providers."""

    __slots__ = ("_credentials", "_stream_usage", "_upstreams")

    def __init__(self, upstreams: Upstreams, credentials: Credentials, stream_usage: StreamUsage) -> None:
        self._upstreams = upstreams
        self._credentials = credentials
        self._stream_usage = stream_usage

    async def send(
        self, call: Call, attempt: Attempt, *, covered: bool, is_copy: bool = False
    ) -> UpstreamRequest:
        """Send the request and wait for the head; once more without the usage that the provider refuses.

        `covered`: the baseline answers if this one fails. `is_copy`: without the idempotency key, with which
        the provider would refuse one of the two. Raises UpstreamError, Refused.
        """
        asks = call.facts.stream and self._stream_usage.asks(attempt.target.provider)
        request = await self._open(call, attempt, covered=covered, is_copy=is_copy, ask_usage=asks)
        if attempt.injected and attempt.failure is not None and await self._stream_usage.refused(attempt):
            request = await self._open(call, attempt, covered=covered, is_copy=is_copy, ask_usage=False)
            self._stream_usage.sent_without(attempt)
        return request

    async def _open(
        self, call: Call, attempt: Attempt, *, covered: bool, is_copy: bool, ask_usage: bool
    ) -> UpstreamRequest:
        """Send the request and wait for the head. Raises UpstreamError, Refused."""
        target = attempt.target
        try:
            request = upstream_request(call, target, self._credentials, ask_usage=ask_usage)
        except NoCredential as problem:
            raise UpstreamError("proxy_no_credential", str(problem)) from problem
        attempt.adapted = request.adapted
        if attempt.sent_at is None:
            attempt.sent_at = monotonic()
        if call.upgrades:
            await open_session(self._upstreams, call, request, attempt, covered=covered)
            return request
        headers = request.headers
        if is_copy:
            headers = [header for header in headers if not header[0].endswith(b"idempotency-key")]
        response = await self._upstreams.send(
            target.provider,
            limit_key=target.key,
            method=call.method.encode(),
            target=request.target,
            headers=headers,
            body=request.body,
            streaming=call.facts.stream,
            timeout=target.timeout,
        )
        attempt.opened(response, call, request, covered=covered)
        return request


class CandidateWait:
    """One request's wait for a candidate whose failure the baseline covers. Watched by the ticker.

    `failure`: why the wait was ended; None while it was not.
    """

    __slots__ = (
        "_kind", "_plan", "_probes", "_recalled", "_run", "_since", "_timeout", "_trial", "check_at",
        "failure",
    )  # fmt: skip

    def __init__(
        self,
        trial: Trial,
        plan: Callable[[], States],
        timeout: asyncio.Timeout,
        *,
        run: int,
        kind: str,
        recalled: bool = False,
    ) -> None:
        """`plan()` returns the newest plan; `timeout` ends the wait. `run` is the assignment's; `kind` is the
        request's (`routing.states.request_kind`). `recalled`: the candidate is asked about a conversation
        that it began, for one of the baseline's units. A wait that begins with an open breaker is its
        probe."""
        self.check_at = 0.0
        self.failure: ErrorType | None = None
        self._trial = trial
        self._plan = plan
        self._timeout = timeout
        self._run = run
        self._kind = kind
        self._recalled = recalled
        self._since = monotonic()
        self._probes = trial.breaker.open

    def check(self, now: float) -> None:
        """End the wait if it is time. Looks at the newest plan every time."""
        if self.failure is not None:
            return
        self.failure = self._reason(now)
        if self.failure is not None:
            self._timeout.reschedule(0.0)

    def _reason(self, now: float) -> ErrorType | None:
        trial, plan = self._trial, self._plan()
        state = plan.state_of(trial.canary.name, trial.definition)
        promoted = state is not None and state.state == "promoted"
        if not promoted and now - self._since >= patience_s(trial, plan, self._kind):
            return "provider_timeout"
        if self._recalled:
            runs = state is not None and state.recallable
        else:
            runs = state is not None and state.run == self._run and state.effective_share > 0.0
        opened = trial.breaker.open and not self._probes
        return "breaker_open" if opened or not runs else None


def patience_s(trial: Trial, plan: States, kind: str) -> float:
    """The seconds that a request of this kind may wait for the candidate.

    The config's, else the plan's, else `UNKNOWN_PATIENCE_S`; at most the candidate's `total`.
    """
    patience = trial.candidate.patience_s
    if patience is None:
        known = plan.patience.get(trial.canary.name)
        patience = None if known is None else known.get(kind)
    return min(UNKNOWN_PATIENCE_S if patience is None else patience, trial.candidate.timeout.total_s)
