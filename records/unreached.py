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


def sentence(found: Mapping[str, int], of: int) -> str:
    """How many there are of the candidate's `of` exchanges, and why. `found` counts by error type; "" below
    1 %."""
    number = sum(found.values())
    if number == 0 or number < _WORTH_SAYING * of:
        return ""
    reasons = sorted(found, key=lambda name: -found[name])
    why = "; ".join(_WHY.get(name, name.replace("_", " ")) for name in reasons)
    return (
        f"{number:,} of {of:,} of the candidate's exchanges were answered by the baseline or not at all: "
        f"{why}. They say nothing about the candidate."
    )
