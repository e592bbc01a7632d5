"""`canary start`, `ramp`, `pause`, `resume`, `rollback`, `promote`, `decide`: an operator's orders."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import quote

import typer

from canary.commands import shell
from pages.words.status import confirmations, held_on, plain
from records.facts.prices import UnpricedArm, said_once

Name = Annotated[str, typer.Argument(help="The canary's name.")]
Reason = Annotated[str, typer.Option("--reason", help="The reason, for the audit log.")]
NeededReason = Annotated[str, typer.Option("--reason", help="The reason, for the audit log (required).")]
DespiteRetirement = Annotated[
    bool,
    typer.Option(
        "--despite-retirement", help="Do it although it gives users a model that retires. It is kept."
    ),
]
_WITHIN_S, _REPORT_WITHIN_S = 30.0, 600.0
"""How long an answer may take; a promotion or decision makes the report first, which may take minutes."""

ASKED = 4
"""The exit code of a promotion that is only asked for: not decided yet."""


def start(at: shell.Server, name: Name, reason: Reason = "") -> None:
    """Start a canary that has `start: manual`."""
    _order(at, "start", name, reason)


def ramp(
    at: shell.Server,
    name: Name,
    share: Annotated[str, typer.Argument(help="The new share, for example 10%.")],
    reason: Reason = "",
) -> None:
    """Set the candidate's share. A higher share keeps the users who are already in the cohort."""
    from canary.config.quantity import parse_share

    with shell.ended_by(ValueError, code=2):
        wanted = parse_share(share)
    _order(at, "ramp", name, reason, share=wanted)


def pause(at: shell.Server, name: Name, reason: Reason = "") -> None:
    """Pause the ramp. The share stays."""
    _order(at, "pause", name, reason)


def resume(at: shell.Server, name: Name, reason: NeededReason) -> None:
    """Resume a canary. After a rollback it starts again at the first step, with fresh evidence."""
    _order(at, "resume", name, reason)


def rollback(
    at: shell.Server,
    name: Name,
    reason: Reason = "",
    hard: Annotated[
        bool,
        typer.Option(
            "--hard", help="The candidate gets no request any more, not even of conversations it began."
        ),
    ] = False,
    despite_retirement: DespiteRetirement = False,
    minutes: shell.Minutes = None,
    stage: shell.Stage = "",
) -> None:
    """Roll back now: set the share to 0 until somebody resumes the canary.

    Towards a baseline that has retired, after a promotion also one that will soon, it needs
    --despite-retirement.
    """
    more = {**shell.spent(minutes, stage), "despite_retirement": despite_retirement}
    _order(at, "rollback", name, reason, hard=hard, **more)


def promote(
    at: shell.Server,
    name: Name,
    reason: NeededReason,
    by: Annotated[
        str | None, typer.Option(help="The person who promotes; by default the system's user name.")
    ] = None,
    against_verdict: Annotated[
        bool,
        typer.Option(
            "--against-verdict", help="Promote although the report says don't ship, or extend. It is kept."
        ),
    ] = False,
    despite_retirement: DespiteRetirement = False,
    minutes: shell.Minutes = None,
    stage: shell.Stage = "",
) -> None:
    """Send all users to the candidate, in a lane those of the lane. Never happens automatically.

    Says what the report says. Unless that is to ship, it needs --against-verdict. Where the candidate retires
    soon, or a hold-back's baseline before its end, it needs --despite-retirement.
    With `promote: two_people` the first person's order asks, and exits 4; another person's promotes.
    """
    if by is not None and not by.strip():
        shell.fail("--by must not be empty", code=2)
    more = {
        **shell.spent(minutes, stage),
        "against_verdict": against_verdict,
        "despite_retirement": despite_retirement,
    }
    _order(at, "promote", name, reason, by=by, **more)


def _order(
    at: shell.Server, order: str, name: str, reason: str, *, by: str | None = None, **more: float | str | None
) -> None:
    """Give the order with what `more` is known, and say what came of it."""
    known = {key: value for key, value in more.items() if value is not None and value is not False}
    done = give(at, name, order, {"who": by or shell.user(), "reason": reason, **known})
    if at.output == "json":
        shell.print_json(done)
    else:
        _tell(order, name, done)
    if done.get("promote_asked"):
        raise typer.Exit(ASKED)


def give(
    at: shell.Server,
    name: str,
    order: str,
    document: Mapping[str, Any],
    of: Literal["canaries", "standing"] = "canaries",
) -> Any:
    """Give the server an order, by this user unless the document says `who`, and return its answer. Exits 1
    if the server does not answer, or refuses."""
    path = f"/api/{of}/{quote(name, safe='')}/{order}"
    within_s = _REPORT_WITHIN_S if order in ("promote", "decide") else _WITHIN_S
    whole = {"who": shell.user(), **document}
    return shell.ask(lambda: at.client().post(path, whole, within_s=within_s))


def _tell(order: str, name: str, done: Mapping[str, Any]) -> None:
    if report := done.get("report"):
        word = report["verdict"].replace("dont", "don't").replace("_", " ")
        shell.say(f"{name}: the report says {word}{f': {said}' if (said := report['says']) else ''}")
    warn_of_retirement(done)
    if asked := done.get("promote_asked"):
        until = datetime.fromtimestamp(asked["until"], UTC).strftime("%Y-%m-%d %H:%M")
        against = "--against-verdict " if asked["against"] else ""
        against += "--despite-retirement " if done["retires"] else ""
        return shell.say(
            f"{name}: not promoted yet: {asked['who']} has asked for it. Until {until} UTC somebody else may "
            f"promote it, on the page or with: canary promote {name} {against}--by THEIR-NAME --reason …"
        )
    if order in ("start", "resume", "ramp"):
        warn_of_prices(done)
    held = f", {held_on(done['held_back'])}" if done["held_back"] else ""
    lane = "" if done["lane"] is None else f" of its lane ({done['lane']:.3%} of the users)"
    return shell.say(
        f"{name}: {plain(done['state'])}, share {done['share'] * 100:.3g}%{lane}{held}, "
        f"{confirmations(done['confirmed'], done['workers'])}"
    )


def warn_of_retirement(done: Mapping[str, Any]) -> None:
    """Say when the model retires that an order gave users."""
    if done["retires"]:
        shell.say(f"warning: {done['retires']}")


def warn_of_prices(done: Mapping[str, Any]) -> None:
    """Say which arms of an order's canary have no known price."""
    for arm in said_once(UnpricedArm(**each) for each in done.get("unpriced", ())):
        shell.say(f"warning: {arm.sentence}")


Choice: TypeAlias = Literal["ship", "dont_ship", "extend"]


def decide(
    at: shell.Server,
    name: Annotated[str, typer.Argument(help="The canary's name.")],
    reason: Annotated[str, typer.Option(help="The reason.")],
    choice: Annotated[Choice | None, typer.Argument(metavar="[DECISION]", help="The decision.")] = None,
    decision: Annotated[Choice | None, typer.Option(help="The same.")] = None,
    by: Annotated[
        str | None, typer.Option(help="The person who decides; by default the system's user name.")
    ] = None,
    despite: Annotated[
        str,
        typer.Option(
            help="With ship: each miss and what is undecided that it outweighs, for example "
            "csat,category:refund."
        ),
    ] = "",
    minutes: shell.Minutes = None,
    stage: shell.Stage = "",
) -> None:
    """Record a decision on a canary. Changes no share; use promote, ramp or rollback for that.

    A decision to ship names each miss of the run, and what is undecided where that is all that is missing. It
    counts for these as they stand now: one that gets worse than its whole interval of now, an undecided one
    that misses, or another miss, is don't ship again. It never outweighs a rollback, missing days, or a split
    of users that does not match the share: one that leaves the verdict at extend is refused.
    """
    who, wanted = shell.user() if by is None else by, decision if choice is None else choice
    if not who.strip() or not reason.strip():
        shell.fail("--by and --reason must not be empty", code=2)
    if wanted is None or (choice and decision and choice != decision):
        shell.fail("say one decision: canary decide NAME ship, dont_ship or extend", code=2)
    names = [each.strip() for each in despite.split(",") if each.strip()]
    if names and wanted != "ship":
        shell.fail("--despite needs the decision ship: it names the misses that this outweighs", code=2)
    document = {"decision": wanted, "who": who, "reason": reason, "despite": names}
    done = give(at, name, "decide", document | shell.spent(minutes, stage))
    weighed = f" despite {', '.join(names)}" if names else ""
    text = f"{name}, run {done['run']}: {wanted.replace('_', ' ')}{weighed}, by {who}\n{done['note']}"
    shell.answer(at.output, done, text, by=shell.say)
