"""How a canary's state may change. Pure: a state and `now` in, the next state out, or Refused.

                 waiting   running    paused    rolled_back   promoted   ended
    start        running      ·          ·           ·            ·         ·
    ramp            ·      running    paused         ·            ·         ·
    pause           ·      paused        ·           ·            ·         ·
    resume          ·         ·       running   running, run+1    ·         ·
    rollback        ·      rolled_back rolled_back  (same)    rolled_back   ·
    promote         ·      promoted   promoted       ·            ·         ·
    end           ended     ended      ended       ended        ended       ·
    configure    (noted)   new share  new share   (noted)      (noted)   (noted)
    tick         (same)    next step   (same)      (same)       (same)    (same)

A dot is Refused. `rolled_back` is latched: only a person's `resume` leaves it, for the ramp's first step and
a new run. Nothing raises the exposure but start, ramp, resume, promote, a share changed in the config
(all a person's) and the ramp's own clock.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from routing.canary import Step
from routing.plan import State, StateName

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
    """A transition that is not legal now; the message says what would be, `legal` names those actions."""

    def __init__(self, message: str, legal: tuple[Action, ...]) -> None:
        orders = ", ".join(each for each in legal if each != "end")  # by the config alone
        options = f"legal now: {orders}" if orders else "nothing more can be done: use a new name"
        super().__init__(f"{message} ({options})")
        self.legal = legal


def legal(state: State) -> tuple[Action, ...]:
    """The actions that this state allows."""
    return tuple(action for action, states in _FROM.items() if state.state in states)


def steps_text(steps: Sequence[Step]) -> str:
    """The configured share or ramp as text, to tell whether a person changed it: `0.01/3600,0.05`."""
    return ",".join(f"{step.share:g}" + ("" if step.for_s is None else f"/{step.for_s:g}") for step in steps)


def first_seen(steps: Sequence[Step], *, by_hand: bool, now: float) -> State:
    """The state of a canary that the config names for the first time; `by_hand` waits for `start`."""
    waiting = State(configured=steps_text(steps), changed_at=now)
    return waiting if by_hand else start(waiting, steps, now=now)


def start(state: State, steps: Sequence[Step], *, now: float) -> State:
    """Begin the first run at the ramp's first step."""
    _check(state, "start")
    return _at_step(replace(state, started_at=now, reason=""), steps, 0, now)


def set_share(state: State, steps: Sequence[Step], share: float, *, now: float) -> State:
    """A person sets the share, in (0, 1). The ramp goes on from the step of this share; without one it is
    over, and the share stays until somebody changes it."""
    _check(state, "ramp")
    if not 0.0 < share < 1.0:
        raise IllegalTransition(
            f"a share of {share:g} is set by `rollback` (0) or `promote` (1)", legal(state)
        )
    step = next((place for place, each in enumerate(steps) if each.share == share), len(steps))
    return _moved(
        state, replace(state, share=share, step=step, step_elapsed_s=0.0, configured=steps_text(steps)), now
    )


def pause(state: State, *, now: float, reason: str = "") -> State:
    """Stop the ramp's clock; the share stays."""
    _check(state, "pause")
    return _moved(state, replace(state, state="paused", reason=reason), now)


def resume(state: State, steps: Sequence[Step], *, reason: str, now: float) -> State:
    """Let the clock run on after a pause; after a rollback begin a new run at the first step, which needs a
    reason."""
    _check(state, "resume")
    if state.state == "paused":
        return _moved(state, replace(state, state="running", reason=reason), now)
    if not reason.strip():
        raise IllegalTransition("after a rollback, resume needs a reason", legal(state))
    again = replace(state, run=state.run + 1, started_at=now, reason=reason)
    return _at_step(again, steps, 0, now)


def rollback(state: State, *, reason: str, now: float) -> State:
    """Pull the candidate back: share 0, latched. A second one changes nothing, the first reason stands."""
    _check(state, "rollback")
    if state.state == "rolled_back":
        return state
    return _moved(state, replace(state, state="rolled_back", share=0.0, reason=reason), now)


def promote(state: State, *, reason: str, now: float) -> State:
    """Give the candidate everything. Only a person does this."""
    _check(state, "promote")
    return _moved(state, replace(state, state="promoted", share=1.0, reason=reason), now)


def end(state: State, *, reason: str, now: float) -> State:
    """The canary is over, for good: removed from the config, or by a person."""
    _check(state, "end")
    return _moved(state, replace(state, state="ended", share=0.0, reason=reason), now)


def configure(state: State, steps: Sequence[Step], *, now: float) -> State:
    """Take in a loaded config. A share or ramp that a person changed acts once, here; the same one never
    does. A running ramp goes on from the highest step that is not above the present share."""
    text = steps_text(steps)
    if text == state.configured:
        return state
    if state.state not in ("running", "paused"):
        return replace(state, configured=text)
    below = [place for place, step in enumerate(steps) if step.share <= state.share]
    place = below[-1] if below else 0
    kept = state.step_elapsed_s if steps[place].share == state.share and state.step == place else 0.0
    return _moved(
        state, replace(state, share=steps[place].share, step=place, step_elapsed_s=kept, configured=text), now
    )


def tick(
    state: State, steps: Sequence[Step], *, passed_s: float, held: bool, now: float, enough: bool = True
) -> State:
    """Let the ramp's clock run for `passed_s` monotonic seconds (none while held or not running).

    A step that is over gives way to the next, if it showed `enough` to be judged; one step a tick at most, so
    that a long gap between two ticks never skips a step that nobody has watched.
    """
    known = state.configured == steps_text(steps)
    if state.state != "running" or held or passed_s <= 0 or not known or state.step >= len(steps):
        return state
    elapsed = state.step_elapsed_s + passed_s
    lasts = steps[state.step].for_s
    if lasts is None or elapsed < lasts or state.step + 1 == len(steps) or not enough:
        return replace(state, step_elapsed_s=elapsed)
    return _at_step(state, steps, state.step + 1, now)


def _check(state: State, action: Action) -> None:
    if state.state not in _FROM[action]:
        raise IllegalTransition(f"{action} is not possible: the canary is {state.state}", legal(state))


def _at_step(state: State, steps: Sequence[Step], place: int, now: float) -> State:
    text, share = steps_text(steps), steps[place].share
    at = replace(state, state="running", share=share, step=place, step_elapsed_s=0.0, configured=text)
    return _moved(state, at, now)


def _moved(before: State, after: State, now: float) -> State:
    """`after`, changed now; a change of the effective share begins a new phase."""
    same_share = after.effective_share == before.effective_share
    return replace(after, changed_at=now, phase=before.phase if same_share else before.phase + 1)
