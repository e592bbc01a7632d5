"""`canary judge`: judges captured pairs, answers or sessions of a canary now."""

import asyncio
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from canary.commands import shell

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from bench.settings import BenchSettings
    from canary.config import Config
    from control.settings import CanarySettings
    from judge.runs.due import UnjudgedExchange
    from judge.terms import JudgedRun, Kind
    from records.store import Store


def judge(
    at: shell.Local,
    name: Annotated[str, typer.Argument(help="The canary.")],
    pairs: Annotated[int | None, typer.Option(min=1, help="Judge so many mirrored pairs.")] = None,
    answers: Annotated[
        int | None, typer.Option(min=1, help="Mark so many single answers of both arms.")
    ] = None,
    sessions: Annotated[
        int | None, typer.Option(min=1, help="Mark so many whole sessions of both arms.")
    ] = None,
) -> None:
    """Judge captured pairs, answers or sessions of a canary's run now, within the day's budget.

    What the day has had already does not count. Needs no server. Exits 1 if nothing was judged, or the
    provider failed.
    """
    from judge.runs.due import more
    from judge.terms import Kind
    from pages.words.judge import judged_now_text

    asked: dict[Kind, int] = {
        kind: number
        for kind, number in zip(get_args(Kind), (pairs, answers, sessions), strict=True)
        if number is not None
    }
    if len(asked) != 1:
        shell.fail(
            "give --pairs N (of mirrored requests), --answers N or --sessions N (of both arms)", code=2
        )
    read = at.read()
    shell.must_not_stand(read, name)
    wanted = shell.canary_of(read, name)
    ((kind, number),) = asked.items()
    if missing := _missing(read, wanted, kind):
        shell.fail(f"no {kind} of {name} can be judged: in {at.config} set {'; '.join(missing)}")
    with shell.opened(read, at.data) as store:
        run = _run(store, wanted, kind, number)
        due = more(store, run, time.time()) or _nothing(run, store)
        told = asyncio.run(_judged(read.bench, run, due, store))
    shell.answer(at.output, told, judged_now_text(told))
    _end(told, run)


def _missing(config: "Config", wanted: "CanarySettings", kind: "Kind") -> list[str]:
    """What judging needs of the config, and it lacks."""
    of_file = "`judge: {provider: …, model: …, daily_budget: 5.00}` at the top"
    found = [of_file] if config.judge is None else []
    if wanted.judge is None:
        found.append(f"`judge: {{{kind}s: 200}}` in the canary")
    if kind == "pair" and not wanted.mirror:
        found.append("`mirror: 10%`, which copies requests to the candidate")
    if wanted.capture is None or (kind == "session" and not wanted.capture.rate):
        found.append("`capture: {rate: 10%}`, which keeps the answers")
    return found


def _run(store: "Store", wanted: "CanarySettings", kind: "Kind", number: int) -> "JudgedRun":
    """The canary's current run. Exits 1 if it has none."""
    name = wanted.canary.name
    known = store.states().get(name)
    if known is None or known.state.started_at is None:
        shell.fail(f"{name} has not started, so nothing is there to judge; `canary status {name}` says why")
    run = wanted.judged_run(known.state.run)
    if run is None:
        shell.fail(f"{name} has no judge")
    return replace(run, kind=kind, number=number)


def _nothing(run: "JudgedRun", store: "Store") -> "Sequence[UnjudgedExchange]":
    """Exit 1, and say what would bring something to judge."""
    from judge.judgements import Judgements

    done = sum(each.kind == run.kind for each in Judgements(store).of(run.canary, run.run))
    told = f"no {run.kind} of {run.canary}'s run {run.run} waits for the judge, {done} have been judged"
    if run.kind == "session":
        shell.fail(f"{told}; a session that `capture: {{rate: …}}` drew is whole after 30 minutes of silence")
    if run.kind == "answer":
        shell.fail(f"{told}; whole answers of both arms are captured as `capture` says")
    shell.fail(f"{told}; pairs are requests that `mirror` copied and `capture` kept, with both answers whole")


async def _judged(
    settings: "BenchSettings", run: "JudgedRun", due: "Sequence[UnjudgedExchange]", store: "Store"
) -> "dict[str, Any]":
    """Exits 1 without a price or a key."""
    from bench.errors import BenchError
    from judge.judgements import Judgements
    from judge.model import Judge
    from judge.runs.due import judge_now
    from pages.words.judge import judged_now_document

    judgements = Judgements(store)
    with shell.ended_by(BenchError):
        asked = await asyncio.to_thread(Judge.of, settings, judgements, os.environ)
    try:
        now = await judge_now(
            asked, run, due, store, progress=lambda done, of: shell.say(f"{done} of {of} judged")
        )
        return judged_now_document(run, asked, now, judgements, at=time.time())
    finally:
        await asked.close()


def _end(told: "dict[str, Any]", run: "JudgedRun") -> None:
    """Say why it ended early, and exit 1 where that is an error."""
    count = told[f"{run.kind}s"]
    if told["refused"]:
        shell.say(f"{told['refused']} were refused by the provider: {told['refused_because']}")
    if told["stopped"] == "budget":
        shell.say(
            "today's budget has no room for another call; raise `daily_budget`, or go on tomorrow (UTC)"
        )
    elif told["stopped"] == "small budget":
        shell.say("the whole `daily_budget` is too small for one call, today and tomorrow; raise it")
    elif told["stopped"]:
        shell.say(f"the judge's provider failed: {told['stopped']}")
    if not count or told["stopped"] not in ("", "budget", "small budget"):
        raise typer.Exit(1)
