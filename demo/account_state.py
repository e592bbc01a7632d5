"""State in answers that only its maker's account can read, as the vendors bind it, and their refusals.

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
from collections.abc import Iterator, Mapping
from typing import Any

from demo.wire import RequestRefused

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
