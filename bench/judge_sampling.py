"""Chooses what a judge looks at now, so that a day's number lasts for the rare categories too. Pure.

A stratum is a category, or one arm's answers in it. Each has an equal part of the day's number. At a fraction
of the day it has accrued that fraction of its part; what it has accrued and not used is free for the others.
What it has not accrued yet is its own, so a rare stratum finds room when it comes, and by midnight the whole
number may be used.
"""

from collections.abc import Callable, Mapping, Sequence

from records.unjudged import Unjudged

Stratum = tuple[str, str]
"""(category, arm); the arm is "" for pairs."""


def stratum(waiting: Unjudged) -> Stratum:
    """Where it counts."""
    return (waiting.category, waiting.arm)


def choose(
    waiting: Sequence[Unjudged],
    begun: Mapping[Stratum, int],
    *,
    number: int,
    of_day: float,
    most: int,
) -> list[Unjudged]:
    """What is judged next, at most `most`, in this order: the strata with the fewest first, and in each the
    newest first.

    `begun` counts the day's judgements so far, by all strata that the run has had (0 for those without one
    today). `number` is the day's, `of_day` the part of the day that is over, in [0, 1]. Strata without room
    now are left out. One that is first seen after the whole number was used waits for the next day.
    """
    queues: dict[Stratum, list[Unjudged]] = {}
    for each in sorted(waiting, key=lambda each: each.at):
        queues.setdefault(stratum(each), []).append(each)
    used = {place: begun.get(place, 0) for place in {*begun, *queues}}
    chosen: list[Unjudged] = []
    while len(chosen) < most:
        order = sorted((place for place, queue in queues.items() if queue), key=_fewest_first(used, queues))
        place = next((each for each in order if _has_room(each, used, number, of_day)), None)
        if place is None:
            break
        chosen.append(queues[place].pop())
        used[place] += 1
    return chosen


def _fewest_first(
    used: Mapping[Stratum, int], queues: Mapping[Stratum, Sequence[Unjudged]]
) -> Callable[[Stratum], tuple[int, float]]:
    return lambda place: (used[place], -queues[place][-1].at)


def _has_room(place: Stratum, used: Mapping[Stratum, int], number: int, of_day: float) -> bool:
    """True if every other stratum could still have as many as this one has, as far as its own room goes."""
    left, part = number - sum(used.values()), number / len(used)
    others = (
        min(_own_room(count, part, of_day), max(0, used[place] - count))
        for other, count in used.items()
        if other != place
    )
    return left >= 1 + sum(others)


def _own_room(count: int, part: float, of_day: float) -> int:
    """What a stratum with this count has not used of its part, and not left to the others."""
    return max(0, int(min(part - count, part * (1.0 - of_day))))
