"""Judges a number of captures now, for a person who waits for it."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.judge import Judge, Subject
from bench.judge_settings import dollars
from bench.judge_work import JudgedRun
from records.judgements import BudgetSpent, JudgedExchange, Judgements
from records.store import Store
from records.unjudged import Unjudged

Progress = Callable[[int, int], None]


@dataclass(slots=True)
class JudgedNow:
    """What came of it. `ids` were judged, `refused` counts those that the provider refused for what they say,
    in its `words`. `stopped` says why the rest was not asked about: "budget", "small budget" (no day has room
    for the call), or the provider's words; "" if all were."""

    ids: list[str] = field(default_factory=list)
    refused: int = 0
    words: str = ""
    stopped: str = ""


async def judge_now(
    judge: Judge, run: JudgedRun, due: Sequence[Unjudged], store: Store, *, progress: Progress
) -> JudgedNow:
    """Judge these, `at_once` at a time; a failure of the provider ends it. May raise StoreDown."""
    now, waiting, working = JudgedNow(), list(reversed(due)), 0

    async def work() -> None:
        nonlocal working
        working += 1
        while waiting and not now.stopped:
            each = waiting.pop()
            subject = await asyncio.to_thread(run.subject, store, each.exchange_id, judge.source.name)
            try:
                calls = await judge.begin(subject) if subject is not None else {}
            except BudgetSpent as problem:
                # What others have in flight is reserved at its highest price: only the last one knows.
                waiting.append(each)
                small = problem.needed_usd > judge.source.daily_budget_usd
                now.stopped = ("small budget" if small else "budget") if working == 1 else now.stopped
                break
            if subject is not None and calls:
                await _ask(judge, subject, calls, now)
                progress(len(now.ids), len(due))
        working -= 1

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(judge.source.at_once, len(due))):
                group.create_task(work())
    except ExceptionGroup as problems:  # the store is down for all of them
        raise problems.exceptions[0] from None
    return now


async def _ask(judge: Judge, subject: Subject, calls: Any, now: JudgedNow) -> None:
    ended = await judge.ask(subject, calls)
    if ended == "judged":
        now.ids.append(subject.judgement.exchange_id)
    elif ended == "refused":
        now.refused, now.words = now.refused + 1, judge.problem
    else:
        now.stopped = now.stopped or judge.problem


def document(
    run: JudgedRun, judge: Judge, now: JudgedNow, judgements: Judgements, *, at: float
) -> dict[str, Any]:
    """What `canary judge -o json` prints. May raise StoreDown."""
    wanted = set(now.ids)
    judged = [each for each in judgements.of(run.canary, run.run) if each.exchange_id in wanted]
    source, spent = judge.source, judgements.spent(at)
    return {
        "canary": run.canary,
        "run": run.run,
        "judge": source.name,
        run.kind + "s": len(judged),
        **(_pairs(judged) if run.kind == "pair" else _marks(judged)),
        "no_mark": sum(each.result == "no_mark" for each in judged),
        "unreadable": sum(_is_unreadable(each) for each in judged),
        "refused": now.refused,
        "refused_because": now.words,
        "stopped": now.stopped,
        "cost_usd": sum(each.cost_usd for each in judged),
        "budget_left_usd": max(0.0, source.daily_budget_usd - spent),
    }


def _is_unreadable(judged: JudgedExchange) -> bool:
    """True for one without a mark although every call was answered."""
    return judged.result == "no_mark" and all(call.state == "answered" for call in judged.calls)


def _pairs(judged: Sequence[JudgedExchange]) -> dict[str, int]:
    words = {"won": "candidate", "tie": "tie", "lost": "baseline"}
    return {word: sum(each.result == result for each in judged) for word, result in words.items()}


def _marks(judged: Sequence[JudgedExchange]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for arm in ("baseline", "candidate"):
        marks = [each.mark for each in judged if each.arm == arm and each.mark is not None]
        found[arm] = {"marked": len(marks), "mean_mark": sum(marks) / len(marks) if marks else None}
    return found


def text(told: dict[str, Any]) -> str:
    """The same in a line."""
    if "pairs" in told:
        what = f"{_counted(told['pairs'], 'pair')}: won {told['won']}, tie {told['tie']}, lost {told['lost']}"
    else:
        what = f"{_counted(told['answers'], 'answer')}: {_arm(told, 'baseline')}, {_arm(told, 'candidate')}"
    money = f"cost {dollars(told['cost_usd'])}, {dollars(told['budget_left_usd'])} left today"
    return f"{told['canary']}: {what}, no mark {told['no_mark']}{_never_ended(told)}; {money}"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _never_ended(told: dict[str, Any]) -> str:
    """What the judge should have written, where no answer could be read; "" where one could."""
    count, ending = (
        (told["pairs"], "BETTER: A, B or SAME") if "pairs" in told else (told["answers"], "MARK: 1 to 5")
    )
    return f": the judge never ended with {ending}" if count and told["unreadable"] == count else ""


def _arm(told: dict[str, Any], arm: str) -> str:
    marked, mean = told[arm]["marked"], told[arm]["mean_mark"]
    return f"{arm} {mean:.2f} of 5 in {marked}" if marked else f"{arm} none"
