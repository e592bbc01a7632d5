"""The payloads of version 0.1 in a spool: JSON, an object with one key, for example {"outcome": …}."""

from collections.abc import Callable

import msgspec
from msgspec.structs import asdict

from records.outcome import Feedback, Heartbeat, InFlight, Outcome, Record, Usage


class _NamedUsage(Usage, frozen=True, array_like=False):
    """With its fields' names."""


class _NamedOutcome(Outcome, frozen=True, array_like=False):
    """With its fields' names."""

    usage: _NamedUsage = _NamedUsage()


_NAMED = msgspec.json.Decoder(_NamedOutcome).decode


def _outcome(data: bytes) -> Outcome:
    named = _NAMED(data)
    return Outcome(**{**asdict(named), "usage": Usage(**asdict(named.usage))})


_DECODERS: dict[bytes, Callable[[bytes], Record]] = {
    b'{"outcome"': _outcome,
    b'{"heartbeat"': msgspec.json.Decoder(Heartbeat).decode,
    b'{"feedback"': msgspec.json.Decoder(Feedback).decode,
    b'{"in_flight"': msgspec.json.Decoder(InFlight).decode,
}


def decode_old(payload: bytes) -> Record | None:
    """Decode a payload; None for an unknown kind. Raises msgspec.DecodeError and UnicodeDecodeError."""
    opening, _, rest = payload.partition(b":")
    decode = _DECODERS.get(opening)
    return None if decode is None else decode(rest[:-1])
