"""Sends one request to one arm with the proxy's own code, and reads whether the provider takes it."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from bench.models.asker import key_of
from bench.models.wires import WIRES
from bench.preflight.cure import located
from bench.preflight.requests import operation_of
from bench.preflight.result import NOTHING_SAID
from proxy.answers.provider_error import said, without_keys
from proxy.attempts.attempt import NOWHERE, Attempt
from proxy.attempts.dispatch import AttemptDispatch, StreamUsageRefusals
from proxy.calls.call import NO_FACTS, Call, UpstreamRequest, facts_of
from proxy.calls.refusal import Refused
from proxy.calls.routes import ArmTarget, Route, Routes, Trial
from proxy.network.upstream.pool import Upstreams
from proxy.network.upstream.response import UpstreamError
from proxy.providers.credentials import Credentials
from proxy.providers.headers import credentials as credentials_in
from proxy.providers.provider import Provider
from records.captures.capture import WireRequest
from records.outcome import ProviderError

_NOT_NOW = frozenset({408, 409, 425, 429})
"""Statuses that say nothing about the request."""

_USER_AGENT = b"canary-preflight"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmReply:
    """What came to one request. `operation` is its path, for Gemini the method.

    `unsent`: there was no credential for it. `status` is None without an answer. `message` holds the
    provider's words, or what broke; "" when the request was `taken`. `error` holds the
    provider's code, type and param beside it. `said` is the refusal's body, `sent` the request's body as the
    provider got it. `request_id`: the provider's.
    """

    operation: str
    status: int | None
    message: str
    took_s: float
    taken: bool = False
    error: ProviderError = NOTHING_SAID
    said: bytes = b""
    sent: bytes = b""
    unsent: bool = False
    request_id: str = ""

    @property
    def refused(self) -> bool:
        """True when the provider does not take this request, however often it is asked."""
        return self.status is not None and 400 <= self.status < 500 and self.status not in _NOT_NOW


class ArmClient:
    """Sends requests to the arms of one canary. An async context manager, which waits for the arms'
    credentials; belongs to one event loop.

    `environment` may have the key of an entry without a credential (`OPENAI_API_KEY` and the like), which is
    then sent as a caller would send it. One request may take `within_s`; the arm's own timeouts apply too.
    """

    def __init__(
        self,
        routes: Routes,
        trial: Trial,
        environment: Mapping[str, str],
        *,
        within_s: float = 120.0,
    ) -> None:
        self.trial = trial
        self._routes = routes
        self._environment = environment
        self._within_s = within_s
        self._upstreams: Upstreams
        self._credentials: Credentials
        self._dispatch: AttemptDispatch

    async def __aenter__(self) -> "ArmClient":
        arms = (self.trial.baseline.provider, self.trial.candidate.provider)
        self._credentials = await asyncio.to_thread(Credentials.ready, arms)
        self._upstreams = Upstreams()
        self._dispatch = AttemptDispatch(self._upstreams, self._credentials, StreamUsageRefusals())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._upstreams.close()
        self._credentials.close()

    def need_credential(self, provider: Provider) -> None:
        """Raise NoKey when neither the entry nor the environment has a credential."""
        self._callers_key(provider)

    def concerns(self, request: WireRequest) -> bool:
        """False for an operation that the candidate's entry has in no form, so that the canary leaves it."""
        path, _, query = request.path.partition("?")
        return self._route(path, query.encode(), {}).taken_by(self.trial.candidate)

    async def ask(self, request: WireRequest, target: ArmTarget) -> ArmReply:
        """Send one request and read its answer: a stream's first event, else the whole. Raises NoKey."""
        began = time.perf_counter()
        route, call = self._call(request, target.provider)
        sent: UpstreamRequest | None = None
        attempt = Attempt(target)
        unsent, error = False, NOTHING_SAID
        try:
            async with asyncio.timeout(self._within_s):
                sent = await self._send(call, attempt)
            error = self._said(attempt, call)
            message = error.message
        except (UpstreamError, Refused) as problem:
            unsent = problem.error_type == "proxy_no_credential"
            message = f"{'not sent' if unsent else 'no answer'}: {problem}"
        except TimeoutError:
            message = f"no answer within {self._within_s:g} s"
        finally:
            attempt.abort()
        return ArmReply(
            operation=operation_of(route.provider.api, route.path),
            status=attempt.status,
            message=message,
            took_s=time.perf_counter() - began,
            taken=not message,
            error=error,
            said=attempt.reader.seen.error,
            unsent=unsent,
            request_id=attempt.request_id,
            sent=sent.body if sent is not None and isinstance(sent.body, bytes) else b"",
        )

    async def _send(self, call: Call, attempt: Attempt) -> UpstreamRequest | None:
        """Send the request and read the answer, as the proxy would where a stream's usage is refused."""
        await self._dispatch.send(call, attempt, covered=False)
        if attempt.response is not None and attempt.failure is None and call.facts.stream:
            await attempt.hold(stream=True)
        elif attempt.response is not None:
            await attempt.relay(NOWHERE)
        return attempt.request

    def _said(self, attempt: Attempt, call: Call) -> ProviderError:
        """What is wrong with the answer; without a message when nothing is."""
        if attempt.wrong is None and attempt.status is not None and attempt.status < 300:
            return NOTHING_SAID
        sent = attempt.request.headers if attempt.request is not None else ()
        keys = [*credentials_in(call.headers, b""), *credentials_in(sent, b"")]
        told = refusal(attempt.reader.seen.error, keys)
        return told if told.message else replace(told, message="without a readable answer")

    def _call(self, request: WireRequest, provider: Provider) -> tuple[Route, Call]:
        """The request as the proxy reads it from a caller."""
        path, _, query = request.path.partition("?")
        given = {
            b"content-type": b"application/json",
            b"user-agent": _USER_AGENT,
            **{name.lower().encode(): value.encode() for name, value in request.headers.items()},
            **self._callers_key(provider),
        }
        route = self._route(path, query.encode(), given)
        body = request.body.encode()
        call = Call(
            method="POST",
            route=route,
            query=query.encode(),
            headers=list(given.items()),
            named=given,
            body=body,
            facts=facts_of(route, body) or NO_FACTS,
            trial=self.trial,
            unit=None,
            tags={},
            at=time.time(),
            mono=time.monotonic(),
        )
        return route, call

    def _route(self, path: str, query: bytes, headers: Mapping[bytes, bytes]) -> Route:
        """The route of a path, at the baseline's entry whatever entry the plain path belongs to."""
        entry = self.trial.baseline.provider
        try:
            route = self._routes.route("POST", path, query, headers)
        except Refused:
            route = None
        if route is not None and route.provider is entry:
            return route
        return self._routes.route("POST", f"/{entry.name}{path}", query, headers)

    def _callers_key(self, provider: Provider) -> dict[bytes, bytes]:
        """The headers that a caller's SDK adds. Raises NoKey for an entry without any key."""
        key = "" if provider.has_credential else key_of(provider, self._environment)
        headers = WIRES[provider.api].credential(key)
        return {name.encode(): value.encode() for name, value in headers.items() if key or "version" in name}


def refusal(body: bytes, keys: list[str]) -> ProviderError:
    """The provider's words in a refusal, without credentials and personal data. One in no known form is its
    own message."""
    told = said(body, keys) or NOTHING_SAID
    if told.message:
        place = located(body)
        named = f"{place}: {told.message}" if place and place not in told.message else told.message
        return replace(told, message=named)
    raw = without_keys(" ".join(body.decode("utf-8", "replace").split()), keys)
    return replace(told, message=raw or told.code or told.type)
