"""How a canary's state may change. Pure: (state, now) → next state, or IllegalTransition.

                 waiting   running    paused    rolled_back   promoted   ended
    start        running      ·          ·           ·            ·         ·
    ramp            ·      running    paused         ·            ·         ·
    pause           ·      paused        ·           ·            ·         ·
    resume          ·         ·       running   running, run+1    ·         ·
    rollback        ·      rolled_back rolled_back  (hard)    rolled_back   ·
    promote         ·      promoted   promoted       ·            ·         ·
    end           ended     ended      ended       ended        ended       ·
    end_holdback (same)     (same)     (same)     (same)     all units   (same)
    configure    (noted)   new share  new share   (noted)      (noted)   (noted)
    await, redefine, give_lane
                 (noted)    (same)     (same)     (same)       (same)    (same)
    cap          (same)    (noted)    (same)      (same)       (same)    (same)
    tick         (same)    next step   (same)      (same)       (same)    (same)

A dot is IllegalTransition. `rolled_back` is latched: only `resume`, by a person, leaves it, and begins a new
run at the ramp's first step. Only start, ramp, resume, promote, a changed share in the config (all done by a
person) and the ramp's clock raise the exposure.

A promotion may hold units back: the candidate gets all but those, until `end_holdback`, by the clock or by
the next trial. Whatever else changes the state ends the hold-back, too.

A rollback may be `hard`: the candidate then gets no request any more. Without it, the candidate may go on
with the conversations it began. A second rollback can only make the first one hard.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from routing.canary import Canary, HoldbackTerms, Step, definition
from routing.states import Holdback, Lane, State, StateName

Action = Literal["start", "ramp", "pause", "resume", "rollback", "promote", "end"]

_FROM: dict[Action, tuple[StateName, ...]] = {
    "start": ("waiting",),
    "ramp": ("running", "paused"),
    "pause": ("running",),
    "resume": ("paused", "rolled_back"),
    "rollback": ("running", "paused", "promoted", "rolled_back"),
    "promote": ("running", "paused"),
    "end": ("waiting", "running", "paused", "rolled_back", "promoted"),
}


class IllegalTransition(Exception):
    """The action is not legal in this state; `legal` and the message name the actions that are."""

    def __init__(self, message: str, legal: tuple[Action, ...]) -> None:
        actions = ", ".join(action for action in legal if action != "end")  # only the config ends a canary
        options = f"legal now: {actions}" if actions else "no action is legal any more: use a new name"
        super().__init__(f"{message} ({options})")
        self.legal = legal


def legal(state: State) -> tuple[Action, ...]:
    """Return the actions that are legal in this state."""
    return tuple(action for action, states in _FROM.items() if state.state in states)


def steps_text(steps: Sequence[Step]) -> str:
    """Format a ramp as text, for example `0.01/3600@300,0.05`, to detect a change of the config."""
    return ",".join(
        f"{step.share:g}"
        + ("" if step.for_s is None else f"/{step.for_s:g}")
        + ("" if step.users is None else f"@{step.users}")
        for step in steps
    )


def first_seen(steps: Sequence[Step], *, by_hand: bool, now: float) -> State:
    """Return the state of a canary that is new in the config; `by_hand` leaves it waiting for `start`."""
    waiting = State(configured=steps_text(steps), changed_at=now)
    return waiting if by_hand else start(waiting, steps, now=now)


def awaiting(state: State, *, reason: str) -> State:
    """Say why a waiting canary waits."""
    return replace(state, reason=reason) if state.state == "waiting" else state


def redefine(state: State, definition: str) -> State:
    """Take a changed definition of a canary that has not started."""
    return replace(state, definition=definition) if state.state == "waiting" else state


def give_lane(state: State, lane: Lane | None) -> State:
    """Give its lane, None for every unit, to a canary that has not started."""
    return replace(state, lane=lane) if state.state == "waiting" else state


def start(state: State, steps: Sequence[Step], *, now: float) -> State:
    """Start the first run at the ramp's first step."""
    _check(state, "start")
    return _at_step(replace(state, started_at=now, reason=""), steps, 0, now)


def set_share(state: State, steps: Sequence[Step], share: float, *, now: float) -> State:
    """Set the share, in (0, 1), for a person.

    The ramp continues from the step with this share. If no step has this share, the ramp is over and the
    share stays until a person changes it.
    """
    _check(state, "ramp")
    if not 0.0 < share < 1.0:
        raise IllegalTransition(
            f"ramp needs a share between 0 and 1, not {share:g}: use `rollback` for 0, `promote` for 1",
            legal(state),
        )
    index = next((i for i, step in enumerate(steps) if step.share == share), len(steps))
    text = steps_text(steps)
    after = replace(state, share=share, cap=None, step=index, step_elapsed_s=0.0, configured=text)
    return _changed(state, after, now)


def pause(state: State, *, now: float, reason: str = "") -> State:
    """Stop the ramp's clock and keep the share."""
    _check(state, "pause")
    return _changed(state, replace(state, state="paused", reason=reason), now)


def resume(state: State, steps: Sequence[Step], *, reason: str, now: float) -> State:
    """Restart the ramp's clock after a pause, or begin a new run at the first step after a rollback.

    A resume after a rollback needs a reason.
    """
    _check(state, "resume")
    if state.state == "paused":
        return _changed(state, replace(state, state="running", reason=reason), now)
    if not reason.strip():
        raise IllegalTransition("resume after a rollback needs a reason", legal(state))
    new_run = replace(state, run=state.run + 1, started_at=now, reason=reason, hard=False, holdback=None)
    return _at_step(new_run, steps, 0, now)


def rollback(state: State, *, reason: str, now: float, hard: bool = False) -> State:
    """Roll the candidate back: share 0, latched. A second rollback changes nothing, not even the reason,
    except that it may make the first one `hard`."""
    _check(state, "rollback")
    if state.state == "rolled_back":
        return replace(state, hard=state.hard or hard)
    state = _without_holdback(state, now)
    return _changed(
        state, replace(state, state="rolled_back", share=0.0, cap=None, reason=reason, hard=hard), now
    )


def promote(state: State, *, reason: str, now: float, holdback: HoldbackTerms | None = None) -> State:
    """Give the candidate all units but those to be held back, of whom none had the candidate before. Only a
    person does this."""
    _check(state, "promote")
    whole = replace(state, state="promoted", share=1.0, cap=None, reason=reason)
    if holdback is None:
        return _changed(state, whole, now)
    after = _changed(state, replace(whole, share=max(state.share, 1.0 - holdback.share)), now)
    phase = state.phase + 1  # of its own, even where the share was as high before
    held = Holdback(phase=phase, since=now, until=now + holdback.for_s, rollback=holdback.rollback)
    return replace(after, phase=phase, holdback=held)


def end_holdback(state: State, *, now: float) -> State:
    """Give the candidate the units that were held back, if any were."""
    if not state.holds_back:
        return state
    return _changed(state, replace(_without_holdback(state, now), share=1.0), now)


def _without_holdback(state: State, now: float) -> State:
    if state.holdback is None or not state.holds_back:
        return state
    return replace(state, holdback=replace(state.holdback, ended_at=now))


def end(state: State, *, reason: str, now: float) -> State:
    """End the canary for good, because it left the config or a person ended it."""
    _check(state, "end")
    state = _without_holdback(state, now)
    return _changed(state, replace(state, state="ended", share=0.0, cap=None, reason=reason), now)


def configure(state: State, steps: Sequence[Step], *, now: float) -> State:
    """Apply a loaded config. A changed share or ramp acts once; an unchanged one has no effect.

    A running ramp continues from the highest step that is not above the current share.
    """
    text = steps_text(steps)
    if text == state.configured:
        return state
    if state.state not in ("running", "paused"):
        return replace(state, configured=text)
    below = [i for i, step in enumerate(steps) if step.share <= state.share]
    index = below[-1] if below else 0
    elapsed = state.step_elapsed_s if steps[index].share == state.share and state.step == index else 0.0
    share = steps[index].share
    after = replace(state, share=share, cap=None, step=index, step_elapsed_s=elapsed, configured=text)
    return _changed(state, after, now)


def tick(
    state: State,
    steps: Sequence[Step],
    *,
    passed_s: float,
    held: bool,
    now: float,
    enough: bool = True,
    users: int = 0,
) -> State:
    """Advance the ramp's clock by `passed_s` monotonic seconds, unless the ramp is held or not running.

    The next step begins when the current one has lasted its time, has had its `users`, and has `enough` data
    to be judged. Each tick advances at most one step, so a long gap between ticks never skips an unwatched
    step. A share below the step's own, by the provider's quota, holds the ramp too.
    """
    configured = state.configured == steps_text(steps)
    held = held or state.cap is not None
    if state.state != "running" or held or passed_s <= 0 or not configured or state.step >= len(steps):
        return state
    elapsed_s, step = state.step_elapsed_s + passed_s, steps[state.step]
    reached = step.ends and elapsed_s >= (step.for_s or 0.0) and users >= (step.users or 0)
    if not reached or state.step + 1 == len(steps) or not enough:
        return replace(state, step_elapsed_s=elapsed_s)
    return _at_step(state, steps, state.step + 1, now)


def cap(state: State, share: float | None, *, now: float) -> State:
    """Keep the candidate's share at or below this one while its provider's quota allows no more; None: no
    longer. A cap is no order: a person's order and the ramp's next step end it. A paused canary's share
    stays as it is."""
    if state.state != "running" or share == state.cap:
        return state
    return _changed(state, replace(state, cap=share), now)


def _check(state: State, action: Action) -> None:
    if state.state not in _FROM[action]:
        raise IllegalTransition(f"{action} is not possible: the canary is {state.state}", legal(state))


def _at_step(state: State, steps: Sequence[Step], index: int, now: float) -> State:
    text, share = steps_text(steps), steps[index].share
    at = replace(
        state, state="running", share=share, cap=None, step=index, step_elapsed_s=0.0, configured=text
    )
    return _changed(state, at, now)


def _changed(before: State, after: State, now: float) -> State:
    """Set `changed_at` and `highest_share` of `after`; a change of the effective share begins a new phase, by
    a cap in the same step. Without a share nobody keeps the candidate."""
    share, share_before = after.effective_share, before.effective_share
    phase = before.phase if share == share_before else before.phase + 1
    same_step = (after.run, after.step, after.share) == (before.run, before.step, before.share)
    return replace(
        after,
        holds=after.holds if share else (),
        changed_at=now,
        phase=phase,
        step_phase=before.step_phase if same_step else phase,
        highest_share=max(before.highest_share, share_before, share),
    )


def redefinition(canary: Canary, state: State | None, *, in_force: bool = True) -> str | None:
    """Why this canary of a config cannot be the one of this state; None if it has not started, or is what
    started. `in_force`: the config is, so that the sentence says who serves. Without "; ", which separates
    problems in `/readyz`."""
    if state is None or state.state == "waiting":
        return None
    if state.state == "ended":
        return f"canary {canary.name!r} has ended: give the next one a new name"
    if state.definition == definition(canary):
        return None
    whom = "everybody" if state.lane is None else "all users of its lane"
    serves = f"Its baseline serves {whom}. " if in_force else ""
    promoted = " with the promoted arm as its baseline" if state.state == "promoted" else ""
    return (
        f"canary {canary.name!r} is not the one that started: its match, arms, request changes, unit or "
        "session rule or lane differ in the file (`lane:` added after the start counts too). "
        f"{serves}Revert the change, or use a new name{promoted}"
    )
