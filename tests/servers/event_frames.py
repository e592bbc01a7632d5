"""Writes Amazon's event stream frames, as Bedrock does."""

import base64
import json
import struct
from binascii import crc32
from typing import Any


def header(name: str, value: str) -> bytes:
    """One header whose value is text."""
    text = value.encode()
    return bytes([len(name)]) + name.encode() + b"\x07" + struct.pack("!H", len(text)) + text


def frame(headers: bytes, payload: bytes) -> bytes:
    """One frame, with the checksums of its prelude and of itself."""
    prelude = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    body = prelude + struct.pack("!I", crc32(prelude)) + headers + payload
    return body + struct.pack("!I", crc32(body))


def event(name: str, payload: Any) -> bytes:
    """A frame of an event with a JSON payload."""
    headers = (
        header(":event-type", name)
        + header(":content-type", "application/json")
        + header(":message-type", "event")
    )
    return frame(headers, json.dumps(payload).encode())


def chunk(payload: Any) -> bytes:
    """A frame of InvokeModelWithResponseStream, padded as Bedrock pads it."""
    text = base64.b64encode(json.dumps(payload).encode()).decode()
    return event("chunk", {"bytes": text, "p": "abcdefghijk"})


def exception(name: str, message: str, **more: Any) -> bytes:
    """A frame of an exception, which ends a stream."""
    headers = (
        header(":exception-type", name)
        + header(":content-type", "application/json")
        + header(":message-type", "exception")
    )
    return frame(headers, json.dumps({"message": message, **more}).encode())


def error(code: str, message: str) -> bytes:
    """A frame of an error that the service's model does not know, all of it in headers."""
    return frame(
        header(":error-code", code) + header(":error-message", message) + header(":message-type", "error"),
        b"",
    )
