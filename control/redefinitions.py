"""What the config must not change of a canary that has started. Pure."""

from collections.abc import Mapping

from control.settings import CanarySettings
from records.store import Versioned
from routing.canary import definition


def redefinitions(canaries: Mapping[str, CanarySettings], states: Mapping[str, Versioned]) -> list[str]:
    """A sentence for each. Such a canary serves its baseline."""
    problems = []
    for name, wanted in canaries.items():
        known = states.get(name)
        if known is None:
            continue
        if known.state.state == "ended":
            problems.append(f"canary {name!r} has ended: give the next one a new name")
        elif known.state.state != "waiting" and known.state.definition != definition(wanted.canary):
            problems.append(
                f"canary {name!r} has started: its match, arms and unit rule cannot change; use a new name"
            )
    return problems
