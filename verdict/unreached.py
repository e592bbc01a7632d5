"""The candidate's exchanges that did not reach it though it is not to blame, in words: no evidence. Pure."""

from collections.abc import Mapping

_WHY = {
    "proxy_no_credential": "no credential for the provider entry",
    "proxy_full": "too many requests were in flight to the candidate",
    "proxy_no_descriptors": "canary had no file descriptor left",
}
_WORTH_SAYING, _MOST = 0.01, 0.5


def too_many(found: Mapping[str, int], of: int) -> bool:
    """True for more than half of the candidate's `of` exchanges: no verdict can rest on the others."""
    return sum(found.values()) > _MOST * of


def worth_telling(found: Mapping[str, int], of: int) -> bool:
    """True from 1 % of the candidate's `of` exchanges on."""
    number = sum(found.values())
    return number > 0 and number >= _WORTH_SAYING * of


def sentence(found: Mapping[str, int], of: int) -> str:
    """How many there are of the candidate's `of` exchanges, and why. `found` counts by error type; "" below
    1 %."""
    if not worth_telling(found, of):
        return ""
    reasons = sorted(found, key=lambda name: -found[name])
    why = "; ".join(_WHY.get(name, name.replace("_", " ")) for name in reasons)
    return (
        f"{sum(found.values()):,} of {of:,} of the candidate's exchanges were answered by the baseline or "
        f"not at all: {why}. They say nothing about the candidate."
    )
