"""Routes a request to its operation and makes the whole answer. Sends nothing."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any, TypeVar

from demo import anthropic_messages, gemini_generate, gemini_interactions, openai_others
from demo.anthropic_messages import MESSAGES
from demo.batches import ROOTS, LocalBatches, Serve
from demo.behaviour import Behaviour
from demo.connection import Request
from demo.gemini_generate import GENERATE
from demo.gemini_interactions import INTERACTIONS, interaction_id
from demo.openai_chat import CHAT
from demo.openai_others import File
from demo.openai_responses import RESPONSES, response_id
from demo.reply import Prompt, alnum, answer
from demo.sending import LocalAnswer
from demo.wire import Dialect, LocalWire, RequestRefused, parse

WIRES = {
    "/v1/chat/completions": CHAT,
    "/v1/responses": RESPONSES,
    "/v1/messages": MESSAGES,
    "/v1/interactions": INTERACTIONS,
    "/v1beta/interactions": INTERACTIONS,
}
Thing = TypeVar("Thing")
ADVICE = {"max_tokens": " Use 'max_completion_tokens' instead."}
"""What OpenAI adds to the refusal of a member that has a new name."""

MISSHAPEN = (AttributeError, LookupError, TypeError, ValueError)
"""What reading a request raises where a value is of another type than its API's."""

GEMINI = re.compile(r"^/v1(?:beta|alpha)?/models/([^/:]+):(\w+)$")


class Operations:
    """Answers requests. Stores the last `keep` files, responses and interactions that requests may name.

    `serve` answers the questions of batches, which take `wait_s` of their model.
    """

    def __init__(self, serve: Serve, wait_s: Callable[[str], float], *, keep: int = 1000) -> None:
        self._keep = keep
        self._files: dict[str, File] = {}
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
        if request.path.startswith(ROOTS):
            return self._batches.answer(request, draws, created)
        if request.path == "/v1/messages/count_tokens" and request.method == "POST":
            return LocalAnswer(
                body=anthropic_messages.count_tokens(MESSAGES.read(request, parse(request.body)))
            )
        if (gemini := GEMINI.match(request.path)) and gemini[2] == "countTokens":
            return LocalAnswer(body=gemini_generate.count_tokens(GENERATE.read(request, parse(request.body))))
        if gemini and gemini[2] == "batchEmbedContents":
            return LocalAnswer(body=gemini_generate.embeddings(parse(request.body), behaviour.means))
        if request.path == "/v1/embeddings" and request.method == "POST":
            return LocalAnswer(body=openai_others.embeddings(parse(request.body), behaviour.means))
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
            reply = gemini_interactions.hop(prompt, reply, behaviour.hop_words)
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
                content_type=wire.json_type, body=gemini_generate.array(events), tokens=reply.tokens.output
            )
        return LocalAnswer(
            content_type=wire.stream_type, events=events, failure=wire.failure(behaviour.after_events)
        )

    def _other(self, request: Request, draws: Random, created: int, models: Sequence[str]) -> bytes:
        match request.method, request.path.strip("/").split("/"):
            case "GET", ["v1", "models"]:
                return openai_others.models(models)
            case "GET", ["v1beta", "models"]:
                return gemini_generate.models(models)
            case "GET", ["v1", "models", name] if name in models:
                return openai_others.model(name)
            case "POST", ["v1", "files"]:
                file_id = f"file-{alnum(draws, 22)}"
                sent = openai_others.upload(
                    request.header("content-type") or "", request.body, file_id, created
                )
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
    gemini = GEMINI.match(request.path)
    if gemini and gemini[2] in ("generateContent", "streamGenerateContent"):
        return GENERATE
    return WIRES.get(request.path)


def dialect_of(request: Request) -> Dialect:
    """The dialect of this path."""
    if request.path.startswith("/v1/messages") or request.header("anthropic-version"):
        return MESSAGES.dialect
    gemini = GEMINI.match(request.path) or request.path.startswith(("/v1beta/", "/v1/interactions"))
    return GENERATE.dialect if gemini else CHAT.dialect


def model_of(request: Request) -> str:
    """The request's model, from its URL or its JSON; "" if it names none."""
    if gemini := GEMINI.match(request.path):
        return gemini[1]
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
