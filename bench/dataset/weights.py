"""The traffic's weights of a dataset's categories: each one's share of the captured exchanges.

`canary dataset sample` takes rare categories whole, so a plain total of such a dataset counts them too much.
It writes `FILE.weights.json`: {"at": RFC 3339, "categories": {"refund": 0.04, …}}. "" is no category.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from bench.errors import BadWeights
from records.captures.capture import Capture, CaptureInfo

ENDING = ".weights.json"


def weights_file(dataset: Path) -> Path:
    """The file of weights beside a dataset."""
    return dataset.with_name(dataset.name + ENDING)


def shares(captures: Iterable[Capture]) -> dict[str, float]:
    """Each category's share of the exchanges that the captures stand for, in [0, 1]; {} without captures.

    One kept by the rate stands for 1 / rate exchanges, one kept for its category for itself (Horvitz and
    Thompson 1952): so the quota that makes rare categories frequent among captures is taken out again.
    """
    counts: dict[str, float] = {}
    for capture in captures:
        about = capture.about
        counts[about.category] = counts.get(about.category, 0.0) + _stands_for(about)
    total = sum(counts.values())
    return {category: counts[category] / total for category in sorted(counts)}


def are_capped(captures: Iterable[Capture]) -> bool:
    """True if a quota without a rate may have left out exchanges: then no share of traffic is known."""
    days: dict[tuple[str, int, str], int] = {}
    for about in (capture.about for capture in captures):
        if about.kept == "category" and not about.rate and about.per_category:
            key = (about.source, int(about.at // 86400), about.category)
            days[key] = days.get(key, 0) + 1
            if days[key] >= about.per_category:
                return True
    return False


def document(categories: Mapping[str, float], at: float) -> bytes:
    """The file's content; `at` in UTC seconds."""
    written = datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return (
        json.dumps({"at": written, "categories": categories}, ensure_ascii=False, indent=2).encode() + b"\n"
    )


def _stands_for(about: CaptureInfo) -> float:
    return 1.0 / about.rate if about.kept == "rate" and about.rate else 1.0


class TrafficWeights(msgspec.Struct, frozen=True, kw_only=True):
    """When the shares were taken (RFC 3339), and each category's share, in [0, 1]."""

    at: str
    categories: dict[str, float]


def weights_of(file: Path) -> TrafficWeights | None:
    """The weights beside a dataset's file; None without any. Raises BadWeights and OSError."""
    path = weights_file(file.resolve())
    try:
        found = msgspec.json.decode(path.read_bytes(), type=TrafficWeights)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as problem:
        raise BadWeights(f"{path}: {problem}") from problem
    if any(not 0 <= share <= 1 for share in found.categories.values()):
        raise BadWeights(f"{path}: a category's share of the traffic must be from 0 to 1")
    return found
