"""Which traffic workers live, and which plan each of them follows."""

from collections.abc import Mapping
from typing import Any

from control.events import WorkerEvents, WorkerKey
from records.outcome import Heartbeat

ALIVE_WITHIN_S = 2.0


class WorkerRegistry:
    """The workers' last signs of life."""

    def __init__(self) -> None:
        self._beats: dict[WorkerKey, Heartbeat] = {}

    def take(self, events: WorkerEvents) -> None:
        """Note who lives and who is gone."""
        for key, beat in events.beats:
            if beat.closing:
                self._beats.pop(key, None)
            else:
                self._beats[key] = beat
        for key, _ in events.deaths:
            self._beats.pop(key, None)

    def alive(self, now_mono: float) -> list[Heartbeat]:
        """Those that gave a sign of life just now."""
        oldest = now_mono - ALIVE_WITHIN_S
        self._beats = {key: beat for key, beat in self._beats.items() if beat.mono > oldest}
        return list(self._beats.values())

    def confirmed(self, version: int, now_mono: float) -> tuple[int, int]:
        """(workers that follow at least this version of the plan, workers alive)"""
        alive = self.alive(now_mono)
        return sum(beat.plan_version >= version for beat in alive), len(alive)

    def snapshot(self) -> Mapping[str, Any]:
        """Nothing: signs of life do not keep."""
        return {}

    def restore(self, document: Mapping[str, Any], *, new_boot: float | None) -> None:
        """Nothing to restore."""
