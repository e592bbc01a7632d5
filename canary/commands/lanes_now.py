"""What a config's store knows of its canaries: their lanes, else those of the file, and their traffic."""

import os
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from canary.commands.shell import say
from canary.config import Config
from canary.config.data_folder import data_folder

if TYPE_CHECKING:
    from control.settings import CanarySettings
    from records.store import Versioned
    from verdict.planner.recorded import Recorded
    from verdict.terms.judged_canary import JudgedCanary


@dataclass(frozen=True, slots=True, kw_only=True)
class LanesNow:
    """`sizes` has each canary's part of the units, in [0, 1], but for one alone that has no lane. `refused`
    says why a canary's candidate serves nobody, by name. Without `known`, no state could be read: the sizes
    are those of canaries that have not started."""

    sizes: Mapping[str, float]
    refused: Mapping[str, str]
    known: bool

    def of(self, read: Config, name: str) -> float:
        """The part of its requests' users that a canary has, or would have; of one that is refused, by the
        file alone."""
        return (read.lanes if name in self.refused else self.sizes).get(name, 1.0)


def lanes_now(read: Config, data: Path) -> LanesNow:
    """The lanes as the server with this data folder has them, or would cut them. Creates nothing."""
    states = None if not data.is_dir() else _states(read, data)
    return LanesNow(sizes=read.lanes, refused={}, known=False) if states is None else _by(states, read)


def recorded_traffic(
    read: Config, data: Path, lanes: LanesNow, known: "CanarySettings", judged: "JudgedCanary"
) -> "Recorded | None":
    """What the store has of the canary's traffic; None, said on stderr, if it does not answer. Creates no
    file."""
    from canary.config.store import open_store
    from records.errors import StoreDown
    from verdict.planner.prospects import recorded_of

    if read.store.startswith("sqlite:") and not lanes.known:
        return None
    lane = lanes.of(read, known.canary.name)
    try:
        with closing(open_store(read, data)) as store:
            return recorded_of(store, known.canary, judged, lane)
    except StoreDown as problem:
        say(f"{problem}; planning without recorded traffic")
        return None


def _by(states: "Mapping[str, Versioned]", read: Config) -> LanesNow:
    from control.states.rollouts import allotment, redefinition

    held = {name: each if name in read.canaries else _left(each) for name, each in states.items()}
    cut, sizes = allotment(read.canaries, held), dict.fromkeys(read.lanes, 1.0)
    refused = dict(cut.refused)
    for name, wanted in read.canaries.items():
        state = held[name].state if name in held else None
        lane = cut.lanes.get(name) if state is None or state.state == "waiting" else state.lane
        if lane is not None:
            sizes[name] = lane.part
        if problem := redefinition(wanted.canary, state):
            refused[name] = problem
        if name in cut.refused or (state is not None and state.state == "ended"):
            sizes[name] = 0.0
    return LanesNow(sizes=sizes, refused=refused, known=True)


def _left(stored: "Versioned") -> "Versioned":
    """A canary that is no longer in the file, as the server takes it: ended."""
    return replace(stored, state=replace(stored.state, state="ended"))


def data_of(config: Path) -> Path:
    """The data folder for a command without `--data`."""
    given = os.environ.get("CANARY_DATA")
    return Path(given) if given else data_folder(config, os.environ)


def _states(read: Config, data: Path) -> "Mapping[str, Versioned] | None":
    """The states in the store; None, said on stderr if it does not answer."""
    from records.errors import StoreDown
    from records.store.store import states_at

    try:
        return states_at(read.store, data)
    except StoreDown as problem:
        say(f"{problem}; going on without the canaries' states")
        return None
