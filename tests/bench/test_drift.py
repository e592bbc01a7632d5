"""Does a model answer as it did: an unchanged one raises nothing, a swapped one is found the same day."""

import math
import random
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from bench.drift import (
    CONFIRM_EVERY_S,
    MOST_A_DAY,
    PROMPTS,
    REFERENCE,
    REFERENCE_EVERY_S,
    DriftAnswer,
    DriftStanding,
    ProbeRound,
    assess,
    due_at,
    variation,
)

DAY_S = 86400.0
TOKENS = 12


class FakeModel:
    """A model by its first token's logits. Answers stray a little, one in twenty by ten times that."""

    def __init__(self, dice: random.Random, logits: Mapping[str, list[float]] | None = None) -> None:
        self.dice, self.stray = dice, 0.05
        self.logits = logits or {name: [dice.gauss(0, 2) for _ in range(TOKENS)] for name in PROMPTS}

    def round(self, at: float, *, tokens: bool) -> ProbeRound:
        return ProbeRound(at=at, answers={name: self._answer(name, tokens=tokens) for name in PROMPTS})

    def _answer(self, name: str, *, tokens: bool) -> DriftAnswer:
        stray = self.stray * (10 if self.dice.random() < 0.05 else 1)
        logits = [each + self.dice.gauss(0, stray) for each in self.logits[name]]
        weights = [math.exp(each) for each in logits]
        likely = sorted(range(TOKENS), key=lambda place: -logits[place])[:5]
        first = {f"t{place}": weights[place] / sum(weights) for place in likely} if tokens else {}
        return DriftAnswer(text=f"t{likely[0]}", first=first)

    def otherwise(self, kind: str) -> "FakeModel":
        """Another model; a close relative; the same, quantised; or with a temperature of 1 / 1.1."""
        dice = self.dice
        change = {
            "another": lambda each: dice.gauss(0, 2),
            "relative": lambda each: each + dice.gauss(0, 1),
            "quantised": lambda each: each + dice.gauss(0, 0.15),
            "sharper": lambda each: each * 1.1,
        }[kind]
        return FakeModel(dice, {name: list(map(change, each)) for name, each in self.logits.items()})


def life(model: FakeModel, days: int, *, tokens: bool) -> list[ProbeRound]:
    """A reference, and a round on each of these days, with the rounds that confirm."""
    rounds = [model.round(place * REFERENCE_EVERY_S, tokens=tokens) for place in range(REFERENCE)]
    for day in range(2, 2 + days):
        rounds.append(model.round(day * DAY_S, tokens=tokens))
    return rounds


def found_on(model: FakeModel, rounds: list[ProbeRound], day: int, *, tokens: bool) -> DriftStanding:
    """What the probes of one day find."""
    at = day * DAY_S
    while True:
        rounds.append(model.round(at, tokens=tokens))
        standing = assess(rounds)
        at = due_at(standing, rounds)
        if standing.state == "drifted" or at >= (day + 1) * DAY_S:
            return standing


def test_a_reference_takes_a_day_then_a_round_is_due_each_day() -> None:
    model = FakeModel(random.Random(1))
    assert due_at(assess([]), []) == 0.0
    rounds = [model.round(0.0, tokens=True)]
    assert (assess(rounds).state, due_at(assess(rounds), rounds)) == ("pinning", REFERENCE_EVERY_S)
    rounds = life(model, 3, tokens=True)
    standing = assess(rounds)
    assert (standing.state, standing.pinned, len(standing.findings)) == ("steady", REFERENCE, 3)
    assert due_at(standing, rounds) == 5 * DAY_S


def test_a_suspicion_is_confirmed_the_same_day_or_forgotten() -> None:
    model = FakeModel(random.Random(1))
    rounds, other = life(model, 3, tokens=True), model.otherwise("another")
    rounds.append(other.round(9 * DAY_S, tokens=True))
    suspect = assess(rounds)
    assert (suspect.state, due_at(suspect, rounds)) == ("suspect", 9 * DAY_S + CONFIRM_EVERY_S)
    states, again = [], list(rounds)
    while (at := due_at(assess(again), again)) < 10 * DAY_S:
        again.append(model.round(at, tokens=True))
        states.append(assess(again).state)
    assert states == [*["suspect"] * (len(states) - 1), "steady"]
    found = found_on(other, rounds[:-1], 9, tokens=True)
    assert (found.state, found.since, len(found.findings)) == ("drifted", 9, 5)
    assert len(found.findings[-1].outside) > 20


def test_a_swap_after_the_days_round_is_found_by_two_more() -> None:
    model = FakeModel(random.Random(1))
    rounds, other = life(model, 3, tokens=True), model.otherwise("another")
    for hour, asked in enumerate([model, model, other, other]):
        rounds.append(asked.round(9 * DAY_S + 3600 * hour, tokens=True))
    assert [assess(rounds[: len(rounds) - left]).state for left in (2, 1, 0)] == [
        *("steady", "suspect", "drifted")
    ]


def test_a_provider_that_fails_or_hides_its_log_probabilities_says_nothing() -> None:
    rounds = life(FakeModel(random.Random(1)), 3, tokens=True)
    assert assess([*rounds, ProbeRound(at=9 * DAY_S, answers={})]) == assess(rounds)
    hidden = ProbeRound(at=9 * DAY_S, answers={name: DriftAnswer(text="?") for name in PROMPTS})
    last = assess([*rounds, hidden]).findings[-1]
    assert (last.outside, last.of) == ((), 0)


def test_a_day_has_a_bounded_number_of_rounds() -> None:
    model = FakeModel(random.Random(1))
    rounds = life(model, 3, tokens=True)
    rounds += [
        model.otherwise("another").round(9 * DAY_S + place, tokens=True) for place in range(MOST_A_DAY)
    ]
    assert due_at(DriftStanding(state="suspect"), rounds) == 10 * DAY_S


def test_the_variation_of_two_distributions() -> None:
    assert variation({"a": 0.5, "b": 0.5}, {"a": 0.5, "b": 0.5}) == 0.0
    assert variation({"a": 1.0}, {"b": 1.0}) == 1.0
    assert variation({"a": 0.6}, {"a": 0.4}) == pytest.approx(0.2)


SWAPS = {
    (True, "sharper"): 85,
    (True, "quantised"): 90,
    (True, "relative"): 95,
    (True, "another"): 95,
    (False, "relative"): 60,
    (False, "another"): 95,
}
"""Of 100 swapped overnight, those found the same day at least; `docs/drift.md` has the figures."""


@pytest.mark.slow
@pytest.mark.parametrize(("tokens", "kind"), SWAPS)
def test_a_swap_overnight_is_found_the_same_day(tokens: bool, kind: str) -> None:
    found, rounds_asked = 0, 0
    for seed in range(100):
        model = FakeModel(random.Random(seed))
        rounds = life(model, 30, tokens=tokens)
        asked = len(rounds)
        found += found_on(model.otherwise(kind), rounds, 40, tokens=tokens).state == "drifted"
        rounds_asked += len(rounds) - asked
    print(
        f"{kind}, {'log probabilities' if tokens else 'texts'}: {found} of 100, {rounds_asked / 100} rounds"
    )
    assert found >= SWAPS[tokens, kind]
    assert rounds_asked <= 300


def unchanged(seed: int, *, tokens: bool, days: int) -> Iterator[DriftStanding]:
    """The standing after each round of a model that does not change."""
    model = FakeModel(random.Random(seed))
    rounds = life(model, 0, tokens=tokens)
    at = 2 * DAY_S
    while at < (2 + days) * DAY_S:
        rounds.append(model.round(at, tokens=tokens))
        standing = assess(rounds)
        at = due_at(standing, rounds)
        yield standing


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [True, False])
def test_an_unchanged_model_raises_nothing_in_1000_days(tokens: bool) -> None:
    """The evidence is of all rounds, so each life is judged at its end, and at each of the days of one."""
    model = FakeModel(random.Random(0))
    rounds = life(model, 1000, tokens=tokens)
    standing = assess(rounds)
    worst = max(each.evidence for each in standing.findings)
    suspicious = sum(each.evidence >= 0.05 for each in standing.findings)
    print(f"{'log probabilities' if tokens else 'texts'}: {worst:.3g} at most, {suspicious} suspicious days")
    assert standing.state == "steady"
    assert worst < 100
    assert all(each.state != "drifted" for each in unchanged(1, tokens=tokens, days=60))


def test_the_page_says_of_each_prompt_why_it_is_there() -> None:
    page = (Path(__file__).parents[2] / "docs/drift.md").read_text().partition("\n## The prompts\n")[2]
    rows = [line.split("|")[1] for line in page.partition("\n## ")[0].splitlines()[3:] if "|" in line]
    assert sorted(", ".join(rows).replace(" ", "").split(",")) == sorted(
        name.replace(" ", "") for name in PROMPTS
    )
