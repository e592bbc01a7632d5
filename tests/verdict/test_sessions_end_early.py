"""A model that gives up early is cheaper and shorter: the report asks whether its tasks are done."""

import os
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pages.words.reasons import sentences
from records.facts.metric import BUILT_IN
from records.store import Act, Store
from routing.states import State
from tests.verdict.shipping import Shipper
from tests.verdict.simulated import DAY_S, Visits, World, completing
from tests.verdict.simulated_looks import row
from tests.verdict.test_session_metrics import AT, Step
from verdict.decision.document import Report
from verdict.decision.reports import report_of
from verdict.decision.verdict import build
from verdict.rows.reasons import SessionsEndEarly
from verdict.rows.row import sessions_end_early
from verdict.terms.judged_canary import JudgedCanary, ReportSettings
from verdict.terms.rubric import Criterion

CHEAP = row("session_cost", "<= 1.2x baseline", "<= 1x baseline")
DONE = row("task_completed", ">= baseline - 10pp", ">= baseline + 20pp")


def agents(
    rng: np.random.Generator, users: int, *, steps: float = 1.0, tokens: float = 1.0, usual: float = 6.0
) -> World:
    """Users with 1 to 10 sessions each, half of them the candidate's. Sessions take `usual` steps in the
    median, log-normal with σ = 1.2, half of whose variance is between users."""
    sessions = rng.integers(1, 11, size=users)
    candidate = rng.random(users) < 0.5
    owner = np.repeat(np.arange(users), sessions)
    own = usual * rng.lognormal(0.0, 0.85, size=users) * np.where(candidate, steps, 1.0)
    taken = np.maximum(1, np.round(own[owner] * rng.lognormal(0.0, 0.85, size=len(owner))))
    exchanges = np.bincount(owner, weights=taken)
    of = Visits(
        days=14,
        user=np.arange(users),
        day=np.sort(rng.integers(0, 14, size=users)),
        candidate=candidate,
        phase=np.zeros(users, dtype=np.int64),
        count=exchanges.astype(np.int64),
        shares={0: 0.5},
    )
    words = exchanges * 1_000.0 * np.where(candidate, tokens, 1.0)
    totals = {"session_exchanges": exchanges, "session_tokens": words, "session_cost": words * 1e-5}
    return World(visits=of, totals=totals, sessions=sessions)


def report(world: World, criterion: Criterion = CHEAP) -> Report:
    sample = world.until(14)
    sample = replace(sample, units=[f"{number:032x}" for number in sample.units])
    canary = JudgedCanary(name="coders", criteria=[criterion], planned_days=14, minimum_days=7.0)
    return build(sample, canary, now=14 * DAY_S + 1)


def found(world: World, criterion: Criterion = CHEAP) -> SessionsEndEarly | None:
    said = report(world, criterion)
    return next((each for each in said.reasons if isinstance(each, SessionsEndEarly)), None)


def named_in(world: World) -> SessionsEndEarly | None:
    """At any of three looks, without a row that tells whether tasks are done."""
    looks = (sessions_end_early(world.until(day), [], BUILT_IN) for day in (7, 10, 14))
    return next((each for each in looks if each is not None), None)


def test_sessions_that_end_after_a_third_of_the_steps_are_a_caveat_that_asks_if_tasks_are_done() -> None:
    world = agents(np.random.default_rng(1), 1_000, steps=1 / 3)
    said = report(world)
    assert said.verdict == "ship_with_caveats"
    (caveat,) = [each for each in said.reasons if isinstance(each, SessionsEndEarly)]
    assert caveat.metric == "session_exchanges"
    assert caveat.candidate / caveat.baseline == pytest.approx(0.36, abs=0.05)
    (words,) = [each for each in sentences(said) if "are tasks done?" in each]
    assert words.startswith("Sessions of the candidate end after 3")
    assert " of the baseline's requests: " in words


def test_sessions_of_as_many_steps_with_a_third_of_the_tokens_are_a_caveat() -> None:
    caveat = found(agents(np.random.default_rng(1), 1_000, tokens=1 / 3))
    assert caveat is not None
    assert caveat.metric == "session_tokens"


def test_a_candidate_that_answers_single_questions_briefly_ends_no_session_early() -> None:
    assert found(agents(np.random.default_rng(1), 1_000, tokens=1 / 3, usual=0.2)) is None


def test_a_row_that_passes_on_tasks_done_silences_it_and_one_that_fails_does_not() -> None:
    for done, silent in ((0.8, True), (0.3, False)):
        rng = np.random.default_rng(1)
        world = agents(rng, 2_000, steps=1 / 3)
        world.said["task_completed"] = completing(rng, world.visits, (0.8, done))  # type: ignore[index]
        assert (found(world, DONE) is None) is silent
    assert BUILT_IN["task_completed"].per == "value"


def test_a_stored_run_s_sessions_are_looked_at_without_a_row_on_them(tmp_path: Path) -> None:
    steps = [
        Step(unit=f"u{user}", arm=arm, at=60.0 * user + step, session=f"s{user}").recorded
        for user in range(120)
        for arm, taken in ((("baseline", 6), ("candidate", 2))[user % 2],)
        for step in range(taken + user // 2 % 2)
    ]
    terms = JudgedCanary(name="c", criteria=[row("error_rate", "< 5%", "< 1%")])
    settings = ReportSettings(canaries={"c": terms}, metrics=BUILT_IN)
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as store:
        Shipper(store).ship(steps)
        state = State(state="running", share=0.5, run=1, started_at=AT, changed_at=AT)
        assert store.swap("c", 0, state, Act(at=AT, action="start", who="jane", reason="r"))
        said = report_of(settings, "c", store, now=AT + 3 * DAY_S)
    (caveat,) = [each for each in said.reasons if isinstance(each, SessionsEndEarly)]
    assert (caveat.candidate, caveat.baseline) == pytest.approx((2.5, 6.5))


@pytest.mark.slow
@pytest.mark.parametrize("users", [60, 400, 2_000])
def test_shorter_sessions_are_named_and_equal_ones_rarely(users: int) -> None:
    runs = int(os.environ.get("CANARY_SIMULATED_RUNS", "300"))
    for steps in (1 / 3, 1 / 2, 0.8, 1.0):
        named = sum(
            named_in(agents(np.random.default_rng(seed), users, steps=steps)) is not None
            for seed in range(1_000, 1_000 + runs)  # the test was tuned on others
        )
        print(f"{users} users, {steps:.2f} of the steps: named in {named} of {runs} worlds")
        assert steps < 1.0 or named <= 0.03 * runs
