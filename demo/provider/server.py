"""The provider: listens, answers each request as its model behaves, and logs what it received.

Each request is routed to its operation, which makes the whole answer and sends nothing
(`ProviderOperations`).
"""

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from random import Random
from types import TracebackType
from typing import Any, Literal, TypeVar

import msgspec

from demo.provider import anthropic, gemini, interactions, openai
from demo.provider.anthropic import MESSAGES
from demo.provider.batches import ROOTS, LocalBatches, Serve
from demo.provider.behaviour import Behaviour, Fault, Prompt, RequestConduct, alnum, answer, chance, conduct
from demo.provider.connection import (
    BREAKS,
    CallerLeft,
    Dialect,
    Headers,
    LocalAnswer,
    LocalConnection,
    LocalWire,
    Request,
    RequestRefused,
    parse,
    send,
)
from demo.provider.gemini import GENERATE
from demo.provider.interactions import INTERACTIONS, interaction_id
from demo.provider.openai import CHAT, UploadedFile
from demo.provider.responses import RESPONSES, compacted, counted, response_id

CALM = Behaviour()


RETRY_LATER = (429, 503, 529)


Ending = Literal["open", "complete", "broken", "caller_left"]


@dataclass(slots=True, kw_only=True)
class ReceivedRequest:
    """One request. It is filled in while the answer runs, so unlike a record it is not frozen.

    `mono` is CLOCK_MONOTONIC at the request's last byte, `left_mono` when the caller closed before the answer
    ended, `ended_mono` at the answer's last byte or the break. `broken` is a break by the provider itself.
    """

    method: str
    target: str
    headers: Headers
    body: bytes
    model: str
    mono: float
    fault: Fault | None = None
    status: int | None = None
    ending: Ending = "open"
    left_mono: float | None = None
    ended_mono: float | None = None

    @property
    def credentials(self) -> dict[str, str]:
        """Every credential of the request: headers by name, and `key` from the query."""
        names = ("authorization", "x-api-key", "x-goog-api-key", "api-key")
        found = {name: value for name, value in self.headers if name in names}
        key = Request(method="", target=self.target, headers=(), body=b"", keep_alive=False, mono=0.0).query(
            "key"
        )
        return found if key is None else {**found, "key": key}

    @property
    def json(self) -> dict[str, object]:
        """The body as a JSON object."""
        return msgspec.json.decode(self.body, type=dict[str, object])


@dataclass(slots=True)
class RequestLog:
    """The requests in order of arrival. Beyond `limit` (None: no limit) the oldest are dropped."""

    limit: int | None = None
    entries: list[ReceivedRequest] = field(default_factory=list)

    def add(self, entry: ReceivedRequest) -> None:
        """Append a request. Drops the older half at the limit, so that long runs stay cheap."""
        self.entries.append(entry)
        if self.limit is not None and len(self.entries) >= 2 * self.limit:
            del self.entries[: -self.limit]

    def of(self, model: str) -> list[ReceivedRequest]:
        """The entries of one model."""
        return [entry for entry in self.entries if entry.model == model]

    def clear(self) -> None:
        """Delete all entries."""
        self.entries.clear()


class LocalProvider:
    """The provider as an async context manager: it listens inside, and closes every connection at the end.

    `behaviours` maps model names to behaviours; `other` is for all other models (None: they get 404). `keys`
    are the accepted keys (None: any). `log` has the received requests, at least the last `log_limit`.
    """

    def __init__(
        self,
        behaviours: Mapping[str, Behaviour] | None = None,
        *,
        other: Behaviour | None = CALM,
        keys: frozenset[str] | None = None,
        seed: int = 1,
        host: str = "127.0.0.1",
        port: int = 0,
        log_limit: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.log = RequestLog(limit=log_limit)
        self._behaviours = dict(behaviours or {})
        self._other = other
        self._keys = keys
        self._seed = seed
        self._address = (host, port)
        self._clock = clock
        self._operations = ProviderOperations(self._batched, self._batch_s)
        self._seen: dict[int, int] = {}
        self._connections: set[LocalConnection] = set()
        self._open = 0
        self._settled = asyncio.Event()
        self._tasks = asyncio.TaskGroup()
        self._server: asyncio.Server

    @property
    def url(self) -> str:
        """The URL without a trailing slash; OpenAI's SDK needs `/v1` appended."""
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://{host}:{port}"

    def behave(self, model: str, behaviour: Behaviour) -> None:
        """Change one model's behaviour from the next request on."""
        self._behaviours[model] = behaviour

    def retire(self, model: str) -> None:
        """Behave from the next request on as for a model that was never named."""
        self._behaviours.pop(model, None)

    async def settled(self) -> None:
        """Wait until every answer has ended: sent, broken, or abandoned by its caller."""
        while self._open:
            self._settled.clear()
            await self._settled.wait()

    async def __aenter__(self) -> "LocalProvider":
        await self._tasks.__aenter__()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, *self._address, backlog=4096)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for connection in self._connections:
            connection.reset()
        await self._tasks.__aexit__(None, None, None)  # do not pass on the block's own exception

    def _accept(self) -> LocalConnection:
        return LocalConnection(self._serve, self._begin)

    def _begin(self, connection: LocalConnection) -> None:
        if not self._server.is_serving():  # accepted just before the end
            connection.reset()
            return
        self._connections.add(connection)
        self._tasks.create_task(connection.run()).add_done_callback(
            lambda _: self._connections.discard(connection)
        )

    async def _serve(self, request: Request, connection: LocalConnection) -> None:
        if request.path.startswith("/_provider/"):
            await send(connection, self._control(request), conduct(CALM, Random(0)), CALM, gzip=False)  # noqa: S311
            return
        entry = ReceivedRequest(
            method=request.method,
            target=request.target,
            headers=request.headers,
            body=request.body,
            model=model_of(request),
            mono=request.mono,
        )
        self.log.add(entry)
        self._open += 1
        try:
            await self._answer(request, connection, entry)
            entry.ending = "broken" if entry.fault in BREAKS else "complete"
        except CallerLeft:
            entry.ending, entry.left_mono = "caller_left", connection.left_mono
            raise
        finally:
            entry.ended_mono = time.monotonic()
            self._open -= 1
            self._settled.set()

    async def _answer(self, request: Request, connection: LocalConnection, entry: ReceivedRequest) -> None:
        behaviour = self._behaviours.get(entry.model, self._other if entry.model else CALM)
        draws = chance(self._seed, entry.model, request.body, self._nth(request))
        meets = conduct(behaviour or CALM, draws)
        answer = self._prepare(request, behaviour, meets, draws)
        entry.fault, entry.status = meets.fault, answer.status
        compress = (behaviour or CALM).gzip and "gzip" in (request.header("accept-encoding") or "")
        await send(connection, answer, meets, behaviour or CALM, gzip=compress)

    def _prepare(
        self, request: Request, behaviour: Behaviour | None, meets: RequestConduct, draws: Random
    ) -> LocalAnswer:
        dialect = dialect_of(request)
        headers = (("date", formatdate(self._clock(), usegmt=True)), *dialect.headers(draws, meets.ttfb_s))
        try:
            self._admit(request, behaviour)
            answer = self._operations.answer(
                request, behaviour or CALM, draws, int(self._clock()), sorted(self._behaviours)
            )
            if behaviour and (
                meets.fault == "status" or (meets.fault == "stream_error" and answer.events is None)
            ):
                raise RequestRefused(
                    behaviour.status, f"The model answered with status {behaviour.status} on purpose."
                )
            if meets.fault == "throttled":
                headers = (*(_none_left(*each) for each in headers), ("retry-after", "1"))
                raise RequestRefused(429, "Rate limit reached for requests", code="rate_limit_exceeded")
        except RequestRefused as refused:
            if behaviour and behaviour.retry_after_s is not None and refused.status in RETRY_LATER:
                headers = (*headers, ("retry-after", f"{behaviour.retry_after_s:g}"))
            request_id = dict(headers).get("request-id", "")
            return LocalAnswer(
                status=refused.status, headers=headers, body=dialect.error(refused, request_id)
            )
        return replace(answer, headers=headers)

    def _batched(self, request: Request) -> LocalAnswer | None:
        """The answer to one question of a batch; None from a model that hangs."""
        model = model_of(request)
        behaviour = self._behaviours.get(model, self._other)
        draws = chance(self._seed, model, request.body, self._nth(request))
        meets = conduct(behaviour or CALM, draws)
        return None if meets.fault == "hang" else self._prepare(request, behaviour, meets, draws)

    def _batch_s(self, model: str) -> float:
        return self._behaviours.get(model, self._other or CALM).batch_s

    def _admit(self, request: Request, behaviour: Behaviour | None) -> None:
        key = dialect_of(request).key(request)
        if key is None or (self._keys is not None and key not in self._keys):
            raise RequestRefused(401, "Incorrect API key provided.", code="invalid_api_key")
        if behaviour is None:
            message = f"The model `{model_of(request)}` does not exist or you do not have access to it."
            raise RequestRefused(404, message, code="model_not_found")

    def _nth(self, request: Request) -> int:
        """How often the same request came before. Each SDK retry is a new draw, as with a real provider."""
        identity = hash((request.target, request.body))
        nth = self._seen.get(identity, 0)
        if len(self._seen) > 100_000:
            self._seen.clear()
        self._seen[identity] = nth + 1
        return nth

    def _control(self, request: Request) -> LocalAnswer:
        match request.method, request.path.split("/")[2:]:
            case "PUT", ["behaviours", model]:
                try:
                    self.behave(model, msgspec.json.decode(request.body, type=Behaviour))
                except (msgspec.DecodeError, ValueError) as exc:
                    return LocalAnswer(status=400, body=msgspec.json.encode({"error": str(exc)}))
                return LocalAnswer(body=b"{}")
            case _:
                return LocalAnswer(status=404, body=b'{"error": "no such control"}')


def _none_left(name: str, value: str) -> tuple[str, str]:
    """The header of an answer to a request over the rate."""
    return name, "0" if "remaining" in name else value


WIRES = {
    "/v1/chat/completions": CHAT,
    "/v1/responses": RESPONSES,
    "/v1/messages": MESSAGES,
    "/v1/interactions": INTERACTIONS,
    "/v1beta/interactions": INTERACTIONS,
}
BETWEEN_TURNS = ("/v1/responses/compact", "/v1/responses/input_tokens")
"""What may be asked of a conversation without its going on."""
Thing = TypeVar("Thing")
ADVICE = {"max_tokens": " Use 'max_completion_tokens' instead."}
"""What OpenAI adds to the refusal of a member that has a new name."""

MISSHAPEN = (AttributeError, LookupError, TypeError, ValueError)
"""What reading a request raises where a value is of another type than its API's."""

GEMINI = re.compile(r"^/v1(?:beta|alpha)?/models/([^/:]+):(\w+)$")


class ProviderOperations:
    """Answers requests. Stores the last `keep` files, responses and interactions that requests may name.

    `serve` answers the questions of batches, which take `wait_s` of their model.
    """

    def __init__(self, serve: Serve, wait_s: Callable[[str], float], *, keep: int = 1000) -> None:
        self._keep = keep
        self._files: dict[str, UploadedFile] = {}
        self._responses: dict[str, tuple[str, bytes]] = {}
        self._interactions: dict[str, tuple[str, bytes]] = {}
        self._batches = LocalBatches(self._files, serve, wait_s)

    def answer(
        self, request: Request, behaviour: Behaviour, draws: Random, created: int, models: Sequence[str]
    ) -> LocalAnswer:
        """The answer to one request. Raises RequestRefused."""
        try:
            return self._answer(request, behaviour, draws, created, models)
        except MISSHAPEN as exc:
            raise RequestRefused(400, f"Invalid request: {exc!r}") from exc

    def _answer(
        self, request: Request, behaviour: Behaviour, draws: Random, created: int, models: Sequence[str]
    ) -> LocalAnswer:
        wire = wire_of(request)
        if wire and request.method == "POST":
            return self._generate(wire, request, behaviour, draws, created)
        if request.method == "POST" and request.path in BETWEEN_TURNS:
            return self._between_turns(request, behaviour, draws, created)
        if request.path.startswith(ROOTS):
            return self._batches.answer(request, draws, created)
        if request.path == "/v1/messages/count_tokens" and request.method == "POST":
            return LocalAnswer(body=anthropic.count_tokens(MESSAGES.read(request, parse(request.body))))
        if (found := GEMINI.match(request.path)) and found[2] == "countTokens":
            return LocalAnswer(body=gemini.count_tokens(GENERATE.read(request, parse(request.body))))
        if found and found[2] == "batchEmbedContents":
            return LocalAnswer(body=gemini.embeddings(parse(request.body), behaviour.means))
        if request.path == "/v1/embeddings" and request.method == "POST":
            return LocalAnswer(body=openai.embeddings(parse(request.body), behaviour.means))
        return LocalAnswer(body=self._other(request, draws, created, models))

    def _generate(
        self, wire: LocalWire, request: Request, behaviour: Behaviour, draws: Random, created: int
    ) -> LocalAnswer:
        body = parse(request.body)
        account = wire.dialect.key(request) or ""
        prompt = replace(wire.read(request, body), account=account)
        wire.refuse_others(account, body)
        _refuse_parameters(behaviour, body, wire)
        self._refuse_unknown(prompt)
        reply = answer(prompt, behaviour, draws)
        if wire is INTERACTIONS:
            reply = interactions.hop(prompt, reply, behaviour.hop_words)
        document = wire.document(prompt, reply, created)
        if wire is RESPONSES and prompt.echo.get("store") is not False:
            _remember(self._responses, response_id(reply), (account, document), self._keep)
        if wire is INTERACTIONS and prompt.echo.get("store") is not False:
            _remember(self._interactions, interaction_id(reply), (account, document), self._keep)
        if not prompt.stream:
            return LocalAnswer(content_type=wire.json_type, body=document, tokens=reply.tokens.output)
        events = list(wire.events(prompt, reply, created))
        if wire is GENERATE and request.query("alt") != "sse":
            return LocalAnswer(
                content_type=wire.json_type, body=gemini.array(events), tokens=reply.tokens.output
            )
        return LocalAnswer(
            content_type=wire.stream_type, events=events, failure=wire.failure(behaviour.after_events)
        )

    def _between_turns(
        self, request: Request, behaviour: Behaviour, draws: Random, created: int
    ) -> LocalAnswer:
        body = parse(request.body)
        account = RESPONSES.dialect.key(request) or ""
        prompt = replace(RESPONSES.read(request, body), account=account)
        RESPONSES.refuse_others(account, body)
        self._refuse_unknown(prompt)
        reply = answer(prompt, behaviour, draws)
        counts = request.path.endswith("/input_tokens")
        return LocalAnswer(body=counted(reply) if counts else compacted(prompt, reply, created))

    def _other(self, request: Request, draws: Random, created: int, models: Sequence[str]) -> bytes:
        match request.method, request.path.strip("/").split("/"):
            case "GET", ["v1", "models"]:
                return openai.models(models)
            case "GET", ["v1beta", "models"]:
                return gemini.models(models)
            case "GET", ["v1", "models", name] if name in models:
                return openai.model(name)
            case "POST", ["v1", "files"]:
                file_id = f"file-{alnum(draws, 22)}"
                sent = openai.upload(request.header("content-type") or "", request.body, file_id, created)
                _remember(self._files, file_id, sent, self._keep)
                return sent.document()
            case "GET", ["v1", "files", name] if name in self._files:
                return self._files[name].document()
            case "GET", ["v1", "files", name, "content"] if name in self._files:
                return self._files[name].content
            case "GET", ["v1", "responses", name] if name in self._responses:
                return self._responses[name][1]
            case "GET", [_, "interactions", name] if name in self._interactions:
                return self._interactions[name][1]
            case "DELETE", [_, "interactions", name] if name in self._interactions:
                del self._interactions[name]
                return b"{}"
            case _:
                raise RequestRefused(404, f"Invalid URL ({request.method} {request.path})")

    def _refuse_unknown(self, prompt: Prompt) -> None:
        """Refuse a request that names a response or an interaction which its account has not stored."""
        interaction = prompt.echo.get("previous_interaction_id")
        if interaction is not None and self._interactions.get(interaction, ("",))[0] != prompt.account:
            raise RequestRefused(404, f"Interaction {interaction} not found.", code="not_found")
        name = prompt.echo.get("previous_response_id")
        if name is not None and self._responses.get(name, ("",))[0] != prompt.account:
            message = f"Previous response with id '{name}' not found."
            raise RequestRefused(
                400, message, param="previous_response_id", code="previous_response_not_found"
            )


def wire_of(request: Request) -> LocalWire | None:
    """The generating operation at this path."""
    found = GEMINI.match(request.path)
    if found and found[2] in ("generateContent", "streamGenerateContent"):
        return GENERATE
    return WIRES.get(request.path)


def dialect_of(request: Request) -> Dialect:
    """The dialect of this path."""
    if request.path.startswith("/v1/messages") or request.header("anthropic-version"):
        return MESSAGES.dialect
    is_gemini = GEMINI.match(request.path) or request.path.startswith(("/v1beta/", "/v1/interactions"))
    return GENERATE.dialect if is_gemini else CHAT.dialect


def model_of(request: Request) -> str:
    """The request's model, from its URL or its JSON; "" if it names none."""
    if found := GEMINI.match(request.path):
        return found[1]
    if "json" not in (request.header("content-type") or ""):
        return ""
    try:
        return str(parse(request.body).get("model", ""))
    except RequestRefused:
        return ""


def _refuse_parameters(behaviour: Behaviour, body: dict[str, Any], wire: LocalWire) -> None:
    """Refuse the first of the rejected members, in the words of this API's own vendor."""
    inner = {*(body.get("generationConfig") or {}), *(body.get("generation_config") or {})}
    for name in behaviour.rejects:
        if name in inner:
            message = f"Invalid JSON payload received. Unknown name \"{name}\" at 'generation_config': "
            raise RequestRefused(behaviour.reject_status, f"{message}Cannot find field.", param=name)
        if name in body and wire is MESSAGES:
            raise RequestRefused(behaviour.reject_status, f"{name}: Extra inputs are not permitted")
        if name in body:
            message = f"Unsupported parameter: '{name}' is not supported with this model."
            message += ADVICE.get(name, "")
            raise RequestRefused(behaviour.reject_status, message, param=name, code="unsupported_parameter")


def _remember(shelf: dict[str, Thing], name: str, thing: Thing, keep: int) -> None:
    shelf[name] = thing
    if len(shelf) > keep:
        del shelf[next(iter(shelf))]
