"""What a provider says when it refuses or fails, in the forms of the APIs, and without credentials."""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from common.text import UNREADABLE
from records.captures.redaction import SECRET, redacted
from records.outcome import ProviderError

_MESSAGE_BOUND, _WORD_BOUND = 200, 64
_READ_BOUND = 1000
"""Characters of a message that are redacted, of which the first _MESSAGE_BOUND are kept."""
_SHORTEST_KEY = 6

_QUOTED_KEY = re.compile(
    r"""
      \b(?:sk|pk|rk|gsk|hf|xai|pplx|nvapi|key|AIza)[-_.][\w*.…-]+     # also where the provider masks it
    | (?<!\S)\S*\*{3,}\S*
    | (?<=[Kk]ey[ ]provided:[ ])\S+
    """,
    re.VERBOSE,
)


class _Error(msgspec.Struct, gc=False):
    """An error's members: OpenAI's, Anthropic's, Gemini's (`status`), FastAPI's (`detail`), and Amazon's."""

    code: Any = None
    type: Any = None
    status: Any = None
    param: Any = None
    message: Any = None
    Message: Any = None
    detail: Any = None
    error: Any = None
    response: Any = None
    interaction: Any = None
    errors: Any = None


_decode = msgspec.json.Decoder(_Error).decode
_decode_list = msgspec.json.Decoder(list[_Error]).decode


def said(body: bytes, keys: Iterable[str] = (), *, type_in_head: bytes = b"") -> ProviderError | None:
    """Read an error's body or event; None when it says nothing in a known form.

    `keys` are the credentials that were sent, which are taken out of the message first. `type_in_head`: the
    header `x-amzn-errortype`, in which Amazon names the type and, after a colon, an address.
    """
    error = _parsed(body)
    if error is None:
        return None
    if error.type is None and type_in_head:
        error.type = type_in_head.partition(b":")[0].decode("latin-1")
    told = ProviderError(
        code=_word(error.code),
        type=_word(error.type if error.status is None or error.type is not None else error.status),
        param=_word(error.param),
        message=without_keys(_text(_first(error.message, error.Message, error.detail)), keys),
    )
    return told if told != ProviderError() else None


_GONE = re.compile(r"model_?not_?found|DeploymentNotFound|model_decommissioned", re.IGNORECASE)
_NOT_FOUND = re.compile(
    r"not_?found|^404\b|ResourceNotFoundException|ValidationException|invalid_request|^ $", re.IGNORECASE
)
_OF_MODEL = re.compile(
    r"""
      \b(?:model|deployment)\b .{0,200}? \b(?:not\ found | no\ longer | end\ of\ its\ life)
    | \b(?:model|deployment)\b .{0,200}? \bdoes(?:\ not|n't)\ exist
    | \b(?:model|deployment)\b .{0,200}? \bhas\ been\ (?:deprecated | decommissioned | retired)
    | \bmodel\ identifier\ is\ invalid | ^model:\ \S+$ | \bmodels/\S{1,200}\ is\ not\ found
    """,
    re.IGNORECASE | re.VERBOSE,
)


def lacks_model(body: bytes, *, type_in_head: bytes = b"") -> bool:
    """True when a refusal's body says that the provider has no such model, or not any more: OpenAI's
    `model_not_found`, Anthropic's `not_found_error`, Gemini's `NOT_FOUND`, Azure's `DeploymentNotFound`, and
    Bedrock's `ValidationException` and `ResourceNotFoundException` that name a model."""
    told = said(body, type_in_head=type_in_head)
    if told is None:
        return False
    kind = f"{told.code} {told.type}"
    return bool(_GONE.search(kind) or (_NOT_FOUND.search(kind) and _OF_MODEL.search(told.message)))


def _parsed(body: bytes) -> _Error | None:
    """The innermost error: members of `error`, of a failed response's `error`, of the first of a failed
    interaction's `errors`, or the object itself."""
    try:
        whole = _decode_list(body)[0] if body.lstrip()[:1] == b"[" else _decode(body)
        if isinstance(whole.interaction, dict):
            whole = msgspec.convert(whole.interaction, _Error)
        inner = whole.response.get("error") if isinstance(whole.response, dict) else whole.error
        if inner is None and isinstance(whole.errors, list):
            inner = whole.errors[0]
        if isinstance(inner, str):
            return _Error(message=inner, code=whole.code, type=whole.type)
        return msgspec.convert(inner, _Error) if isinstance(inner, dict) else whole
    except (*UNREADABLE, IndexError):
        return None


def without_keys(message: str, keys: Iterable[str]) -> str:
    """The first characters of a message, without credentials and personal data."""
    text = message[:_READ_BOUND]
    for key in keys:
        if len(key) >= _SHORTEST_KEY:
            text = text.replace(key, SECRET)
    text = redacted(_QUOTED_KEY.sub(SECRET, text))
    if len(message) > _READ_BOUND:
        text = text.rpartition(" ")[0]  # half a key has no form
    return text[:_MESSAGE_BOUND]


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _word(value: Any) -> str:
    """A code, type or parameter; "" for any other shape."""
    text = str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    return redacted(_QUOTED_KEY.sub(SECRET, text[:_READ_BOUND]))[:_WORD_BOUND]


def _text(value: Any) -> str:
    """A message: text, or the messages in FastAPI's list."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "; ".join([_text(one.get("msg")) for one in value if isinstance(one, dict)])
    return ""
