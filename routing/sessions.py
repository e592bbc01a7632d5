"""A session's arm: what its first exchange was assigned, and which arms have answered in it. Pure.

A session belongs to the unit that began it. Whoever goes on with it, as when an agent's session is resumed on
another machine, has that unit's place, and counts to it. That holds of sessions whose id is unmistakable
(`identity`) and that go from one user to another at most MOST_CHANGES times.

    between two of its exchanges                      the session
    the user's id changes                             keeps its unit, for a day
    the share changes, and the canary has `settle`    keeps its arm until it has been idle that long
    the candidate loses its share (rollback, end)     gets the baseline, as everybody
    a fresh start of the evidence (a new run)         gets the arm of its unit
"""

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from routing.assignment import Assignment, Reason
from routing.canary import ArmName, Canary
from routing.states import State

KNOWN_FOR_S = 86_400.0
"""How long after its last exchange a session is known."""

MOST_CHANGES = 16
"""So often may one session go from one user to another. A text that is the session of many users, such as an
app's own id, is no session: from then on each of them has an arm of their own."""

BEGIN: tuple[Reason, ...] = ("cohort", "stateful")
"""The reasons of exchanges that give a session its arm."""

BY: Mapping[ArmName, int] = {"baseline": 1, "candidate": 2}
_ONLY: Mapping[int, ArmName] = {bit: arm for arm, bit in BY.items()}


class SessionArm(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is known of one session in one canary. `session` and `unit` are keyed hashes.

    `unit`, `place`: of the unit that began it. `arm` to `share`: what that was assigned. `first_at`, `at`:
    UTC seconds at the beginning of the first exchange that is known and at the end of the last one.
    `answered`: who has, as a sum of `BY`. `user`: whose request the last one was, "" for `unit`'s; `changes`:
    how often it was another one's than that before, one more than MOST_CHANGES for more.
    """

    canary: str
    session: str
    unit: str
    place: int | None
    arm: ArmName
    reason: Reason
    run: int
    phase: int
    share: float
    first_at: float
    at: float
    answered: int = 0
    user: str = ""
    changes: int = 0

    @property
    def only(self) -> ArmName | None:
        """The only arm that has answered; None for none and for both."""
        return _ONLY.get(self.answered)

    def with_user(self, user: str) -> "SessionArm":
        """The session once this user, by the hash, has asked in it."""
        if user == (self.user or self.unit) or self.changes > MOST_CHANGES:
            return self
        return replace(self, user=user, changes=self.changes + 1)

    def assignment(self, canary: Canary, state: State, now: float) -> Assignment | None:
        """What the session is assigned still; None where its unit's place decides."""
        if state.run != self.run or state.effective_share <= 0.0:
            return None
        if state.phase != self.phase and now - self.at >= canary.settle_s:
            return None
        return Assignment(
            arm=self.arm,
            reason=self.reason,
            run=self.run,
            phase=self.phase,
            share=self.share,
            place=self.place,
        )


def merged(one: SessionArm, other: SessionArm) -> SessionArm:
    """What two processes know of a session, together: the arm that was given last, by whom it was begun."""
    first, last = (one, other) if one.at <= other.at else (other, one)
    if last.at - first.at > KNOWN_FOR_S:
        return last
    newest = max(first, last, key=lambda each: (each.run, each.phase, -each.first_at))
    changed = max(one, other, key=lambda each: (each.changes, each.user))
    return replace(
        newest,
        first_at=min(one.first_at, other.first_at),
        at=last.at,
        answered=one.answered | other.answered,
        user=changed.user,
        changes=changed.changes,
    )
