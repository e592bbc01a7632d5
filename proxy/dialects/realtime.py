"""OpenAI's realtime sessions: a GET that asks for a WebSocket and has the model in its query. Their events
are read in `proxy/realtime`."""

import re
from urllib.parse import unquote_plus

from proxy.dialects.operation import Operation

PATH = "/realtime"
REALTIME = Operation(name="realtime", model_in="query", streams=True)

_MODEL = re.compile(rb"(^|&)model=[^&]*")
_CALLERS = (b"openai-insecure-api-key.", b"openai-organization.", b"openai-project.")
"""Subprotocols that are no protocols: how a browser, which can set no header, sends its key and account."""


def parameter(query: bytes, name: str) -> str:
    """A parameter's first value, decoded; "" without one."""
    wanted = name.encode()
    parts = (part.partition(b"=") for part in query.split(b"&"))
    return next((unquote_plus(value.decode("latin-1")) for each, _, value in parts if each == wanted), "")


def with_model(query: bytes, model: bytes) -> bytes:
    """The query with another model, `model` as it stands in a URL; every other byte stays."""
    return _MODEL.sub(lambda place: place[1] + b"model=" + model, query)


def without_credentials(protocols: bytes) -> bytes:
    """A `Sec-WebSocket-Protocol` value without the caller's key and account; b"" when nothing is left."""
    kept = (each.strip() for each in protocols.split(b","))
    return b", ".join(each for each in kept if each and not each.startswith(_CALLERS))
