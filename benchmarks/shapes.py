"""The kinds of exchange whose cost is counted: the bytes of the request, and of each read of the answer."""

import json
from typing import Any, NamedTuple

from benchmarks.request import HEADERS, RequestDialect

CHUNKS = 20
_LONG_LIST = 30
_SENTENCE = "Your refund was approved and reaches you within three days. " * 8


class ExchangeShape(NamedTuple):
    """One kind of exchange. `answer`: the bytes of each read from the provider."""

    request: bytes
    answer: tuple[bytes, ...]


def _request(method: str = "POST", path: str = "", extra: tuple[str, ...] = (), **fields: Any) -> bytes:
    dialect = RequestDialect(path=path) if path else RequestDialect()
    body = dialect.body(**fields) if method == "POST" else b""
    length = [f"content-length: {len(body)}"] if body else []
    head = [f"{method} {dialect.path} HTTP/1.1", *HEADERS, *extra, *length, "", ""]
    return "\r\n".join(head).encode() + body


def _answer(body: bytes, extra: tuple[str, ...] = ()) -> bytes:
    fields = ["x-request-id: req_canned", "openai-processing-ms: 5", "content-type: application/json"]
    head = ["HTTP/1.1 200 OK", *fields, *extra, f"content-length: {len(body)}", "", ""]
    return "\r\n".join(head).encode() + body


def _chat() -> bytes:
    message = {"role": "assistant", "content": _SENTENCE, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return _json(object="chat.completion", choices=[choice], usage=_USAGE)


def _stream(chunks: int) -> tuple[bytes, ...]:
    """The head with the first event, an event a read, and the usage with the end."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": f"word{number:04} "} for number in range(chunks - 2)]
    events = [_event({"index": 0, "delta": delta, "finish_reason": None}) for delta in deltas]
    events.append(_event({"index": 0, "delta": {}, "finish_reason": "stop"}))
    usage = _chunk(_json(object="chat.completion.chunk", choices=[], usage=_USAGE))
    return (head + events[0], *events[1:], usage + _chunk(b"[DONE]") + b"0\r\n\r\n")


def _event(choice: dict[str, Any]) -> bytes:
    return _chunk(_json(object="chat.completion.chunk", choices=[choice], usage=None))


def _chunk(data: bytes) -> bytes:
    return b"%x\r\ndata: %b\n\n\r\n" % (len(data) + 8, data)


def _json(**members: Any) -> bytes:
    whole = {"id": "chatcmpl-canned", "created": 1732400000, "model": "gpt-4o-2024-08-06", **members}
    return json.dumps(whole, separators=(",", ":")).encode()


_USAGE = {"prompt_tokens": 120, "completion_tokens": 40, "total_tokens": 160}
_MANY = tuple(f"x-header-{number:02}: some value of a usual length" for number in range(_LONG_LIST))

PLAIN = ExchangeShape(_request(), (_answer(_chat()),))
"""By the baseline: the lone worker's secret keeps this user out of the cohort."""
SHAPES = {
    "chat": PLAIN,
    "chat of the candidate": ExchangeShape(_request(user="user-0027"), (_answer(_chat()),)),
    f"chat, {_LONG_LIST} more headers each way": ExchangeShape(
        _request(extra=_MANY), (_answer(_chat(), _MANY),)
    ),
    "chat of a model without a canary": ExchangeShape(_request(model="gpt-4o-mini"), (_answer(_chat()),)),
    "pass-through: GET /v1/models": ExchangeShape(_request("GET", "/v1/models"), (_answer(_json()),)),
    f"stream of {CHUNKS} chunks": ExchangeShape(_request(stream=True), _stream(CHUNKS)),
    f"stream of {2 * CHUNKS} chunks": ExchangeShape(_request(stream=True), _stream(2 * CHUNKS)),
}
