"""What `canary judge` says of the answers that it had judged: as JSON, and in a line."""

from collections.abc import Sequence
from typing import Any

from judge.judgements import JudgedExchange, Judgements
from judge.model.judge import Judge
from judge.runs.due import JudgedNow
from judge.terms import JudgedRun, dollars


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
