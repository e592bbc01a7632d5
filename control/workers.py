"""Which traffic workers are alive, and which plan each of them follows."""

from control.events import WorkerEvents, WorkerKey
from records.outcome import Heartbeat

ALIVE_WITHIN_S = 2.0


class WorkerRegistry:
    """The workers' last heartbeats."""

    def __init__(self) -> None:
        self._beats: dict[WorkerKey, Heartbeat] = {}

    def take(self, events: WorkerEvents) -> None:
        """Note heartbeats and exits."""
        for key, beat in events.beats:
            if beat.closing:
                self._beats.pop(key, None)
            else:
                self._beats[key] = beat
        for key, _ in events.deaths:
            self._beats.pop(key, None)

    def alive(self, now_mono: float) -> list[Heartbeat]:
        """The last heartbeats of the workers that are alive."""
        oldest = now_mono - ALIVE_WITHIN_S
        self._beats = {key: beat for key, beat in self._beats.items() if beat.mono > oldest}
        return list(self._beats.values())

    def confirmed(self, version: int, now_mono: float) -> tuple[int, int]:
        """(workers that follow at least this version of the plan, workers alive)"""
        alive = self.alive(now_mono)
        return sum(beat.plan_version >= version for beat in alive), len(alive)
