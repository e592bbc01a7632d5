"""Why canaries were rolled back: the stored rollbacks, and those that wait to be stored."""

import asyncio
from collections.abc import Sequence

from alerts.figures.rollback import RolledBack, rolled_back
from control.rollouts import Rollouts
from records.errors import StoreDown
from records.store import Store, rollbacks

LOOK_EVERY_S = 0.5


class RollbackHistory:
    """Rollbacks by canary. The newest of each is in memory."""

    def __init__(self, store: Store, rollouts: Rollouts) -> None:
        self._store, self._rollouts = store, rollouts
        self._known: dict[str, RolledBack] = {}
        self._missing: dict[str, int] = {}

    def current(self, name: str) -> RolledBack | None:
        """The rollback that is in force; None for none, or while it is not read yet."""
        waiting = self._rollouts.pending_rollback(name)
        if waiting is not None:
            self._known[name] = waiting
        state, known = self._rollouts.state(name), self._known.get(name)
        if state is None or state.state != "rolled_back" or known is None or known.why.run != state.run:
            return None
        return known

    async def history(self, name: str, limit: int) -> Sequence[RolledBack]:
        """The canary's rollbacks, newest first. While the store is down, only the one in force, else
        StoreDown."""
        waiting = self._rollouts.pending_rollback(name)
        try:
            stored = await asyncio.to_thread(self._read, name, limit)
        except StoreDown:
            current = self.current(name)
            if current is None:
                raise
            return [current]
        return [*([waiting] if waiting is not None else []), *stored][:limit]

    async def following(self) -> None:
        """Read rollbacks that another admin or an earlier process ordered, without end."""
        while True:
            for name, run in self._unknown():
                try:
                    found = await asyncio.to_thread(self._read, name, 1, run)
                except StoreDown:
                    break
                if found:
                    self._known[name] = found[0]
                else:
                    self._missing[name] = run
            await asyncio.sleep(LOOK_EVERY_S)

    def _unknown(self) -> list[tuple[str, int]]:
        """(canary, run) of the stored rollbacks that are not read yet."""
        held = self._rollouts.states.items()
        back = [(name, each.state.run) for name, each in held if each.state.state == "rolled_back"]
        return [(name, run) for name, run in back if not self._is_known(name, run)]

    def _is_known(self, name: str, run: int) -> bool:
        known = self._known.get(name)
        read = known is not None and known.stored and known.why.run == run
        return read or self._missing.get(name) == run

    def _read(self, name: str, limit: int, run: int | None = None) -> list[RolledBack]:
        kept = rollbacks.newest(self._store, name, limit=limit, run=run)
        found = [rolled_back(each.why, each.before, each.after, stored=True) for each in kept]
        return [each for each in found if each is not None]
