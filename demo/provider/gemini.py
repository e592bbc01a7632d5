"""Gemini's generateContent: the document, the stream with running usage, function calls, token counts."""

from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any

import msgspec

from demo.provider.behaviour import LocalReply, Prompt, Tool, count, first_tool, is_json
from demo.provider.connection import (
    Event,
    Headers,
    LocalWire,
    Request,
    RequestRefused,
    compact,
    pretty,
    refuse_others_thoughts,
    sealed,
)
from demo.provider.openai import bearer, vector

FINISH = {"stop": "STOP", "length": "MAX_TOKENS", "tool": "STOP", "refusal": "SAFETY"}
BLOCKED = {"blockReason": "PROHIBITED_CONTENT"}
# Protobuf's JSON mapping accepts both spellings, and Google's own SDK sends the second.
SCHEMA_FIELDS = ("parametersJsonSchema", "parameters_json_schema", "parameters")
STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class GeminiDialect:
    """`demo.provider.connection.Dialect` for Gemini."""

    def key(self, request: Request) -> str | None:
        return request.header("x-goog-api-key") or request.query("key") or bearer(request)

    def headers(self, draws: Random, spent_s: float) -> Headers:
        return (
            ("vary", "Origin, X-Origin, Referer"),
            ("server", "scaffolding on HTTPServer2"),
            ("x-xss-protection", "0"),
            ("x-frame-options", "SAMEORIGIN"),
            ("x-content-type-options", "nosniff"),
            ("server-timing", f"gfet4t7; dur={round(spent_s * 1e3)}"),
            ("alt-svc", 'h3=":443"; ma=2592000'),
        )

    def error(self, refused: RequestRefused, request_id: str) -> bytes:
        return pretty({"error": _error(refused.status, refused.message)})


def _error(status: int, message: str) -> dict[str, Any]:
    return {"code": status, "message": message, "status": STATUS.get(status, "UNKNOWN")}


def read(request: Request, body: Mapping[str, Any]) -> Prompt:
    """The prompt in a generateContent body; model and streaming are in the URL."""
    contents = body.get("contents") or body.get("generateContentRequest", {}).get("contents")
    if not contents:
        raise RequestRefused(
            400, "* GenerateContentRequest.contents: contents is not specified", param="contents"
        )
    model, _, method = request.path.rpartition("/")[2].partition(":")
    parts = [part for content in contents for part in content.get("parts") or ()]
    system = (body.get("systemInstruction") or {}).get("parts") or ()
    return Prompt(
        model=model,
        text="\n".join(str(part.get("text", "")) for part in [*system, *parts]),
        images=sum("inlineData" in part for part in parts),
        stream=method == "streamGenerateContent",
        tool=None if "functionResponse" in parts[-1] else _tool_to_call(body),
        schema=_wanted_schema(body.get("generationConfig") or {}),
        max_tokens=(body.get("generationConfig") or {}).get("maxOutputTokens"),
        logprobs=(body.get("generationConfig") or {}).get("responseLogprobs") is True,
    )


def _wanted_schema(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    if config.get("responseMimeType") != "application/json":
        return None
    schema: Mapping[str, Any] = config.get("responseJsonSchema") or config.get("responseSchema") or {}
    return schema


def _tool_to_call(body: Mapping[str, Any]) -> Tool | None:
    config = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
    offered = [tool for group in body.get("tools") or () for tool in group.get("functionDeclarations") or ()]
    return None if config.get("mode") == "NONE" else first_tool(offered, *SCHEMA_FIELDS)


def count_tokens(prompt: Prompt) -> bytes:
    """The answer of `:countTokens`."""
    read_tokens = count(prompt.text) + 85 * prompt.images
    details = [{"modality": "TEXT", "tokenCount": read_tokens}]
    return pretty({"totalTokens": read_tokens, "promptTokensDetails": details})


def embeddings(body: Mapping[str, Any], means: Mapping[str, str]) -> bytes:
    """The answer of `:batchEmbedContents`: one embedding for each request."""
    texts = ["".join(part["text"] for part in each["content"]["parts"]) for each in body["requests"]]
    return pretty(
        {
            "embeddings": [{"values": vector(means.get(text, text), None)} for text in texts],
            "usageMetadata": {"promptTokenCount": sum(map(count, texts))},
        }
    )


def document(prompt: Prompt, reply: LocalReply, _: int) -> bytes:
    """The whole answer."""
    parts = _signed(prompt, reply, _parts(reply, reply.text))
    if reply.tokens.reasoning:
        parts.insert(0, {"text": "The user wants help; be brief.", "thought": True})
    return pretty(_chunk(reply, parts, len(reply.pieces), _finish(reply)))


def events(prompt: Prompt, reply: LocalReply, _: int) -> Iterator[Event]:
    """The stream. Every chunk carries the usage so far; a function call is in one chunk."""
    pieces = (reply.text,) if reply.tool or reply.silent or reply.finish == "refusal" else reply.pieces
    for place, piece in enumerate(pieces, 1):
        last = place == len(pieces)
        written = len(reply.pieces) if last else place
        parts = _parts(reply, piece)
        parts = _signed(prompt, reply, parts) if last else parts
        chunk = _chunk(reply, parts, written, _finish(reply) if last else None)
        yield Event(data=b"data: " + compact(chunk) + b"\r\n\r\n", token=True)


def array(events: Sequence[Event]) -> bytes:
    """The chunks as one JSON array, for a stream without `alt=sse`."""
    return b"[" + b",\r\n".join(event.data[len(b"data: ") :].strip() for event in events) + b"]\r\n"


def failure(_: int) -> bytes:
    """The error that Gemini sends inside a stream."""
    return b"data: " + compact({"error": _error(503, "The model is overloaded.")}) + b"\r\n\r\n"


def _chunk(
    reply: LocalReply, parts: list[dict[str, Any]], written: int, finish: str | None
) -> dict[str, Any]:
    content = {"parts": parts, "role": "model"} if parts else {"role": "model"}
    candidate: dict[str, Any] = {"content": content, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    if reply.logprob is not None:
        chosen = [
            {"token": piece, "tokenId": place, "logProbability": reply.logprob}
            for place, piece in enumerate(reply.pieces)
        ]
        candidate |= {"avgLogprobs": reply.logprob, "logprobsResult": {"chosenCandidates": chosen}}
    blocked = reply.finish == "filter"
    return {
        **({"promptFeedback": BLOCKED} if blocked else {"candidates": [candidate]}),
        "usageMetadata": _usage(reply, written),
        "modelVersion": reply.model,
        "responseId": reply.id[:22],
    }


def _signed(prompt: Prompt, reply: LocalReply, parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The parts, the last with the thoughts' signature if the model reasoned."""
    if not (parts and reply.tokens.reasoning):
        return parts
    return [*parts[:-1], {**parts[-1], "thoughtSignature": sealed(prompt.account, reply.id)}]


def _finish(reply: LocalReply) -> str | None:
    if reply.finish == "tool" and not is_json(reply.text):
        return "MALFORMED_FUNCTION_CALL"
    return FINISH.get(reply.finish)


def _parts(reply: LocalReply, text: str) -> list[dict[str, Any]]:
    """The text or the call. Withheld text, a malformed call and silence have no parts."""
    if reply.silent or _finish(reply) in ("SAFETY", "MALFORMED_FUNCTION_CALL"):
        return []
    if not reply.tool:
        return [{"text": text}]
    arguments = msgspec.json.decode(text) if is_json(text) else {}  # `maxOutputTokens` cut them short
    return [{"functionCall": {"name": reply.tool, "args": arguments}}]


def _usage(reply: LocalReply, written: int) -> dict[str, Any]:
    """Gemini's count: candidates' tokens exclude thoughts, the prompt's tokens include cached ones."""
    tokens = reply.tokens
    counted = {
        "promptTokenCount": tokens.input,
        "candidatesTokenCount": written,
        "totalTokenCount": tokens.input + written + tokens.reasoning,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": tokens.input}],
    }
    if tokens.reasoning:
        counted["thoughtsTokenCount"] = tokens.reasoning
    if tokens.cached:
        counted["cachedContentTokenCount"] = tokens.cached
    return counted


GENERATE = LocalWire(
    dialect=GeminiDialect(),
    read=read,
    document=document,
    events=events,
    failure=failure,
    refuse_others=refuse_others_thoughts,
    stream_type="text/event-stream",
    json_type="application/json; charset=UTF-8",
)


def models(names: Sequence[str]) -> bytes:
    """The list of models, on one page."""
    return compact({"models": [{"name": f"models/{name}"} for name in names]})
