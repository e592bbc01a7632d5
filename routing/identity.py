"""Who sends a request: the unit and the session in a text that an app or a coding agent gives.

Coding agents name a user and a session in one text, of two forms:

    user_HASH_account_UUID_session_UUID                   the account may be empty
    {"device_id": …, "account_uuid": …, "session_id": …}  JSON text

The unit is what stays from session to session: the account, else the device, else HASH. Any other text is
the unit as it stands. `docs/units.json` pins all forms.
"""

import re

import msgspec

_UUID = "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_UUID_ANYWHERE = re.compile(_UUID)
_FORM = re.compile(f"user_([0-9A-Za-z]+)_account_({_UUID})?_session_({_UUID})?")

AGENT = ("{", "user_")
"""How the text of a coding agent begins."""

LONGEST_AGENT = 2048
"""Characters of an agent's text. Its forms have less than 250."""

LONGEST_SESSION = 256
_CONTROL = re.compile("[\0-\x1f\x7f-\x9f]")


_UNMISTAKABLE_RUN, _DIGITS = re.compile("[0-9A-Za-z]{16,}"), re.compile("[0-9]")
_LEAST_DIGITS = 3
_MIXED_RUN = re.compile("[0-9A-Za-z_+/-]{20,}")
_PIECE, _CHUNK = re.compile("[0-9A-Za-z]+"), re.compile("[A-Z]?[a-z]+|[A-Z]+|[0-9]+")
_LEAST_TURNS, _LONGEST_CHUNK = 6, 3.2
"""Of nanoids of 21 characters 97.8 % turn so often, and in chunks of 3.2 characters at most on average; words
and dates joined by - or _ do not (`tests/routing/test_identity.py`)."""


def is_unmistakable(session: str) -> bool:
    """True for an id that two users cannot have by chance: it has a UUID, or 16 letters and digits in a row
    with at least three digits among them, or is drawn from more characters, as a nanoid is. "1", "chat-42"
    and "support-2026-12-04" are each user's own."""
    if _UUID_ANYWHERE.search(session):
        return True
    runs = _UNMISTAKABLE_RUN.findall(session)
    if any(len(_DIGITS.findall(run)) >= _LEAST_DIGITS for run in runs):
        return True
    return any(_is_drawn(run) for run in _MIXED_RUN.findall(session))


def _is_drawn(run: str) -> bool:
    """True for characters that turn between small and capital letters and digits too often, within what
    stands between - _ + and /, to be words, numbers and dates."""
    pieces = _PIECE.findall(run)
    chunks = sum(len(_CHUNK.findall(piece)) for piece in pieces)
    return chunks - len(pieces) >= _LEAST_TURNS and sum(map(len, pieces)) <= _LONGEST_CHUNK * chunks


class _Agent(msgspec.Struct):
    device_id: str | None = None
    account_uuid: str | None = None
    session_id: str | None = None


_decode = msgspec.json.Decoder(_Agent).decode


def unit_and_session(text: str) -> tuple[str, str]:
    """Return the unit of a text, and the session that a coding agent's text has; "" for none of it."""
    if not text.startswith(AGENT) or len(text) >= LONGEST_AGENT:
        return text, ""
    if text[0] == "{":
        return _of_json(text)
    if found := _FORM.fullmatch(text):
        device, account, session = found.groups("")
        return account or device, session
    return text, ""


def unit_of(text: str) -> str:
    """Return the unit that a text names, wherever it stands: in a request, in feedback, in a command."""
    return unit_and_session(text.strip())[0]


def session_of(text: str) -> str:
    """Return the session that a text names; "" where it is no session: too long, or not printable."""
    text = text.strip()
    return "" if len(text) > LONGEST_SESSION or _CONTROL.search(text) else text


def _of_json(text: str) -> tuple[str, str]:
    """A JSON text that has none of an agent's members is a unit like any other text."""
    try:
        agent = _decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return text, ""
    if agent == _Agent():
        return text, ""
    unit = (agent.account_uuid or "").strip() or (agent.device_id or "").strip()
    return unit, session_of(agent.session_id or "")
