"""Standing canaries in the store: their trials, and the baselines that were promoted.

                  trial's state        in one transaction
    begin         none yet             the trial, with both arms; the trials that are over leave
    promoted      running → promoted   its candidate is the newest baseline; the trials that are over, and
                                       have another arm for their lane, leave (`follow`)
    rolled back   promoted → …         its baseline is withdrawn; likewise
    ended         … → ended            it leaves, if the file let it go (`follow`)
    rolled back   running → …          it leaves if its baseline is no longer in force
    revert        promoted → …         the newest baseline is withdrawn; its trial leaves, and those that were
                                       begun with it end and leave
    end           never ran            the trial leaves

Arms are mappings as in the config file. A change compares the version; each has an audit entry.
"""

from collections.abc import Callable
from dataclasses import replace

from sqlalchemy import Connection

from records.facts.standing import OVER, BegunTrial, Standing, Withdrawal
from records.store.baselines import all_in, replace_standing, standings_in
from records.store.store import Act, Store, VersionedState, log_act, replace_state, states_in
from routing import transitions
from routing.states import State

_TRIES = 5


class CannotStand(Exception):
    """The store does not allow this change of a standing canary. The message says what is legal."""


class _Overtaken(Exception):
    """Somebody else changed it meanwhile."""


class Standings:
    """The standing canaries of one database. Every method may raise StoreDown."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def all(self) -> dict[str, Standing]:
        """Every standing canary that something was begun of."""
        with self._store.asking() as connection:
            return all_in(connection)

    def begin(
        self, name: str, trial: str, begun: BegunTrial, *, reason: str, alone: bool
    ) -> dict[str, State]:
        """Store a new trial, and let those that are over leave; their states before, by name, where that has
        ended a hold-back. `alone`: no other one must be there. Raises CannotStand."""
        ended: dict[str, State] = {}

        def change(connection: Connection) -> None:
            ended.clear()
            version, standing = standings_in(connection).get(name, (0, Standing()))
            states = states_in(connection)
            if trial in states or trial in standing.trials:
                raise CannotStand(f"a canary named {trial} existed before")
            known = {each: states[each].state if each in states else None for each in standing.open}
            over = [each for each, state in known.items() if state is not None and state.state in OVER]
            if alone and (busy := [each for each in known if each not in over]):
                state = known[busy[0]]
                said = "has just begun" if state is None else f"is {state.state}"
                raise CannotStand(
                    f"{busy[0]} {said}, and {name} tries one model at a time: roll it back, promote it, or "
                    f"`canary end {busy[0]}` if it never ran; with `lane:` several may run"
                )
            for each in over:  # nobody may resume one at this moment
                before = states[each].state
                left = transitions.end_holdback(before, now=begun.at)
                _must(replace_state(connection, each, states[each].version, left))
                if before.holdback is not None and left != before:
                    ended[each] = before
                    why = f"{before.holdback.lasted(begun.at)}: {trial} begins"
                    act = Act(at=begun.at, action="holdback_end", who=begun.who, reason=why)
                    log_act(connection, each, act, before.document, left.document)
            after = standing.without(over, begun.at)
            _put(connection, name, version, replace(after, trials={**after.trials, trial: begun}))
            act = Act(at=begun.at, action="begin", who=begun.who, reason=reason)
            log_act(connection, trial, act, {}, State().document)

        self._changing(change)
        return ended

    def end(self, trial: str, act: Act) -> None:
        """Let a trial leave that never ran. Raises CannotStand."""

        def change(connection: Connection) -> None:
            standings = standings_in(connection)
            found = [(name, *each) for name, each in standings.items() if trial in each[1].open]
            if not found:
                raise CannotStand(f"{trial} is no trial of a standing canary")
            name, version, standing = found[0]
            known = states_in(connection).get(trial)
            if known is not None and known.state.started_at is not None:
                raise CannotStand(f"{trial} has run: roll it back or promote it, and begin the next one")
            _put(connection, name, version, standing.without([trial], act.at))
            _end(connection, trial, known, act)

        self._changing(change)

    def revert(self, name: str, canary: str | None, act: Act) -> list[str]:
        """Withdraw the baseline in force, which must be this canary's candidate, and end the trials that were
        begun with it: the names of those that were not over. Raises CannotStand."""
        ended = list[str]()

        def change(connection: Connection) -> None:
            ended.clear()
            version, standing = standings_in(connection).get(name, (0, Standing()))
            newest = standing.baseline
            if newest is None:
                raise CannotStand(f"{name} has no promoted baseline: nothing is before it")
            if newest.canary != canary:
                raise CannotStand(f"somebody else changed the baseline of {name} a moment ago: look at it")
            back = Withdrawal(at=act.at, who=act.who, reason=act.reason)
            after = standing.withdrawn(newest.canary, newest.run, back)
            left = standing.based.keys() | (standing.open.keys() & {newest.canary})
            _put(connection, name, version, after.without(sorted(left), act.at))
            states = states_in(connection)
            why = f"its baseline, {newest.arm['provider']}/{newest.arm['model']}, is taken back: {act.reason}"
            for trial in standing.based:
                if trial not in states or states[trial].state.state not in OVER:
                    ended.append(trial)
                _end(connection, trial, states.get(trial), replace(act, action="end", reason=why))
            known = states[newest.canary]
            state = known.state
            if "rollback" in transitions.legal(state):  # so its history says that it was taken back
                state = transitions.rollback(state, reason=act.reason, now=act.at, hard=True)
                _must(replace_state(connection, newest.canary, known.version, state))
            log_act(connection, newest.canary, act, known.state.document, state.document)

        self._changing(change)
        return ended

    def _changing(self, change: Callable[[Connection], None]) -> None:
        for _ in range(_TRIES):
            try:
                with self._store.writing() as connection:
                    return change(connection)
            except _Overtaken:
                continue
        raise CannotStand("somebody else changed it at the same moment: look at it, and try again")


def _end(connection: Connection, trial: str, known: VersionedState | None, act: Act) -> None:
    """End a trial, unless it has ended. One that has just begun may have no state yet."""
    before = State() if known is None else known.state
    if before.state != "ended":
        after = transitions.end(before, reason=act.reason, now=act.at)
        if known is not None:
            _must(replace_state(connection, trial, known.version, after))
        log_act(connection, trial, act, before.document, after.document)


def _put(connection: Connection, name: str, version: int, standing: Standing) -> None:
    _must(replace_standing(connection, name, version, standing))


def _must(done: bool) -> None:
    if not done:
        raise _Overtaken
