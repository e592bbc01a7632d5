"""How an arm's request differs from the caller's: members renamed, removed, set or given a default."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

_FEW = 80
"""Characters; longer changes are named by their fingerprint."""

Members = Sequence[tuple[str, str]]
"""Pairs of a member's name, and its new name or its value as JSON text. A name is top-level, or has one dot
for a member one level down (`generationConfig.temperature`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestChanges:
    """The changes, applied in this order. All other bytes of the request stay as they came.

    `rename`: (name, new name). `remove`: names. `set`, `default`: (name, JSON text); a default only applies
    where the member is missing. False when there are none.
    """

    rename: Members = ()
    remove: Sequence[str] = ()
    set: Members = ()
    default: Members = ()

    def __post_init__(self) -> None:
        for name in ("rename", "remove", "set", "default"):  # equal to themselves when read from JSON
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def __bool__(self) -> bool:
        return bool(self.rename or self.remove or self.set or self.default)

    def concerns(self, name: str) -> bool:
        """True when the changes may rename, remove, set or give this member."""
        renamed = [each for pair in self.rename for each in pair]
        given = [each for each, _ in (*self.set, *self.default)]
        return name in (*renamed, *self.remove, *given)

    @property
    def parts(self) -> tuple[object, ...]:
        """What a fingerprint needs: plain values, independent of the order in the file."""
        return sorted(self.rename), sorted(self.remove), sorted(self.set), sorted(self.default)

    @property
    def words(self) -> str:
        """The changes in a few words, which tell two arms of one model apart; "" for none: low effort."""
        found = [
            *(_given(name, json.loads(value)) for name, value in sorted(self.set)),
            *(f"{_given(name, json.loads(value))} by default" for name, value in sorted(self.default)),
            *(f"without {name}" for name in sorted(self.remove)),
            *(f"{name} as {new}" for name, new in sorted(self.rename)),
        ]
        text = ", ".join(found)
        return text if len(text) <= _FEW else f"request {sha256(repr(self.parts).encode()).hexdigest()[:8]}"

    def document(self) -> Mapping[str, Any]:
        """The changes as in the config file; empty when there are none."""
        parts = {
            "rename": dict(self.rename),
            "remove": list(self.remove),
            "set": {name: json.loads(value) for name, value in self.set},
            "default": {name: json.loads(value) for name, value in self.default},
        }
        return {key: part for key, part in parts.items() if part}


def _given(name: str, value: Any) -> str:
    """low effort; temperature 0."""
    if name.endswith("effort") and isinstance(value, str):
        return f"{value} effort"
    return f"{name} {value if isinstance(value, str) else json.dumps(value)}"


NO_CHANGES = RequestChanges()
