"""Which traffic workers are alive, and which plan each of them follows."""

from control.events import WorkerEvents, WorkerKey
from records.outcome import Heartbeat

ALIVE_WITHIN_S = 2.0


class WorkerRegistry:
    """The workers' last heartbeats."""

    def __init__(self) -> None:
        self._beats: dict[WorkerKey, Heartbeat] = {}
        self._exited_cleanly = False
        """True when the worker that was heard last exited cleanly."""

    def take(self, events: WorkerEvents) -> None:
        """Note heartbeats and exits."""
        for key, beat in events.beats:
            self._exited_cleanly = beat.closing
            if beat.closing:
                self._beats.pop(key, None)
            else:
                self._beats[key] = beat
        for key, _ in events.deaths:
            self._beats.pop(key, None)
            self._exited_cleanly = False

    def alive(self, now_mono: float) -> list[Heartbeat]:
        """The last heartbeats of the workers that are alive."""
        oldest = now_mono - ALIVE_WITHIN_S
        self._beats = {key: beat for key, beat in self._beats.items() if beat.mono > oldest}
        return list(self._beats.values())

    def troubles(self, now_mono: float) -> list[str]:
        """What does not work at the moment: the workers themselves, and the credentials that they lack."""
        missing = {each for beat in self.alive(now_mono) for each in beat.credentials_missing}
        trouble = self.trouble(now_mono)
        return [*sorted(missing), *([trouble] if trouble else [])]

    def trouble(self, now_mono: float) -> str | None:
        """Why no worker accepts new requests; None while one does."""
        alive = self.alive(now_mono)
        if any(not beat.draining for beat in alive):
            return None
        if alive:
            left = sum(beat.started - beat.finished for beat in alive)
            return f"draining: no new requests are accepted, in flight: {left}"
        if self._exited_cleanly:
            return "all traffic workers have exited cleanly"
        return "no traffic worker is alive"

    def breakers_open(self, canary: str, now_mono: float) -> int:
        """How many workers' breakers keep requests from this canary's candidate."""
        return sum(canary in beat.breakers_open for beat in self.alive(now_mono))

    def confirmed(self, version: int, now_mono: float) -> tuple[int, int]:
        """(workers that follow at least this version of the plan, workers alive)"""
        alive = self.alive(now_mono)
        return sum(beat.plan_version >= version for beat in alive), len(alive)
