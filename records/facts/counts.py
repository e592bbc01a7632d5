"""Counts over batches of outcomes: alike ones together, those of callers, and those that no canary took by
minute and model. Callers choose the names of models; the proxy sets a caller's name, from the config."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from records.outcome import THROTTLED, ErrorType, Outcome, OutcomeName
from routing.assignment import Reason
from routing.caller import TAG

MOST_LEFT = 1000
"""Names that left the config whose counts are kept; then the first of them are forgotten."""


class CallerCount(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """`requests` of one caller in one batch that ended alike. `refused`: by the proxy itself. `at`: UTC
    seconds of the newest."""

    caller: str
    outcome: OutcomeName
    refused: bool
    requests: int
    at: float


def callers_in(outcomes: Iterable[Outcome]) -> list[CallerCount]:
    """The counts in one batch, without mirror copies, which nobody sent."""
    found: dict[tuple[str, OutcomeName, bool], list[float]] = {}
    for each in outcomes:
        caller = each.tags.get(TAG) if each.tags else None
        if caller and not each.mirror:
            refused = each.outcome == "caller_error" and not each.attempts
            found.setdefault((caller, each.outcome, refused), []).append(each.at)
    return [CallerCount(*key, len(times), max(times)) for key, times in found.items()]


MOST_MODELS, LONGEST_NAME = 50, 128
REST = "other models"
"""Stands for the models beyond the most frequent ones."""


OUTSIDE: tuple[Reason, ...] = ("no_unit", "stateful", "prompt_missed")
"""Why the baseline serves a request of a canary outside its statistics, though its app could change that."""

REFUSALS: tuple[ErrorType, ...] = (
    *("caller_not_found", "caller_unauthorized", "caller_rejected"),
    THROTTLED,
)
"""A provider's refusals of what callers sent, or how much: no arm is to blame, and no guardrail sees them."""


class UnmatchedCount(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """`minute` is UTC seconds divided by 60. `model` is as requested, "" if the request named none.

    With `no_lane`, canaries match these requests, and no lane has their units; the model is "". `refused`:
    how many requests of the minute the provider refused, by error type; the first count of a minute has it.
    """

    minute: int
    model: str
    requests: int
    no_lane: bool = False
    refused: Mapping[str, int] = {}


def troubles_in(outcome: Outcome) -> Iterator[str]:
    """Why the request does its canary no good: a reason of `OUTSIDE`, and the error type of its provider's
    refusal."""
    if outcome.reason in OUTSIDE:
        yield outcome.reason
    relayed = outcome.status is not None and outcome.outcome != "fallback"  # the provider's own status
    if outcome.error_type in REFUSALS and relayed:
        yield str(outcome.error_type)


def is_llm_request(outcome: Outcome) -> bool:
    """True for a request to an LLM operation; mirror copies are nobody's request."""
    return outcome.operation not in ("", "other") and not outcome.mirror


def unmatched_in(outcomes: Iterable[Outcome]) -> list[UnmatchedCount]:
    """The counts in one batch, with at most MOST_MODELS names a minute."""
    outside = (each for each in outcomes if not each.canary and each.reason != "standing")
    taken_by_none = [each for each in outside if is_llm_request(each)]
    counts = Counter(
        [(int(each.at // 60), each.model_requested) for each in taken_by_none if _unmatched(each)]
    )
    rest = Counter([int(each.at // 60) for each in taken_by_none if not _unmatched(each)])
    minutes: dict[int, Counter[str]] = {}
    for (minute, model), requests in counts.items():
        minutes.setdefault(minute, Counter())[_shown(model)] += requests
    refused = _refused(taken_by_none)
    return [
        UnmatchedCount(minute, model, requests, refused=refused.pop(minute, {}))
        for minute, models in minutes.items()
        for model, requests in _most_frequent(models).items()
    ] + [UnmatchedCount(minute, "", requests, no_lane=True) for minute, requests in rest.items()]


def _refused(outcomes: Iterable[Outcome]) -> dict[int, Counter[str]]:
    """By minute, how many requests that matched no canary the provider refused, by error type."""
    found: dict[int, Counter[str]] = {}
    for each in outcomes:
        if each.error_type in REFUSALS and each.status is not None and _unmatched(each):
            found.setdefault(int(each.at // 60), Counter())[str(each.error_type)] += 1
    return found


def _unmatched(outcome: Outcome) -> bool:
    return outcome.reason != "no_lane"


def _most_frequent(models: Counter[str]) -> Counter[str]:
    kept = Counter(dict(models.most_common(MOST_MODELS)))
    return kept + Counter({REST: models.total() - kept.total()})


def _shown(model: str) -> str:
    """A name that a terminal can print."""
    return "".join(each if each.isprintable() else "�" for each in model[:LONGEST_NAME])


Alike = Sequence[Outcome]
"""Outcomes, at least one, that differ only in ids, times, amounts, models, and what a caller named."""


def alike(outcomes: Iterable[Outcome]) -> list[Alike]:
    """Group outcomes, in order of each group's first."""
    groups: dict[tuple[object, ...], list[Outcome]] = {}
    for each in outcomes:
        key = (
            each.canary,
            each.run,
            each.arm,
            each.mirror,
            each.reason,
            each.outcome,
            each.error_type,
            each.finish,
            each.faults,
            each.output_check,
            each.operation,
            each.stream,
        )
        group = groups.get(key)
        if group is None:
            groups[key] = [each]
        else:
            group.append(each)
    return list(groups.values())
