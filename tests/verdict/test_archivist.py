"""The archivist: one evaluation for each act, whoever did it and whoever looks, and never before its time."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from structlog.testing import capture_logs

from canary.config import Config, parse
from control.states.rollouts import Rollouts, Transition
from pages.reports.release_documents import rendered
from pages.words.archive import reasons_of
from pages.words.reasons import sentences
from records.store import Act, Store, tables
from records.store.decisions import Decision, Decisions
from records.store.reports import Evaluations
from routing import transitions
from routing.canary import HoldbackTerms
from tests.verdict.shipping import Shipper
from verdict.archive.archivist import LOOK_EVERY_S, SETTLE_S, Archivist
from verdict.archive.evaluations import from_document
from verdict.archive.release_facts import facts_of
from verdict.archive.releases import all_releases, release_of
from verdict.archive.trends import trends
from verdict.decision.document import Units

CONFIG = """\
providers: {openai: {api: openai, base_url: "http://127.0.0.1:1/v1"}}
canaries:
"""
TRIAL = """\
  - name: trial
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: gpt-4o}
    candidate: {provider: openai, model: claude-sonnet}
    share: 5%
    rubric: [{metric: error_rate, acceptable: "< 3%", ideal: "< 1%", weight: 1, question: "Any?"}]
"""
WITH, WITHOUT = (parse(text, "canary.yaml", {}) for text in (CONFIG + TRIAL, CONFIG + "  []"))
NOW = 1_800_000_000.0
LATER = NOW + SETTLE_S + 1


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store in which `trial` runs."""
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as opened:
        Rollouts(opened, lambda plan: None).reconcile(WITH, NOW - 86400)
        yield opened


def _archivist(store: Store, config: Config = WITH) -> Archivist:
    return Archivist(store, lambda: config.control.reports, sentences)


def _pull_back(store: Store) -> None:
    rollouts = Rollouts(store, lambda plan: None)
    act = Act(at=NOW, action="rollback", who="guardrail error_rate", reason="9 % fail")
    rollouts.change("trial", act, lambda state: transitions.rollback(state, reason="9 % fail", now=NOW))
    rollouts.settle()


def test_a_rollback_is_archived_once_when_its_records_had_time_to_come(store: Store) -> None:
    _pull_back(store)
    archivist = _archivist(store)
    assert archivist.turn(NOW + 1) == 0
    assert archivist.turn(LATER) == 1
    assert archivist.turn(LATER) == 0
    assert _archivist(store).turn(LATER) == 0
    (kept,) = map(from_document, Evaluations(store).all("trial"))
    assert (kept.event, kept.who, kept.run, kept.family) == (
        "rolled_back",
        "guardrail error_rate",
        1,
        "anthropic",
    )
    assert kept.report.verdict == "dont_ship"


def test_a_promotion_that_is_rolled_back_within_seconds_is_archived_as_what_it_was(store: Store) -> None:
    rollouts = Rollouts(store, lambda plan: None)
    act = Act(at=NOW - 1, action="promote", who="ann", reason="good")
    rollouts.change("trial", act, lambda state: transitions.promote(state, reason="good", now=NOW - 1))
    before = Decision(at=NOW - 2, canary="trial", run=1, decision="ship", who="ann", reason="r")
    Decisions(store).record(before, store.states()["trial"].state)
    _pull_back(store)
    after = Decision(at=NOW + 1, canary="trial", run=1, decision="dont_ship", who="bob", reason="r")
    Decisions(store).record(after, store.states()["trial"].state)
    assert _archivist(store).turn(LATER + 1) == 4
    kept = {each.event: each.report for each in map(from_document, Evaluations(store).all("trial"))}
    assert [(event, report.verdict) for event, report in kept.items() if event != "decided"] == [
        ("promoted", "extend"),
        ("rolled_back", "dont_ship"),
    ]
    decided = kept["promoted"].decision
    assert (decided.by if decided is not None else None) == "ann"


@pytest.mark.parametrize("ending", ["clock", "rollback"])
def test_the_end_of_a_hold_back_is_archived_with_what_came_of_the_promises(store: Store, ending: str) -> None:
    rollouts, told = Rollouts(store, lambda plan: None), []
    act = Act(at=NOW, action="promote", who="ann", reason="good")
    terms = HoldbackTerms(share=0.02, for_s=3600.0)
    promoted = partial(transitions.promote, reason="good", now=NOW, holdback=terms)
    rollouts.change("trial", act, promoted)
    archivist = Archivist(store, lambda: WITH.control.reports, sentences, told=told.append)
    assert archivist.turn(LATER) == 1
    if ending == "clock":
        rollouts.end_holdbacks(NOW + 3600.0)
        assert archivist.turn(NOW + 3600.0 + SETTLE_S + 1) == 1
    else:
        back = Act(at=NOW + 60, action="rollback", who="bob", reason="bad")
        rollouts.change("trial", back, partial(transitions.rollback, reason="bad", now=NOW + 60))
        rollouts.settle()
        assert archivist.turn(NOW + 60 + SETTLE_S + 1) == 2
    kept = {each.event: each for each in map(from_document, Evaluations(store).all("trial"))}
    after = kept["week_after"].week_after
    assert after is not None and after.planned_until == NOW + 3600.0
    assert after.until == (NOW + 3600.0 if ending == "clock" else NOW + 60)
    assert [(row.metric, row.kept, row.why) for row in after.rows] == [("error_rate", "unknown", "too_few")]
    assert from_document(dict(told[-1].document)) == kept["week_after"]
    assert _archivist(store).turn(NOW + 7200) == 0


def _moved(store: Store, action: str, at: float, change: Transition) -> None:
    """A person's order, and the run that it brings, as `Operator.order` does both."""
    rollouts = Rollouts(store, lambda plan: None)
    rollouts.change("trial", Act(at=at, action=action, who="ann", reason="r"), change)
    rollouts.settle()
    rollouts.enter(WITH.control.canaries["trial"], at)


def test_the_evidence_of_all_runs_belongs_to_the_release(store: Store) -> None:
    """Tried by 300 users, rolled back by a person, resumed and promoted before anybody asks; once more."""
    Rollouts(store, lambda plan: None).reconcile(WITH.control, NOW)
    Shipper(store).lines(_lines(1, NOW, 2), canary="trial")
    steps, settings = WITH.control.canaries["trial"].canary.steps, WITH.control.reports
    for day in (1, 2):
        at = NOW + day * DAY_S
        _moved(store, "rollback", at, partial(transitions.rollback, reason="r", now=at))
        assert _archivist(store).turn(at + SETTLE_S + 1) == 1
        _moved(store, "resume", at + 60, partial(transitions.resume, steps=steps, reason="r", now=at + 60))
        resumed = all_releases(store)[0]
        assert (resumed.state, resumed.verdict) == ("running", "extend")  # of 7 days the first
        assert resumed.layers["users"].rows
        _moved(store, "promote", at + 120, partial(transitions.promote, reason="r", now=at + 120))
        _archivist(store).turn(at + 120 + SETTLE_S + 1)
    now = at + 3600
    found = release_of(settings, store, "claude-sonnet", now=now)
    assert (found.state, [run.tried for run in found.runs]) == ("promoted", [True, False, False])
    assert found.layers["users"].rows
    assert reasons_of(found)[0].startswith(
        "No user is counted in run 3 of canary trial: what users say is of run 1"
    )
    for reader in ("finance", "team"):
        told = rendered(facts_of(settings, store, found, reader, now=now), reader, "text")
        assert "on 300 users of the current model and 300 users of the" in " ".join(told.split())
        assert "on 0 users" not in told
    (year,) = trends(map(from_document, Evaluations(store).all()), now=now).years
    assert year.promoted == 1


def test_a_promotion_ends_its_trial_then_and_there(store: Store) -> None:
    """Its hold-back ends a week later, and its entry leaves when the next one is promoted."""
    terms = HoldbackTerms(share=0.02, for_s=7 * DAY_S)
    _moved(store, "promote", NOW, partial(transitions.promote, reason="r", now=NOW, holdback=terms))
    archivist, rollouts = _archivist(store), Rollouts(store, lambda plan: None)
    assert archivist.turn(LATER) == 1
    rollouts.end_holdbacks(NOW + 7 * DAY_S)
    rollouts.reconcile(WITHOUT.control, NOW + 20 * DAY_S)
    assert archivist.turn(NOW + 20 * DAY_S + SETTLE_S + 1) == 1
    kept = [from_document(each) for each in Evaluations(store).all("trial")]
    assert [each.event for each in kept] == ["promoted", "week_after"]
    (step,) = trends(kept, now=NOW + 21 * DAY_S).steps
    assert (step.at, step.shipped) == (NOW, True)


DAY_S = 86_400.0


def _lines(phase: int, at: float, failing: int) -> list[dict[str, Any]]:
    """600 users, half of them the candidate's, of whom so many fail."""
    return [
        {
            "unit": f"u{number}",
            "arm": "candidate" if number % 2 else "baseline",
            "at": at + number,
            "error_type": "provider_5xx" if number % 2 and number // 2 < failing else "",
            "category": "",
            "latency_s": 1.0,
            "cost_usd": 0.01,
            "metric_csat": "",
            "metric_task_completed": "",
            "phase": phase,
        }
        for number in range(600)
    ]


@pytest.mark.parametrize(("failing", "kept"), [(0, "kept"), (150, "not_kept")])
def test_what_comes_after_a_promotion_is_set_beside_its_promise_and_changes_no_report(
    store: Store, failing: int, kept: str
) -> None:
    rollouts = Rollouts(store, lambda plan: None)
    shipper, promoted_at = Shipper(store), NOW + DAY_S
    shipper.lines(_lines(1, NOW, 10), canary="trial")
    act = Act(at=promoted_at, action="promote", who="ann", reason="good")
    terms = HoldbackTerms(share=0.5, for_s=2 * DAY_S)
    promote = partial(transitions.promote, reason="good", now=promoted_at, holdback=terms)
    phase = rollouts.change("trial", act, promote).phase
    archivist = _archivist(store)
    assert archivist.turn(promoted_at + SETTLE_S + 1) == 1
    shipper.lines(_lines(phase, promoted_at + DAY_S, failing), canary="trial")
    rollouts.end_holdbacks(promoted_at + 2 * DAY_S)
    assert archivist.turn(promoted_at + 2 * DAY_S + SETTLE_S + 1) == 1
    then, later = map(from_document, Evaluations(store).all("trial"))
    after = later.week_after
    assert after is not None and after.units == Units(baseline=300, candidate=300)
    (row,), (line,) = after.rows, then.report.metrics
    assert (row.promised, row.users, row.kept) == (line.difference, (300, 300), kept)
    assert row.came is not None and row.came.estimate == pytest.approx(failing / 300)
    assert later.report.metrics == then.report.metrics  # what came after is in no report of the trial


def test_what_never_ran_is_in_no_history(store: Store) -> None:
    by_hand = parse(CONFIG + TRIAL.replace("trial", "later") + "    start: manual", "canary.yaml", {})
    Rollouts(store, lambda plan: None).reconcile(by_hand.control, NOW)
    Rollouts(store, lambda plan: None).reconcile(WITHOUT.control, NOW)
    assert store.states()["later"].state.state == "ended"
    assert _archivist(store, WITHOUT).turn(LATER) == 1
    (kept,) = map(from_document, Evaluations(store).all())
    assert kept.canary == "trial"


def test_a_canary_that_left_the_config_is_archived_by_the_terms_it_started_with(store: Store) -> None:
    Rollouts(store, lambda plan: None).reconcile(WITHOUT, NOW)
    assert _archivist(store, WITHOUT).turn(LATER) == 1
    (kept,) = map(from_document, Evaluations(store).all())
    assert kept.event == "ended"
    assert [line.acceptable for line in kept.report.metrics] == ["< 3%"]
    assert kept.candidate is not None
    assert kept.candidate.model == "claude-sonnet"


def test_a_decision_is_archived_with_the_report_that_it_makes(store: Store) -> None:
    _pull_back(store)
    state = store.states()["trial"].state
    decision = Decision(
        at=NOW + 1,
        canary="trial",
        run=1,
        decision="ship",
        who="jane",
        reason="r",
    )
    Decisions(store).record(decision, state)
    assert _archivist(store).turn(LATER + 1) == 2
    last = from_document(Evaluations(store).all()[-1])
    assert last.report.verdict == "dont_ship"
    assert last.report.decision is not None
    assert last.report.decision.by == "jane"


def test_what_no_report_can_be_made_of_is_tried_and_told_once(store: Store) -> None:
    row = {
        "metric": "error_rate",
        "acceptable": "?",
        "ideal": "?",
        "weight": 1,
        "question": "?",
        "risk": None,
    }
    fixed = store.rubric("trial")
    assert fixed is not None
    with store.writing() as connection:
        connection.execute(update(tables.rubrics).values(document={**fixed.document, "criteria": [row]}))
    Rollouts(store, lambda plan: None).reconcile(WITHOUT, NOW)
    archivist = _archivist(store, WITHOUT)
    with capture_logs() as logs:
        assert [archivist.turn(LATER), archivist.turn(LATER)] == [0, 0]
    assert [each["event"] for each in logs] == ["evaluation.not_archived"]


def test_only_the_one_whose_part_it_is_writes(store: Store) -> None:
    _pull_back(store)
    looked = []

    def works() -> bool:
        looked.append(time.monotonic())
        return False

    async def for_two_looks() -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(
                Archivist(store, lambda: WITH.control.reports, sentences, works).run(), 2.5 * LOOK_EVERY_S
            )

    asyncio.run(for_two_looks())
    assert looked
    assert Evaluations(store).all() == []
