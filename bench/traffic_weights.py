"""The traffic's weights of a dataset's categories: each one's share of the captured exchanges.

`canary dataset sample` takes rare categories whole, so the plain total of such a dataset counts them too
much. It writes each category's share of the captured exchanges into `FILE.weights.json`.
"""

from pathlib import Path

import msgspec

from bench.errors import BadWeights
from bench.weights import weights_file


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
