"""`canary plan`: how likely a canary's rubric ships a good candidate, and what would raise that."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from canary.commands import shell
from canary.config import Config, ConfigError
from canary.config.load import data_folder
from records.facts.prices import said_once

if TYPE_CHECKING:
    from control.settings import CanarySettings
    from records.store import VersionedState
    from routing.states import State
    from verdict.planner.prospect import PlanRequest
    from verdict.planner.recorded import RecordedTraffic
    from verdict.terms.judged_canary import JudgedCanary


def plan(
    at: shell.Local,
    name: Annotated[str | None, typer.Argument(help="The canary.")] = None,
    rubric: Annotated[Path | None, typer.Option(help="Plan for the rubric in this file instead.")] = None,
    users: Annotated[
        int | None,
        typer.Option(min=1, help="Users of both arms in the planned days, instead of 20,000 in 14 days."),
    ] = None,
    days: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=365,
            help="The planned days, instead of the config's; the users a day stay without --users.",
        ),
    ] = None,
    share: Annotated[
        str | None, typer.Option(help="The candidate's share, instead of the config's: 10%.")
    ] = None,
    requests: Annotated[float | None, typer.Option(min=1, max=1e6, help="Requests per user.")] = None,
    assume: Annotated[
        list[str] | None, typer.Option(help="Baselines, spreads, rated shares: csat.sd=1.1,escalated=4%.")
    ] = None,
) -> None:
    """Say how likely a good candidate ships by the plan, and what would raise that chance.

    Traffic that is recorded gives the users, baselines and rated shares; all else is assumed and said.
    Needs no server and, for a rubric alone, no config.
    """
    from control.operator.status import too_few
    from pages.reports.plan import (
        by_labels,
        outlook,
        outlook_document,
        outlook_text,
        ramp_document,
        unplanned,
    )
    from verdict.planner.prospect import USUAL_STEPS, prospect_of, ramp_length

    read = at.read() if rubric is None or name is not None or at.config.exists() else None
    known = shell.canary_of(read, name) if read is not None and (rubric is None or name is not None) else None
    judged = _judged(read, known, rubric)
    wanted = _wanted(judged, users, days, share, requests, assume or ())
    lane, seen = 1.0, None
    if read is not None and known is not None:
        lanes = lanes_now(read, at.data)
        state = lanes.states.get(known.canary.name)
        if rubric is None and state is not None and state.state == "promoted":
            shell.fail(_promoted(read, known.canary.name, state), code=2)
        lane, seen = lanes.of(read, known.canary.name), recorded_traffic(read, at.data, lanes, known, judged)
    steps = known.canary.steps if known is not None else USUAL_STEPS
    unpriced = (
        [each for each in read.unpriced() if each.canary == known.canary.name] if read and known else []
    )
    for each in said_once(unpriced):
        shell.say(each.sentence)
    found = prospect_of(judged, steps, wanted, seen, lane=lane, unpriced=[each.arm for each in unpriced])
    if found is None:
        if by_labels(judged):
            said = unplanned(judged)
            return (
                shell.print_json({"ship": None, "sentence": said})
                if at.output == "json"
                else shell.print_text(said)
            )
        if why := unplanned(judged):
            shell.fail(why, code=2)
        why = "no rubric" if not judged.criteria else "no share between 0% and 100%"
        shell.fail(f"{judged.name} has {why}, so there is nothing to plan", code=2)
    worked_out = outlook(found)
    ramp = ramp_document(ramp_length(judged, found.steps, wanted, seen))
    few = too_few(replace(known, judged=judged), found.users, share=found.steps[-1].share) if known else None
    if at.output == "json":
        return shell.print_json(
            outlook_document(worked_out)
            | {"ramp": ramp, "few_users": few.document if few is not None else None}
        )
    if few is not None:
        shell.print_text(f"{judged.name}: {few.sentence}\n")
    shell.print_text(outlook_text(worked_out))
    if ramp is not None:
        shell.print_text(f"\n{ramp['sentence']}")
    return None


def _promoted(read: Config, name: str, state: "State") -> str:
    """That a promoted canary has nothing to plan, and how to plan what comes next."""
    from pages.words.status import moment

    since = "" if state.changed_at is None else f" since {moment(state.changed_at)} UTC"
    standing = next((each for each, of in read.standing.items() if name in of.begun.trials), None)
    how = (
        "another candidate needs a canary of its own"
        if standing is None
        else f"plan {standing}, its next trial"
    )
    return f"{name} is promoted{since}, so there is nothing to plan: {how}"


def _judged(read: Config | None, known: "CanarySettings | None", rubric: Path | None) -> "JudgedCanary":
    """The terms: the canary's, with the rubric of the file if one is given. Exits 2 if that is invalid."""
    from canary.config.load import read_rubric
    from records.facts.metric import BUILT_IN
    from verdict.planner.prospect import of_rubric

    if rubric is None and known is not None:
        return known.judged
    if rubric is None:
        shell.fail("name a canary, or a file with --rubric", code=2)
    metrics = read.metrics if read is not None else BUILT_IN
    with shell.ended_by(ConfigError, code=2):
        rows = read_rubric(rubric, os.environ, metrics)
    return of_rubric(rows, rubric.stem, metrics, known.judged if known is not None else None)


def _wanted(
    judged: "JudgedCanary",
    users: int | None,
    days: int | None,
    share: str | None,
    requests: float | None,
    assume: Sequence[str],
) -> "PlanRequest":
    """The options. Exits 2 for one that cannot be read, or too few days."""
    from canary.config.quantity import parse_share
    from verdict.planner.assumptions import parse_assumptions
    from verdict.planner.prospect import PlanRequest
    from verdict.terms.plan import first_day

    least = first_day(judged.minimum_days, judged.matures_days)
    if days is not None and days < least:
        shell.fail(
            f"--days {days}: no verdict to ship comes before day {least}; give at least {least}", code=2
        )
    with shell.ended_by(ValueError, code=2):
        return PlanRequest(
            users=users,
            days=days,
            share=parse_share(share) if share is not None else None,
            requests=requests,
            assumptions=parse_assumptions(",".join(assume), judged.metrics),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentLanes:
    """`sizes` has each canary's part of the units, in [0, 1], but for one alone that has no lane. `refused`
    says why a canary's candidate serves nobody, by name. Without `known`, no state could be read: the sizes
    are those of canaries that have not started. `states` are those that could be read."""

    sizes: Mapping[str, float]
    refused: Mapping[str, str]
    known: bool
    states: Mapping[str, "State"] = field(default_factory=dict)

    @property
    def over(self) -> Mapping[str, "State"]:
        """The states of the canaries that were decided."""
        from records.facts.standing import OVER

        return {name: each for name, each in self.states.items() if each.state in OVER}

    def of(self, read: Config, name: str) -> float:
        """The part of its requests' users that a canary has, or would have; of one that is refused, and of a
        standing one's next trial, by the file alone."""
        if name in read.standing:
            return read.standing[name].terms.canary.lane or 1.0
        return (read.lanes if name in self.refused else self.sizes).get(name, 1.0)


def lanes_now(read: Config, data: Path) -> CurrentLanes:
    """The lanes as the server with this data folder has them, or would cut them. Creates nothing."""
    states = None if not data.is_dir() else _states(read, data)
    if states is None:
        return CurrentLanes(sizes=read.lanes, refused={}, known=False)
    from control.states.rollouts import allotment
    from routing.transitions import redefinition

    held = {
        # One that is no longer in the file has ended, as the server takes it.
        name: each if name in read.canaries else replace(each, state=replace(each.state, state="ended"))
        for name, each in states.items()
    }
    cut, sizes = allotment(read.canaries, held), dict.fromkeys(read.lanes, 1.0)
    refused = dict(cut.refused)
    for name, wanted in read.canaries.items():
        state = held[name].state if name in held else None
        lane = cut.lanes.get(name) if state is None or state.state == "waiting" else state.lane
        if lane is not None:
            sizes[name] = lane.part
        if problem := redefinition(wanted.canary, state, in_force=False):
            refused[name] = problem
        if name in cut.refused or (state is not None and state.state == "ended"):
            sizes[name] = 0.0
    now = {name: each.state for name, each in states.items()}
    return CurrentLanes(sizes=sizes, refused=refused, known=True, states=now)


def recorded_traffic(
    read: Config, data: Path, lanes: CurrentLanes, known: "CanarySettings", judged: "JudgedCanary"
) -> "RecordedTraffic | None":
    """What the store has of the canary's traffic; None, said on stderr, if it does not answer. Creates no
    file."""
    from verdict.planner.prospect import recorded_of

    if read.store.startswith("sqlite:") and not lanes.known:
        return None
    lane, without = lanes.of(read, known.canary.name), "planning without recorded traffic"
    return shell.from_store(
        read, data, lambda store: recorded_of(store, known.canary, judged, lane), None, without
    )


def data_of(config: Path) -> Path:
    """The data folder for a command without `--data`."""
    given = os.environ.get("CANARY_DATA")
    return Path(given) if given else data_folder(config, os.environ)


def _states(read: Config, data: Path) -> "Mapping[str, VersionedState] | None":
    """The states in the store; None, said on stderr if it does not answer."""
    from records.errors import StoreDown
    from records.store.migrate import found_at
    from records.store.store import states_in

    try:
        return found_at(read.store, data, states_in)
    except StoreDown as problem:
        shell.say(f"{problem}; going on without the canaries' states")
        return None
