"""What the config must not change of a canary that has started. Pure."""

from collections.abc import Mapping

from control.settings import CanarySettings
from records.store import Versioned
from routing.canary import Canary, definition
from routing.lanes import Allotment, allot
from routing.plan import State


def redefinitions(canaries: Mapping[str, CanarySettings], states: Mapping[str, Versioned]) -> list[str]:
    """A sentence for each. Such a canary serves its baseline."""
    known = [(each.canary, states[name].state) for name, each in canaries.items() if name in states]
    found = [redefinition(canary, state) for canary, state in known]
    return [each for each in found if each is not None]


def laneless(canaries: Mapping[str, CanarySettings], states: Mapping[str, Versioned]) -> Mapping[str, str]:
    """A sentence for each canary that must not start, because no lane is left for it, by name."""
    return allotment(canaries, states).refused


def unready(canaries: Mapping[str, CanarySettings], states: Mapping[str, Versioned]) -> Mapping[str, str]:
    """As `laneless`, with the waiting canaries that have not been given their lane yet."""
    cut = allotment(canaries, states)
    waiting = {name: lane for name, lane in cut.lanes.items() if name in states}
    late = [name for name, lane in waiting.items() if states[name].state.lane != lane]
    return {
        name: f"canary {name!r} is given its lane at this moment: try again" for name in late
    } | cut.refused


def allotment(canaries: Mapping[str, CanarySettings], states: Mapping[str, Versioned]) -> Allotment:
    """The lanes of the canaries that wait or are new in the config."""
    return allot(
        [each.canary for each in canaries.values()], {name: each.state for name, each in states.items()}
    )


def redefinition(canary: Canary, state: State | None) -> str | None:
    """The sentence for this canary of the config; None if it has not started, or is what started.

    Without "; ", which separates problems in `/readyz`.
    """
    if state is None or state.state == "waiting":
        return None
    if state.state == "ended":
        return f"canary {canary.name!r} has ended: give the next one a new name"
    if state.definition == definition(canary):
        return None
    whom = "everybody" if state.lane is None else "all users of its lane"
    return (
        f"canary {canary.name!r} is not the one that started: its match, arms, request changes, unit rule or "
        "lane differ in the file (`lane:` added after the start counts too). Its baseline serves "
        f"{whom}. Revert the change, or use a new name"
    )


def refusal(order: str, canary: Canary, state: State) -> str | None:
    """Why the order is refused; None if it is not. No order may give users a candidate that no worker serves.

    `rollback` and `pause` are never refused: neither raises the exposure, now or when the file is as it was.
    """
    if order in ("rollback", "pause"):
        return None
    if state.state == "waiting" and state.definition != definition(canary):
        return f"{order} is refused: canary {canary.name!r} changed in the file a moment ago: order it again"
    problem = redefinition(canary, state)
    return f"{order} is refused: {problem}" if problem is not None and state.state != "ended" else None
