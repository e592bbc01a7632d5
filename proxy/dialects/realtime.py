"""OpenAI's realtime sessions: a GET that asks for a WebSocket, with the model in its query.

`proxy/realtime` reads their events.
"""

import re
from urllib.parse import unquote_plus

from proxy.dialects.operation import Operation

PATH = "/realtime"
REALTIME = Operation(name="realtime", model_in="query", streams=True)

_MODEL = re.compile(rb"(^|&)model=[^&]*")
_KEY = b"openai-insecure-api-key."
_CALLERS = (_KEY, b"openai-organization.", b"openai-project.")
"""Pseudo-subprotocols with which browsers, which cannot set headers, send their key and account."""


def parameter(query: bytes, name: str) -> str:
    """A parameter's first value, decoded; "" without one."""
    wanted = name.encode()
    parts = (part.partition(b"=") for part in query.split(b"&"))
    return next((unquote_plus(value.decode("latin-1")) for each, _, value in parts if each == wanted), "")


def with_model(query: bytes, model: bytes) -> bytes:
    """Replace the model in the query by `model`, already percent-encoded; every other byte stays."""
    return _MODEL.sub(lambda place: place[1] + b"model=" + model, query)


def key_among(protocols: bytes) -> bytes:
    """The caller's key in a `Sec-WebSocket-Protocol` value; b"" without one."""
    names = (name.strip() for name in protocols.split(b","))
    return next((name[len(_KEY) :] for name in names if name.startswith(_KEY)), b"")


def without_credentials(protocols: bytes) -> bytes:
    """Remove the caller's key and account from a `Sec-WebSocket-Protocol` value; b"" when nothing is left."""
    names = (name.strip() for name in protocols.split(b","))
    return b", ".join(name for name in names if name and not name.startswith(_CALLERS))
