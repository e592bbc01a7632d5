"""What the fault provider's models say: every byte of an answer tells whose it is."""

import json
from collections.abc import Sequence

from tests.reliability.fault_provider import Play, Seen

DONE = b"data: [DONE]\n\n"
SSE = b"content-type: text/event-stream\r\n"
JSON = b"content-type: application/json\r\n"


def document(model: str, *, words: str = "hello") -> bytes:
    """A chat completion that names its model in each text."""
    message = {"role": "assistant", "content": f"{words} of {model}"}
    return json.dumps(
        {
            "id": f"chatcmpl-{model}",
            "object": "chat.completion",
            "model": model,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
        }
    ).encode()


def event(model: str, delta: dict[str, str], finish: str | None = None) -> bytes:
    """One event of a chat completion's stream."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    chunk = {
        "id": f"chatcmpl-{model}",
        "object": "chat.completion.chunk",
        "model": model,
        "choices": [choice],
    }
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def events(model: str, words: int = 8) -> list[bytes]:
    """A whole stream: the role, the words, the end."""
    texts = [event(model, {"content": f"{number} of {model} "}) for number in range(words)]
    return [event(model, {"role": "assistant"}), *texts, event(model, {}, "stop"), DONE]


def head(status: int = 200, fields: bytes = b"", *, length: int | None = None) -> bytes:
    """A response's head; `length` None means chunks."""
    framing = b"transfer-encoding: chunked" if length is None else b"content-length: %d" % length
    return b"HTTP/1.1 %d Whatever\r\n%b%b\r\n\r\n" % (status, fields, framing)


def chunk(data: bytes) -> bytes:
    """One chunk; the empty one ends the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def whole(body: bytes, status: int = 200, fields: bytes = JSON) -> bytes:
    """A response of known length."""
    return head(status, fields, length=len(body)) + body


def stream(parts: Sequence[bytes]) -> bytes:
    """A whole stream in one write."""
    return head(200, SSE) + b"".join(map(chunk, parts)) + chunk(b"")


def streams(seen: Seen) -> bool:
    """True when the request asks for a stream."""
    return b'"stream": true' in seen.message.body or b'"stream":true' in seen.message.body


async def answer(seen: Seen) -> None:
    """The play of a provider that is well: the document or the stream of the model asked for."""
    model = seen.model
    seen.write(stream(events(model)) if streams(seen) else whole(document(model)))


def saying(response: bytes) -> Play:
    """The same bytes to every request."""

    async def play(seen: Seen) -> None:
        seen.write(response)

    return play


async def hang(seen: Seen) -> None:
    """Not a byte until the proxy leaves."""
    await seen.left.wait()


async def reset(seen: Seen) -> None:
    """RST before the first byte."""
    seen.reset()
