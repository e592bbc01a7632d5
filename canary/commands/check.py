"""`canary check`: checks a config and summarizes its canaries. `canary schema`: its JSON Schema."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from alerts.incidents.apprise_receiver import wrong_with
from canary.commands import shell
from canary.commands.plan import CurrentLanes, data_of, lanes_now, recorded_traffic
from canary.config import Config, ConfigError, load
from canary.config.certificate import certificate_of
from canary.config.load import begun_in, refusals, taken_in, told_in
from common.numbers import set_percent
from control.jobs.retirements import urgent
from judge.terms import without_price
from records.facts.prices import said_once
from records.facts.retirement import LastDay
from routing.canary import Canary, arm_names

if TYPE_CHECKING:
    from alerts.rules.few_users import FewUsers
    from control.settings import CanarySettings, StandingCanary
    from routing.states import State
    from verdict.planner.assumptions import RampLength
    from verdict.planner.prospect import PlanRequest, Prospect

_ARMS = ("baseline", "candidate")
USUAL_REQUESTS = (1.0, 3.0, 8.0)
"""Requests per user, for the JSON, if not given."""


def check(
    config: shell.ConfigFile = shell.CONFIG,
    users: Annotated[
        int | None,
        typer.Option(
            min=1, help="Users in the planned days, for the chance to ship, instead of 20,000 in 14 days."
        ),
    ] = None,
    requests: Annotated[
        float | None, typer.Option(min=1, max=1e6, help="Requests per user, for the chance to ship: 3.")
    ] = None,
    output: shell.Form = "text",
) -> None:
    """Check the configuration, and estimate how likely a good candidate is to ship."""
    from verdict.planner.prospect import PlanRequest

    now = time.time()
    with shell.ended_by(ConfigError, code=2):
        read = load(config, os.environ)
        certificate = certificate_of(read, config, now)
    if read.judge is not None and not read.judge_is_priced():
        shell.fail(f"{config}: {without_price(read.judge.name)}", code=2)
    if wrong := _budget_without_a_call(read):
        shell.fail(f"{config}: {wrong}", code=2)
    today = datetime.fromtimestamp(now, UTC).date()
    warnings = [
        *read.warnings,
        *(each.sentence for each in said_once(read.unpriced())),
    ]
    if certificate is not None:
        warnings += [f"{config}: {each}" for each in certificate.warnings(now)]
    data = data_of(config)
    lanes = lanes_now(read, data)
    retired = urgent(_listed(read, data, lanes), read.retires, read.uses, today)
    warnings += [each.sentence(today) for each in retired]
    begun = begun_in(data, read.store) if lanes.known else {}
    before = taken_in(config, os.environ, data) if lanes.known else None
    kept = refusals(read, lanes.states, begun, before)
    warnings += [each for each in lanes.refused.values() if each not in kept] + kept
    warnings += [
        f"{config}: {each.sentence}"
        for each in read.control.left(begun, None if before is None else before.control)
        if each.is_in_force(lanes.states) and not each.taken_by
    ]
    warnings += _not_in_force(config, read)
    warnings += [
        f"{config}: {trial} keeps {' and '.join(changed)} of its begin; the file's are for the next trial of "
        f"{name}, and for requests that no trial takes"
        for name, each in read.standing.items()
        for trial, begun in each.begun.open.items()
        if (changed := begun.changed(each.entry))
    ]
    warnings += [
        f"{config}: {name}: {file} changed after the start: the old text stays"
        for name, each in read.canaries.items()
        for file in each.changed_texts
    ]
    warnings += [
        f"{config}: notify[{place}].apprise: {wrong}"
        for place, each in enumerate(read.notify)
        if each.kind == "apprise" and (wrong := wrong_with(each.of("anna@example.com").url))
    ]
    for warning in warnings:
        shell.say(warning)
    prospects = _prospects(read, lanes, data, PlanRequest(users=users, requests=requests))
    given = USUAL_REQUESTS if requests is None else (requests,)
    told = told_in(data, read.store) if lanes.known else {}
    document = _document(read, lanes, prospects, given, warnings, told)
    if output == "json":
        shell.print_json(document)
        return _exit(kept)
    from pages.words.status import users_needed_sentence

    for each in [*document["canaries"], *document["standing"]]:
        shares = " → ".join(f"{share * 100:.3g}%" for share in each["shares"])
        if "trials" in each:
            for line in _standing(each, shares):
                shell.print_text(line)
            if each["trials"]:
                continue  # they have the same terms
        else:
            both = f"{each['baseline']} → {each['candidate']}"
            decided = _in_force(each, lanes.over.get(each["name"]))
            shell.print_text(f"{each['name']}: {both}, {decided or f'share {shares}{_lane(each)}'}")
            if decided:
                continue  # its plan has run
        for text in each.get("texts", ()):
            shell.print_text(text["diff"])
        if each["few_users"] is not None:
            shell.print_text(f"{each['name']}: {each['few_users']['sentence']}")
        elif needs := users_needed_sentence(each["users_needed"], each["shares"][-1]):
            shell.print_text(needs)
        if said := each["plan"]["sentence"] if each["plan"] is not None else each["unplanned"]:
            shell.print_text(said)
        if each["ramp"] is not None:
            shell.print_text(each["ramp"]["sentence"])
        if rows := each["offline"]:
            shell.print_text(
                f"Only `canary bench` judges {', '.join(rows)}: no part of the canary's verdict and score"
            )
    if lanes.sizes and not lanes.known:
        shell.print_text(
            "These lanes are for canaries that have not started; one that has started keeps what it has"
        )
    if said := _open_to_all(read):
        shell.print_text(said)
    refused = ", ".join(lanes.refused)
    if kept:
        shell.print_text(f"{config}: valid, but the server refuses it and keeps the config that it has")
    else:
        shell.print_text(
            f"{config}: valid, but the server refuses {refused}" if refused else f"{config}: fine"
        )
    return _exit(kept)


def _exit(kept: Sequence[str]) -> None:
    """Exit 2 where the server would keep the config that it has."""
    if kept:
        raise typer.Exit(2)


def _listed(read: Config, data: Path, lanes: CurrentLanes) -> Mapping[str, LastDay]:
    """When models retire by the providers' lists, as the watcher stored it. Creates no file."""
    from records.store.releases import ListedRetirements

    if not lanes.known:
        return {}
    return shell.from_store(read, data, lambda store: ListedRetirements(store).all(), {})


def _standing(each: Mapping[str, Any], shares: str) -> list[str]:
    """What a standing canary's users get, since when and by whom, and what the next order does."""
    from pages.words.arms import taken_over
    from pages.words.status import held_on, kept, whom

    since, name = "by the config", each["name"]
    if each["since"] is not None:
        since = f"since {_day(each['since'])}: {each['by']} promoted {each['canary']}"
    elif back := each["taken_back"]:
        since = f"since {_day(back['at'])}: {back['who']} took {back['canary']} back"
    lane = "" if each["lane"] is None else f" of a lane of {each['lane']:.3%} of the units"
    when = "once somebody starts it" if each["start"] == "manual" else "once its preflight has passed"
    has = taken_over(each["takes_over"])
    told = [
        f"{name}: standing, {whom(each['others'], due=bool(each['told']))} {each['in_force']}, {since}",
        f"canary begin {name} --model MODEL: the candidate gets {shares}{lane}, {when}{has}",
    ]
    told[0] += f"; {held_on(each['held_back'])}" if each["held_back"] else ""
    told[0] += "".join(f"; but {kept(trial)}" for trial in each["kept"])
    told[0] += f"; {each['told']}" if each["told"] else ""
    return [*told, *([f"{name} tries {', '.join(each['trials'])}"] if each["trials"] else ())]


def _in_force(canary: Mapping[str, Any], state: "State | None") -> str:
    """What the users of a promoted, rolled back or ended canary get, since when; "" of another canary."""
    if state is None or state.changed_at is None or canary["refused"] is not None:
        return ""
    since = _day(state.changed_at)
    whom = "everybody" if canary["lane"] is None else "everybody in its lane"
    if state.state != "promoted":
        again = ", until `canary resume` begins it anew" if state.state == "rolled_back" else ""
        return f"{state.state.replace('_', ' ')} since {since}: {whom} gets {canary['baseline']}{again}"
    if state.holdback is not None and state.holds_back:
        until = _day(state.holdback.until)
        whom += f" but the {set_percent(1.0 - state.share)} that are held back until {until}"
    told, gets = canary["told"], "is to get" if canary["told"] else "gets"
    return f"promoted since {since}: {whom} {gets} {canary['candidate']}{f'; {told}' if told else ''}"


def _not_in_force(config: Path, read: Config) -> list[str]:
    """Where the file's baseline of a standing canary is not the one in force: older, or taken back."""
    from pages.words.arms import in_file

    return [
        f"{config}: the file's baseline of {name} is {in_file(each.in_file)}{_taken_back(each)}; in force is "
        f"{_alone(each)}, which counts (`canary show {name} -o yaml` prints it)"
        for name, each in read.standing.items()
        if each.in_file != each.baseline
    ]


def _taken_back(standing: "StandingCanary") -> str:
    """Who took the file's baseline back, and when; "" if nobody did."""
    gone = (each.withdrawn for each in reversed(standing.begun.history) if each.arm == standing.in_file)
    back = next(gone, None)
    return "" if back is None else f", which {back.who} took back on {_day(back.at)}"


def _day(at: float) -> str:
    """2026-12-03, of a UTC second."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


def _alone(standing: "StandingCanary") -> str:
    """A standing canary's baseline in force, with what it is more than its model."""
    arm = standing.terms.canary.baseline
    return arm_names(arm, arm)[0]


def _open_to_all(read: Config) -> str:
    """That nobody is asked for a key, though there are entries that callers need none for; "" otherwise."""
    own = [each.name for each in read.providers.values() if each.own_auth is not None]
    if read.callers or not own:
        return ""
    return f"No callers: whoever reaches the traffic listener uses the credentials of {', '.join(own)}"


def _lane(canary: Mapping[str, Any]) -> str:
    """The lane of a canary whose requests others match too, and the candidate's part of all their units."""
    if canary["refused"] is not None:
        return ", but the server refuses it"
    if canary["lane"] is None:
        return ""
    at_the_end = " at the last step" if len(canary["shares"]) > 1 else ""
    return f" of its lane ({canary['lane']:.3%} of the units), so {canary['part']:.3%} of all{at_the_end}"


def _budget_without_a_call(read: Config) -> str:
    """What is wrong with a daily budget in which a canary's judge could never make a call; "" if it could."""
    from judge.model import too_small

    judges = (each.judge for each in read.canaries.values() if each.judge is not None)
    return next(filter(None, (too_small(read.bench, each.kind) for each in judges)), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Expected:
    """What is expected of a canary: its prospect, how long its ramp takes, what its users are too few for."""

    prospect: "Prospect | None" = None
    ramp: "RampLength | None" = None
    few_users: "FewUsers | None" = None


def _prospects(
    read: Config, lanes: CurrentLanes, data: Path, wanted: "PlanRequest"
) -> Mapping[str, _Expected]:
    """What is expected of each canary and standing canary, as `canary plan` has it; nothing of one that is
    refused, or that was decided. A check needs no records."""
    from control.operator.status import too_few
    from verdict.planner.prospect import expected_users, prospect_of, ramp_length

    unpriced = read.unpriced()
    found = dict.fromkeys(read.known, _Expected())
    for name, each in read.known.items():
        if name in lanes.refused or name in lanes.over:
            continue
        seen, lane = recorded_traffic(read, data, lanes, each, each.judged), lanes.of(read, name)
        unknown = [arm.arm for arm in unpriced if arm.canary == name]
        found[name] = _Expected(
            prospect=prospect_of(each.judged, each.canary.steps, wanted, seen, lane=lane, unpriced=unknown),
            ramp=ramp_length(each.judged, each.canary.steps, wanted, seen),
            few_users=too_few(each, expected_users(each.judged, wanted, seen, lane=lane)),
        )
    return found


def _document(
    read: Config,
    lanes: CurrentLanes,
    prospects: Mapping[str, _Expected],
    requests: Sequence[float],
    warnings: Sequence[str],
    told: Mapping[str, str],
) -> dict[str, Any]:
    from alerts.rules.scope import users_needed_of
    from pages.reports.plan import brief_document, power_document, ramp_document, unplanned

    def terms(each: "CanarySettings") -> dict[str, Any]:
        expected = prospects[each.canary.name]
        found, few = expected.prospect, expected.few_users
        return {
            "users_needed": users_needed_of(each.guardrails, each.canary.steps[-1].share),
            "rubric": [criterion.metric for criterion in each.judged.criteria],
            "offline": [criterion.metric for criterion in each.judged.offline],
            "power": power_document(found, requests) if found else None,
            "plan": brief_document(found) if found else None,
            "unplanned": unplanned(each.judged),
            "ramp": ramp_document(expected.ramp),
            "few_users": few.document if few is not None else None,
        }

    return {
        "canaries": [
            {
                "name": each.canary.name,
                **dict(zip(_ARMS, arm_names(each.canary.baseline, each.canary.candidate), strict=True)),
                "state": known.state if (known := lanes.states.get(each.canary.name)) is not None else None,
                "shares": [step.share for step in each.canary.steps],
                "told": told.get(each.canary.name, ""),
                **_part(each.canary, lanes),
                **terms(each),
                **_texts(read, each),
            }
            for each in read.canaries.values()
        ],
        "standing": [
            {
                "name": name,
                "baseline": dict(each.baseline),
                "in_force": _alone(each),
                "takes_over": list(each.taken_over({})),
                "since": newest.at if newest is not None else None,
                "by": newest.who if newest is not None else None,
                "canary": newest.canary if newest is not None else None,
                "taken_back": each.taken_back,
                "kept": each.kept(lanes.sizes.get),
                "held_back": each.held_back(read.canaries, lanes.states.get),
                "others": each.others(read.canaries, lanes.states.get),
                "told": each.told(name, told),
                "trials": [trial for trial in each.begun.open if trial not in lanes.over],
                "start": "manual" if each.terms.canary.start_by_hand else "auto",
                "shares": [step.share for step in each.terms.canary.steps],
                "lane": each.terms.canary.lane,
                **terms(each.terms),
            }
            for name, each in read.standing.items()
            for newest in [each.begun.baseline]
        ],
        "states_read": lanes.known,
        "warnings": list(warnings),
    }


def _texts(read: Config, settings: "CanarySettings") -> dict[str, Any]:
    """How the arms' texts differ, as `diff -u` shows it; nothing without any."""
    from pages.words.arms import UNKNOWN, lines
    from records.facts.arm_texts import changes_between
    from routing.canary import text_digest

    canary, files = settings.canary, {digest: file for file, digest in settings.texts.items()}

    def named(text: str) -> str:
        return files.get(text_digest(text), UNKNOWN)

    found = changes_between(canary.baseline, canary.candidate, read.texts)
    texts = [
        {"what": each.what, "diff": "\n".join(lines(each, named(each.before), named(each.after)))}
        for each in found
    ]
    return {"texts": texts} if texts else {}


def _part(canary: Canary, lanes: CurrentLanes) -> dict[str, Any]:
    """The canary's lane, its candidate's part of all units at the last step, and why it is refused."""
    size, refused = lanes.sizes.get(canary.name), lanes.refused.get(canary.name)
    part = 0.0 if refused is not None else (1.0 if size is None else size) * canary.steps[-1].share
    return {"lane": None if size is None else round(size, 9), "part": round(part, 9), "refused": refused}


def schema(
    output: Annotated[Literal["json"], typer.Option("-o", "--output", help="Always json.")] = "json",
) -> None:
    """Print the JSON Schema of canary.yaml, for editors."""
    from canary.config.schema import json_schema

    shell.print_json(json_schema())
