"""One question to one model over HTTP, and its answer, or its failure. No score.

The model is asked directly at its provider, or pinned through the running proxy.
"""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from typing import Any, Literal

import httpx2
import msgspec

from bench.errors import NoKey
from bench.models.tools import Action
from bench.models.wires import (
    NO_EXTRAS,
    RESPONSES,
    WIRES,
    ChatWire,
    RequestExtras,
    chat_path,
    confidence_in,
    first_token_in,
    names_in,
)
from common.bounded_http import MOST_BYTES, bounded
from common.text import readable
from proxy.answers.provider_error import said
from proxy.answers.recorder import captured_call
from proxy.dialects.operation import Api, ChoiceOutput, CollectedOutput, collect
from proxy.providers.arm_texts import ArmTexts
from proxy.providers.credentials import Credential, Credentials, NoCredential, UnsignedRequest
from proxy.providers.headers import request_id_of
from proxy.providers.json_edit import adapted
from proxy.providers.provider import Provider
from proxy.providers.urls import addressed, below_entry, operation, target_of
from records.captures.capture import CapturedMessage, CapturedToolCall
from records.facts.prices import Prices
from records.outcome import ErrorType, Usage
from routing.canary import NO_CHANGES, ArmName, RequestChanges

Failure = ErrorType | Literal["not_pinned"]
"""`not_pinned`: another arm answered through the proxy, so the answer is not this model's."""


_REFUSING = (400, 403, 422)
"""How providers refuse log probabilities: OpenAI with 403 for a model that gives them to nobody."""


class Answer(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """`text` is None if `failure` is set, with the HTTP `status` and the beginning of the provider's message.

    `calls`: the tools that the model calls.
    `request_id`: the provider's, "" without one.
    `confidence`: how sure the model was, 0 to 1; None where it was not asked or did not say.
    `first`: the likeliest first tokens with their probabilities, where these were asked for.
    `names`: what the answer calls its model, and the system fingerprint.
    `latency_s` covers the whole answer; None for an answer saved by an interrupted run. `cost_usd` is None
    without a known price.
    """

    text: str | None = None
    failure: Failure | None = None
    status: int | None = None
    said: str = ""
    latency_s: float | None = None
    cost_usd: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    confidence: float | None = None
    calls: tuple[CapturedToolCall, ...] = ()
    request_id: str = ""
    first: Mapping[str, float] = {}
    names: tuple[str, ...] = ()

    @property
    def action(self) -> Action:
        """What the model does next."""
        return Action(self.text or "", self.calls)

    @property
    def written(self) -> str | None:
        """The answer with its calls as a text to read; None without an answer."""
        return None if self.text is None else self.action.written


def refuses_logprobs(answer: Answer) -> bool:
    """True if the provider refused the request because of the log probabilities that it asks for."""
    return answer.status in _REFUSING and "logprobs" in answer.said.lower()


def total_cost(costs: Sequence[float | None]) -> float | None:
    """The sum of the known costs; None without any."""
    known = [cost for cost in costs if cost is not None]
    return sum(known) if known else None


MOST_WAITS = 3
LONGEST_WAIT_S = 60.0
_QUOTED = 300

NO_AUTH = httpx2.Auth()
"""Adds nothing: the headers have the credential."""

_REFUSED: Mapping[int, Failure] = {
    401: "caller_unauthorized",
    403: "caller_unauthorized",
    404: "caller_not_found",
    413: "caller_too_large",
    429: "provider_429",
}


def as_it_is(path: str, body: bytes) -> tuple[str, bytes]:
    """Path and body of the API's own form."""
    return path, body


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """A parsed answer body: the model's text, calls and usage, or a `failure`, how sure the model was, the
    probabilities of its `first` token, and the `names` that the answer has of its model."""

    text: str
    usage: Usage | None
    failure: Failure | None
    confidence: float | None = None
    calls: tuple[CapturedToolCall, ...] = ()
    first: Mapping[str, float] = field(default_factory=dict)
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A model and how to reach it. `name` is `provider/model`. `arm` is the arm that the proxy must name.
    `auth` adds a credential to each request, unless `headers` has it. `request`, `texts`: how its requests
    differ, unless the proxy changes them. `address`: path and body as the provider's URLs have them."""

    name: str
    model: str
    url: str
    wire: ChatWire
    headers: Mapping[str, str] = field(repr=False)
    read: Callable[[bytes], ParsedAnswer]
    cost: Callable[[Usage], float | None]
    timeout_s: float = 600.0
    arm: str | None = None
    auth: httpx2.Auth = field(default=NO_AUTH, repr=False)
    request: RequestChanges = NO_CHANGES
    texts: ArmTexts | None = None
    address: Callable[[str, bytes], tuple[str, bytes]] = as_it_is

    def asks(
        self, messages: Sequence[CapturedMessage], extras: RequestExtras = NO_EXTRAS
    ) -> tuple[str, bytes]:
        """Path and body of one question."""
        extras = self.wire.own(extras)
        path, request = self.wire.at(extras.path).asks(self.model, messages, extras)
        body = msgspec.json.encode(request)
        if self.texts is not None:
            body = self.texts.edited(body, self.texts.places(body)) or body
        return self.address(path, adapted(body, self.request) or body)

    def key(self, messages: Sequence[CapturedMessage], extras: RequestExtras = NO_EXTRAS) -> str:
        """What names a question by all that is asked, and where."""
        path, body = self.asks(messages, extras)
        return sha256(b"\0".join((self.url.encode(), path.encode(), body))).hexdigest()

    def answer(self, status: int, body: bytes, latency_s: float | None = None) -> Answer:
        """What came to one question: the text, or a failure with the provider's words."""
        if not 200 <= status < 300:
            words = quoted(body, self.headers.values())
            return Answer(failure=_refused(status), status=status, said=words, latency_s=latency_s)
        read = self.read(body)
        usage = read.usage
        return Answer(
            text=None if read.failure else read.text,
            failure=read.failure,
            status=status,
            latency_s=latency_s,
            cost_usd=None if usage is None else self.cost(usage),
            input_tokens=None if usage is None else usage.input_tokens,
            output_tokens=None if usage is None else usage.output_tokens,
            confidence=read.confidence,
            calls=() if read.failure else read.calls,
            first=read.first,
            names=read.names,
        )


class Asker:
    """Asks one target, as an app in production would: its request has what the example and the arm say."""

    def __init__(
        self,
        client: httpx2.AsyncClient,
        target: Target,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.target = target
        self.client = client
        self._sleep = sleep
        self._refuses_logprobs = False

    async def ask(
        self,
        messages: Sequence[CapturedMessage],
        extras: RequestExtras = NO_EXTRAS,
        *,
        logprobs: bool = False,
    ) -> Answer:
        """One answer, with the model's confidence if `logprobs` is set and the model gives them: one that
        refuses them is asked without, now and later."""
        extras = self.target.wire.own(extras)
        with_logprobs = self.target.wire.at(extras.path).with_logprobs
        if logprobs and with_logprobs is not None and not self._refuses_logprobs:
            more = replace(extras, parameters=with_logprobs(extras.parameters))
            answer = await self._until_taken(messages, more)
            if not refuses_logprobs(answer):
                return answer
            self._refuses_logprobs = True
        return await self._until_taken(messages, extras)

    async def _until_taken(self, messages: Sequence[CapturedMessage], extras: RequestExtras) -> Answer:
        """One answer. After a 429 it waits and retries, at most three times: our rate is not the model's
        fault. Nothing else is retried."""
        turn = 0
        while True:
            answer, wait_s = await self._ask(messages, extras)
            if answer.failure != "provider_429" or turn == MOST_WAITS:
                return answer
            await self._sleep(min(2.0**turn if wait_s is None else wait_s, LONGEST_WAIT_S))
            turn += 1

    async def _ask(
        self, messages: Sequence[CapturedMessage], extras: RequestExtras
    ) -> tuple[Answer, float | None]:
        """(the answer, the seconds to wait from Retry-After)."""
        target = self.target
        path, body = target.asks(messages, extras)
        headers = {**target.headers, **extras.headers, "content-type": "application/json"}
        began = time.perf_counter()
        try:
            async with asyncio.timeout(target.timeout_s):
                response = await self.client.post(
                    target.url + path,
                    content=body,
                    headers=headers,
                    auth=target.auth,
                )
        except (TimeoutError, httpx2.HTTPError) as problem:
            return Answer(failure=_broken(problem), latency_s=time.perf_counter() - began), None
        return self._answer(response, time.perf_counter() - began), _wait_s(response)

    def _answer(self, response: httpx2.Response, latency_s: float) -> Answer:
        target, status = self.target, response.status_code
        other = target.arm is not None and response.headers.get("x-canary-arm") != target.arm
        if response.is_success and other:
            return Answer(failure="not_pinned", status=status, said="another arm of the canary answered")
        named = {name.lower(): value for name, value in response.headers.raw}
        answer = target.answer(status, response.content, latency_s)
        return msgspec.structs.replace(answer, request_id=request_id_of(named, {}))


def quoted(body: bytes, keys: Iterable[str]) -> str:
    """The provider's code and message, without the keys; the beginning of a body in no known form."""
    told = said(body, [key.removeprefix("Bearer ") for key in keys])
    if told is None:
        return body.decode("utf-8", "replace")[:_QUOTED]
    return ": ".join(part for part in (told.code or told.type, told.message) if part)


def _broken(problem: Exception) -> Failure:
    if isinstance(problem, httpx2.ConnectError | httpx2.ConnectTimeout):
        return "provider_connect"
    if isinstance(problem, TimeoutError | httpx2.TimeoutException):
        return "provider_timeout"
    return "provider_malformed" if isinstance(problem, httpx2.DecodingError) else "provider_reset"


def _refused(status: int) -> Failure:
    if status >= 500:
        return "provider_5xx"
    return _REFUSED.get(status, "caller_rejected" if status >= 400 else "provider_malformed")


def _wait_s(response: httpx2.Response) -> float | None:
    retry_after = response.headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        return None


# How a benchmark reaches a model: directly at its provider, or pinned through the running proxy.


_KEYS: Mapping[Api, tuple[str, ...]] = {
    "openai": ("OPENAI_API_KEY",),
    "anthropic": ("ANTHROPIC_API_KEY",),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyRoute:
    """The running proxy: its URL, the model name that apps send, the baseline's provider, and the token that
    pins a request to an arm of this canary. `trust` verifies its certificate, where it has one."""

    canary: str
    traffic: str
    asked: str
    provider: Provider
    token: str
    trust: ssl.SSLContext | None = None


class EntryAuth(httpx2.Auth):
    """Adds the entry's own credential to each request as it is sent, so a renewed token is used. `close()`
    ends the renewals."""

    requires_request_body = True

    def __init__(self, credential: Credential, credentials: Credentials) -> None:
        self._credential = credential
        self.close = credentials.close

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """Called by the client. Raises ConnectError when no credential can be had any more."""
        unsigned = UnsignedRequest(
            method=request.method.encode(),
            target=request.url.raw_path,
            headers=[(name.lower(), value) for name, value in request.headers.raw],
            body=request.content,
        )
        try:
            headers = self._credential.headers(unsigned)
        except NoCredential as problem:
            raise httpx2.ConnectError(str(problem), request=request) from problem
        for name, value in headers:
            request.headers[name.decode()] = value.decode("latin-1")
        yield request


def direct(
    provider: Provider,
    model: str,
    prices: Prices,
    environment: Mapping[str, str],
    request: RequestChanges = NO_CHANGES,
    texts: ArmTexts | None = None,
) -> Target:
    """The model, directly at its provider, with the changes of an arm's requests and its texts. Raises
    NoKey."""
    auth = entry_auth(provider)
    return Target(
        name=f"{provider.name}/{model}",
        model=model,
        url=provider.base_url,
        wire=WIRES[provider.api],
        headers=headers_for(provider, "" if auth is not None else key_of(provider, environment)),
        auth=auth or NO_AUTH,
        read=partial(read, provider.api),
        cost=partial(prices.cost, provider, model),
        timeout_s=provider.timeout.total_s,
        request=request,
        texts=texts,
        address=partial(addressed, provider, model),
    )


def root_of(provider: Provider) -> str:
    """The URL below which the entry has the API's own paths."""
    below_host = "" if provider.kind == "plain" else below_entry(provider.kind, provider.api)
    return provider.base_url + below_host


def headers_for(provider: Provider, key: str) -> Mapping[str, str]:
    """The headers that the API's SDK sends; without its credential when `key` is "", as with an EntryAuth."""
    headers = WIRES[provider.api].credential(key)
    return {name: value for name, value in headers.items() if key or name == "anthropic-version"}


def pinned(target: Target, route: ProxyRoute, arm: ArmName) -> Target:
    """The model as one arm of a canary, through the proxy.

    The proxy sets each arm's credential and changes its requests.
    """
    provider = route.provider
    root = f"{route.traffic}/{provider.name}{'/v1' if provider.api == 'openai' else ''}"
    return Target(
        name=target.name,
        model=route.asked,
        url=root,
        wire=WIRES[provider.api],
        headers={
            **target.headers,
            "x-canary-pin": arm,
            "x-canary-pin-token": route.token,
            "x-canary-name": route.canary,
        },
        read=target.read,
        cost=target.cost,
        timeout_s=target.timeout_s,
        arm=arm,
    )


def client_for(
    provider: Provider,
    *,
    at_once: int,
    trust: ssl.SSLContext | None = None,
    most_bytes: int = MOST_BYTES,
) -> httpx2.AsyncClient:
    """A client with the provider's CA file, or a proxy's `trust`. Each question has its own time limit;
    an answer has `most_bytes` at most."""
    context = trust or ssl.create_default_context(cafile=provider.ca_file)
    limits = httpx2.Limits(max_connections=at_once, max_keepalive_connections=at_once)
    options = bounded(verify=context, limits=limits, most_bytes=most_bytes)
    return httpx2.AsyncClient(timeout=None, **options)


def entry_auth(provider: Provider) -> EntryAuth | None:
    """The entry's own credential, None without one. Waits for a cloud's first token. Raises NoKey."""
    credentials = Credentials.ready([provider])
    for trouble in credentials.troubles():
        credentials.close()
        raise NoKey(trouble)
    credential = credentials.of(provider)
    return None if credential is None else EntryAuth(credential, credentials)


def key_of(provider: Provider, environment: Mapping[str, str]) -> str:
    """The provider's configured key, or the key that its SDK reads from the environment. Raises NoKey."""
    names = _KEYS[provider.api]
    for key in (provider.api_key, *(environment.get(name) for name in names)):
        if key:
            return key
    raise NoKey(f"no key for {provider.name}: set {names[0]}, or api_key in the config")


def read(api: Api, body: bytes) -> ParsedAnswer:
    """Parse a whole answer of this API, at any path that a benchmark asks."""
    path = RESPONSES if api == "openai" and _is_response(body) else chat_path(api)
    asked = operation(api, "POST", target_of(api, path))
    assert asked.read_json is not None and asked.output is not None  # each has them  # noqa: S101
    found, output = asked.read_json(body), CollectedOutput(len(body))
    collect(asked.output.read, output, body)
    first = ChoiceOutput() if output.lost else output.choices.get(0, ChoiceOutput())
    failure: Failure | None = None if found.valid and not found.failed else "provider_malformed"
    return ParsedAnswer(
        first.text,
        found.usage,
        failure,
        confidence_in(api, body),
        tuple(map(captured_call, first.calls)),
        first_token_in(api, body),
        names_in(body),
    )


class _Response(msgspec.Struct):
    output: list[Any] | None = None


def _is_response(body: bytes) -> bool:
    """True for an answer of the Responses API."""
    found = readable(msgspec.json.Decoder(_Response).decode, body)
    return found is not None and found.output is not None
