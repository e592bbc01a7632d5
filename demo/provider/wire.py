"""The interfaces of a wire API in the demo provider: reads requests, writes answers, streams and errors.

And state in answers that only its maker's account can read, as the vendors bind it, and their refusals:

| API       | state                                             | elsewhere                            |
|-----------|---------------------------------------------------|--------------------------------------|
| Responses | `encrypted_content` of a `reasoning` item         | 400 `invalid_encrypted_content`      |
| Responses | a stored response, named by the next request      | 400 `previous_response_not_found`    |
| Messages  | `signature` of a thinking block, redacted `data`  | 400 `invalid_request_error`          |
| Gemini    | `thoughtSignature` of a part                      | 400 `INVALID_ARGUMENT`               |

Such state is sealed with a hash of the caller's credential: no memory is needed to tell whose it is.
"""

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

import msgspec

from demo.provider.connection import Event, Headers, Request
from demo.provider.reply import LocalReply, Prompt


class RequestRefused(Exception):
    """The API refuses the request. `param` is the invalid body field, `code` OpenAI's error code."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code


class Dialect(Protocol):
    """A provider's conventions, common to all its operations."""

    def key(self, request: Request) -> str | None:
        """The caller's key."""
        ...

    def headers(self, draws: Random, spent_s: float) -> Headers:
        """The answer's headers: request id, processing time, limits, and those that CDNs add."""
        ...

    def error(self, refused: RequestRefused, request_id: str) -> bytes:
        """The error document."""
        ...


def _takes_all(account: str, body: Mapping[str, Any]) -> None:
    """For operations whose requests carry no state of an account."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalWire:
    """One generating operation of an API. `created` is UTC seconds; `failure` makes its in-stream error,
    given the number of events before; `refuse_others` refuses state of another account than the caller's."""

    dialect: Dialect
    read: Callable[[Request, Mapping[str, Any]], Prompt]
    document: Callable[[Prompt, LocalReply, int], bytes]
    events: Callable[[Prompt, LocalReply, int], Iterator[Event]]
    failure: Callable[[int], bytes]
    refuse_others: Callable[[str, Mapping[str, Any]], None] = _takes_all
    stream_type: str = "text/event-stream; charset=utf-8"
    json_type: str = "application/json"


def compact(value: object) -> bytes:
    """JSON without spaces, for streams."""
    return msgspec.json.encode(value)


def pretty(value: object) -> bytes:
    """JSON indented by two, the documents' format of OpenAI and Google."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def parse(body: bytes) -> dict[str, Any]:
    """The request's JSON object. Raises RequestRefused (400)."""
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, msgspec.ValidationError) as exc:
        raise RequestRefused(400, "We could not parse the JSON body of your request.") from exc


REDACT = "ANTHROPIC_MAGIC_STRING_TRIGGER_REDACTED_THINKING"
"""A prompt with this text gets its thinking redacted, as Anthropic's documented trigger does."""

_SEAL = 16


def sealed(account: str, text: str) -> str:
    """State that only `account`, a credential, can read."""
    nonce = hashlib.sha256(text.encode()).digest()[:_SEAL]
    return urlsafe_b64encode(nonce + _mark(account, nonce)).decode()


def readable(account: str, state: str) -> bool:
    """True when `account` made this state."""
    try:
        raw = urlsafe_b64decode(state)
    except (Error, ValueError):
        return False
    return len(raw) == 2 * _SEAL and raw[_SEAL:] == _mark(account, raw[:_SEAL])


def _mark(account: str, nonce: bytes) -> bytes:
    return hashlib.sha256(account.encode() + b"\0" + nonce).digest()[:_SEAL]


def refuse_others_reasoning(account: str, body: Mapping[str, Any]) -> None:
    """Refuse `reasoning` items of another account, in the words of OpenAI's Responses API."""
    given = body.get("input")
    for item in given if isinstance(given, list) else ():
        state = item.get("encrypted_content")
        if item.get("type") == "reasoning" and state and not readable(account, state):
            raise RequestRefused(
                400,
                f"The encrypted content {state[:4]}...{state[-4:]} could not be verified. "
                "Reason: Encrypted content could not be decrypted or parsed.",
                code="invalid_encrypted_content",
            )


def refuse_others_thinking(account: str, body: Mapping[str, Any]) -> None:
    """Refuse thinking blocks of another account, in the words of Anthropic's Messages API."""
    for place, block in _blocks(body):
        kind = str(block.get("type"))
        member = {"thinking": "signature", "redacted_thinking": "data"}.get(kind)
        if member and not readable(account, str(block.get(member))):
            raise RequestRefused(400, f"{place}: Invalid `{member}` in `{kind}` block")


def _blocks(body: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for nth, message in enumerate(body.get("messages") or ()):
        content = message.get("content")
        for mth, block in enumerate(content if isinstance(content, list) else ()):
            yield f"messages.{nth}.content.{mth}", block


def refuse_others_thoughts(account: str, body: Mapping[str, Any]) -> None:
    """Refuse thought signatures of another account, in the words of Gemini's API."""
    parts = [part for content in body.get("contents") or () for part in content.get("parts") or ()]
    for part in parts:
        state = part.get("thoughtSignature") or part.get("thought_signature")
        if state and not readable(account, str(state)):
            raise RequestRefused(400, "Thought signature is not valid.")
