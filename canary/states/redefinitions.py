"""What a config must not change of canaries that have started. Pure: config and states in, words out."""

from collections.abc import Mapping

from canary.config import Config
from records.store import Versioned
from routing.canary import definition


def redefinitions(config: Config, states: Mapping[str, Versioned]) -> list[str]:
    """A sentence for each. Such a canary serves its baseline."""
    problems = []
    for name, wanted in config.canaries.items():
        known = states.get(name)
        if known is None:
            continue
        if known.state.state == "ended":
            problems.append(f"canary {name!r} has ended: give the next one a new name")
        elif known.state.definition != definition(wanted.canary):
            problems.append(
                f"canary {name!r} has started: its match, arms and unit rule cannot change; use a new name"
            )
    return problems
