"""What providers say, as bytes: documents and events of each API with the oddities that must survive."""

import json
from typing import Any

TEXT = "Grüße aus Zürich 🙂"
IMAGE = "data:image/png;base64," + "iVBORw0KGgo" * 3000

CHAT = (
    b'{\n  "id": "chatcmpl-1",\t"object" : "chat.completion", "created":1.7e9, "big": 12345678901234567890,\n'
    b'  "choices": [ {"index": 0, "message": {"role":"assistant", "content": "Z\\u00fcrich \xf0\x9f\x99\x82'
    b' \\/ \\ud83d\\ude42", "content": "said twice"}, "finish_reason": "stop" } ],\r\n'
    b'  "usage": {"prompt_tokens":9,"completion_tokens":12,"total_tokens":21},'
    b' "x-unknown": [1.10, -0, 1e+2]\n}\n\n'
)
COMPLETION = (
    b'{"object":"text_completion","choices":[{"text":"hi","index":0,"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":1,"completion_tokens":2}}'
)
EMBEDDING = (
    b'{"object":"list","data":[{"index":0,"embedding":[0.1, 1.0, -0.0, 1E-7, 1e-07, 0.30000000000000004,'
    b" 123456789012345680000, 5e-324, 0.10000000149011612, 1.00]}],"
    b'"usage":{"prompt_tokens":8,"total_tokens":8}}'
)
EMBEDDING_BASE64 = (
    b'{"data":[{"embedding":"zczMPQAAgD8=\\/\\u002b=="}],"usage":{"prompt_tokens":8,"total_tokens":8}}'
)
CHAT_TOOLS = (
    b'{"choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":'
    b'"function","function":{"name":"weather",'
    b'"arguments":"{\\"city\\": \\"Z\\u00fcrich\\",\\n \\"days\\": 3 }"}}]},'
    b'"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":9,"completion_tokens":4}}'
)
CHAT_IMAGE = json.dumps(
    {
        "choices": [{"message": {"images": [{"image_url": {"url": IMAGE}}]}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 4},
    }
).encode()
MESSAGE = (
    b'{"type": "message", "content": [{"type":"text","text":"caf\\u00e9"},'
    b' {"type":"tool_use","input":{"a": 1.0}}],'
    b' "usage": {"input_tokens": 3, "cache_read_input_tokens": 2, "output_tokens": 5}}'
)
GENERATED = (
    b'{\n "candidates": [\n  {"content": {"parts": [{"text": "hi"}, {"inlineData": {"data": "AAE="}}]},'
    b' "finishReason": "STOP"}\n ],\n'
    b' "usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 6}\n}\n'
)
RESPONSE = (
    b'{"object":"response","output":[{"type":"message","content":[{"type":"output_text","text":"hi"}]}],'
    b'"usage":{"input_tokens":4,"output_tokens":6}}'
)
FAILED_IN_200 = b'{"error": {"message": "the model fell over", "type": "server_error"}}'


def compact(document: Any) -> bytes:
    """JSON without spaces, non-ASCII as it is: as providers write events."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def event(document: Any, name: str = "") -> bytes:
    """One SSE event."""
    return (f"event: {name}\n".encode() if name else b"") + b"data: " + compact(document) + b"\n\n"


def chunk(delta: Any, *, index: int = 0, finish: str | None = None, **more: Any) -> bytes:
    """One event of a chat stream."""
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return event({"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [choice], **more})


ROLE = chunk({"role": "assistant", "content": ""})
HELLO = chunk({"content": "Grüße aus "})
ZURICH = chunk({"content": "Zürich 🙂"})
STOP = chunk({}, finish="stop")
USAGE = event({"id": "chatcmpl-1", "choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 12}})
DONE = b"data: [DONE]\n\n"
TALK = (ROLE, HELLO, ZURICH, STOP, USAGE, DONE)
FINISH = b'"finish_reason":"stop"'
ERROR = event({"error": {"message": "the model fell over", "type": "server_error", "code": None}})


def tool_delta(arguments: str, name: str | None = None) -> bytes:
    """A piece of a tool call."""
    call: dict[str, Any] = {"index": 0, "function": {"arguments": arguments}}
    if name:
        call |= {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}
    return chunk({"tool_calls": [call]})


TOOLS = (
    ROLE,
    tool_delta("", "weather"),
    tool_delta('{"city": "Zü'),
    tool_delta('rich"}'),
    chunk({}, finish="tool_calls"),
    USAGE,
    DONE,
)


def message_event(kind: str, **more: Any) -> bytes:
    """One event of Anthropic's messages or OpenAI's responses, whose names stand in both places."""
    return event({"type": kind, **more}, kind)


MESSAGE_START = message_event("message_start", message={"usage": {"input_tokens": 3, "output_tokens": 1}})
PING = message_event("ping")
MESSAGE_TEXT = message_event("content_block_delta", index=0, delta={"type": "text_delta", "text": TEXT})
MESSAGES = (
    MESSAGE_START,
    message_event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    PING,
    MESSAGE_TEXT,
    message_event("content_block_stop", index=0),
    message_event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 15}),
    message_event("message_stop"),
)
THOUGHTS = (
    MESSAGE_START,
    message_event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "Hm … 思考"}),
    message_event("content_block_delta", index=0, delta={"type": "signature_delta", "signature": "EqQB+/=="}),
    message_event(
        "content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": '{"city": '}
    ),
    message_event("message_delta", delta={"stop_reason": "tool_use"}, usage={"output_tokens": 15}),
    message_event("message_stop"),
)
MESSAGES_ERROR = message_event("error", error={"type": "overloaded_error", "message": "Overloaded"})

RESPONSES = (
    message_event("response.created", response={"id": "resp_1", "usage": None}),
    message_event("response.output_text.delta", delta=TEXT, sequence_number=1),
    message_event("response.output_text.done", text=TEXT),
    message_event("response.completed", response={"usage": {"input_tokens": 4, "output_tokens": 6}}),
)
RESPONSES_FAILED = message_event("response.failed", response={"error": {"code": "server_error"}})


def generated(text: str, finish: str | None = None) -> dict[str, Any]:
    """One answer of Gemini's stream."""
    candidate: dict[str, Any] = {"content": {"parts": [{"text": text}], "role": "model"}}
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "usageMetadata": {"promptTokenCount": 4, "candidatesTokenCount": 6}}


GENERATE_EVENTS = tuple(
    b"data: " + json.dumps(each).encode() + b"\r\n\r\n"
    for each in (generated("Gr"), generated("üße"), generated(" 🙂", "STOP"))
)
GENERATE_ERROR = b'data: {"error": {"code": 503, "status": "UNAVAILABLE"}}\r\n\r\n'
GENERATE_ARRAY = (
    b"[" + json.dumps(generated("Gr"), indent=2).encode(),
    b"\n,\r\n" + json.dumps(generated("üße"), indent=2).encode(),
    b"\n,\r\n" + json.dumps(generated("", "STOP"), indent=2).encode() + b"\n]\n",
)
