"""Looks as the store keeps them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec

from records.store.reports import StoredLook
from report.look import Look, SeenRow

KeptLooks: TypeAlias = Mapping[tuple[str, int], Look]
"""Looks by metric and day of the plan."""

NO_LOOKS: KeptLooks = {}

_OPEN = {"low": "-inf", "high": "inf", "se": "inf"}


def to_store(looks: Sequence[Look]) -> list[StoredLook]:
    """The looks for the store. JSON has no infinite numbers: an open end is null."""
    return [
        StoredLook(metric=look.metric, day=look.day, at=look.at, document=_document(look)) for look in looks
    ]


def from_store(stored: Iterable[StoredLook]) -> KeptLooks:
    """The looks that `to_store` wrote."""
    return {(each.metric, each.day): _look(each) for each in stored}


def _document(look: Look) -> dict[str, Any]:
    seen = None if look.seen is None else msgspec.json.decode(msgspec.json.encode(look.seen))
    return {"units": look.units, "seen": seen}


def _look(stored: StoredLook) -> Look:
    document = stored.document
    seen = document["seen"]
    return Look(
        metric=stored.metric,
        day=stored.day,
        at=stored.at,
        units=document["units"],
        seen=None if seen is None else msgspec.convert(_opened(seen), SeenRow),
    )


def _opened(seen: Mapping[str, Any]) -> dict[str, Any]:
    """With infinite numbers for open ends."""
    return {
        name: _opened(value) if isinstance(value, dict) else _end(name, value) for name, value in seen.items()
    }


def _end(name: str, value: Any) -> Any:
    return float(_OPEN[name]) if value is None and name in _OPEN else value
