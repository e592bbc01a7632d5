"""What `routing.assign` says about one request. A module of its own, because values are not compiled."""

from typing import Literal

import msgspec

from routing.canary import ArmName

Reason = Literal[
    "cohort",
    "no_unit",
    "random",
    "stateful",
    "pinned",
    "no_plan",
    "stopped",
    "foreign_state",
    "no_lane",
    "standing",
    "no_assignment",
    "bad_assignment",
    "prompt_missed",
]
"""`foreign_state`: the assigned arm refused state that only the other arm's account can read.
`no_lane`: canaries match the request, but none has the unit's lane; a baseline serves it outside them.
`standing`: a standing canary matches the request, and none of its trials; its baseline serves it.
`no_assignment`, `bad_assignment`: the canary takes its arms from a flag system, and the request has none, or
one whose signature is wrong; the baseline serves it.
`prompt_missed`: the request has not the text in whose place an arm has its own prompt; the baseline serves it
until the candidate is promoted. A realtime session, of which that is known late, stays with its arm."""

UNASSIGNED: tuple[Reason, ...] = ("no_assignment", "bad_assignment")
"""The reasons of requests that a flag system gave no good arm."""

Given = Literal["baseline", "candidate", "no_assignment", "bad_assignment"]
"""The arm that a flag system gave a unit, or the reason why there is none."""


class Assignment(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The arm, the reason, and the canary's run, phase and share at the decision. `place`: the unit's, by the
    canary's hash; None without a unit."""

    arm: ArmName
    reason: Reason
    run: int = 0
    phase: int = 0
    share: float = 0.0
    place: int | None = None
