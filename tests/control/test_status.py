"""A canary's status says where its failing exchanges lie and what the provider said."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from canary.config import parse
from control.feed.events import WorkerEvents
from control.monitor.monitor import Monitor
from control.operator.status import status_of
from control.settings import ControlSettings
from control.states.rollouts import Rollouts
from judge.terms import JudgeTerms
from records.exports.prometheus import Meters
from records.outcome import Feedback, Outcome, ProviderError
from records.store import Store

CONFIG = """\
providers: {openai: {api: openai, base_url: "http://127.0.0.1:1/v1"}}
canaries:
  - name: trial
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: a}
    candidate: {provider: openai, model: b}
    share: 20%
    SEGMENTS
"""
NOW = 1_790_000_000.0
SAID = ProviderError(code="unsupported_parameter", message="Unsupported parameter: 'max_tokens'")


def settings(segments: str = "segments: [plan]") -> ControlSettings:
    return parse(CONFIG.replace("SEGMENTS", segments), "canary.yaml", {}).control


def outcome(number: int, **changed: Any) -> Outcome:
    fields: dict[str, Any] = {
        "exchange_id": f"x{number}", "at": NOW + number, "mono": 1000.0 + number, "outcome": "ok",
        "canary": "trial", "run": 1, "share": 0.2, "arm": "candidate", "reason": "cohort",
        "unit": f"unit-{number}", "latency_s": 0.1, "category": "order",
    }  # fmt: skip
    return Outcome(**{**fields, **changed})


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[tuple[Monitor, Rollouts]]:
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as store:
        rollouts = Rollouts(store, lambda plan: None)
        rollouts.reconcile(settings(), NOW)
        meters = Meters(canaries=["trial"], feedback_metrics=[], mono=lambda: 1000.0)
        yield Monitor(meters=meters, rollouts=rollouts, settings=settings()), rollouts


def status(monitor: Monitor, rollouts: Rollouts) -> dict[str, Any]:
    monitor.look(2000.0)
    wanted = settings().canaries["trial"]
    return status_of(wanted, rollouts.state("trial"), monitor.canaries["trial"], 2000.0)


def fails(number: int) -> Outcome:
    return outcome(
        number, outcome="fallback", error_type="candidate_rejects", status=400, provider_error=SAID,
        tags={"plan": "pro"},
    )  # fmt: skip


def test_the_status_names_the_segment_and_the_provider_s_words(desk: tuple[Monitor, Rollouts]) -> None:
    records = [outcome(number) for number in range(90)] + [fails(number) for number in range(90, 100)]
    desk[0].take(WorkerEvents(records=records, heard=100))
    shown = status(*desk)
    place = [{"by": "plan", "value": "pro", "failing": 10, "of": 10, "share": 0.1}]
    said = "10 of 10 failing exchanges are in plan pro (10 % of the traffic)"
    assert (shown["where"], shown["where_sentence"]) == (place, said)
    (rate,) = [each for each in shown["guardrails"] if each["rule"] == "error_rate"]
    assert (rate["where"], rate["sentence"].endswith(f"; {said}")) == (place, True)
    assert shown["provider_error"] == {
        "status": 400, "error_type": "candidate_rejects", "code": "unsupported_parameter", "type": "",
        "param": "", "message": SAID.message, "at": NOW + 99.0,
        "request_id": "", "sentence": "candidate rejects: Unsupported parameter: 'max_tokens'",
    }  # fmt: skip


def test_the_status_names_both_models(desk: tuple[Monitor, Rollouts]) -> None:
    models = status(*desk)["models"]
    fingerprints = {each.pop("fingerprint") for each in models.values()}
    assert len(fingerprints) == 2
    assert models == {
        "baseline": {"provider": "openai", "model": "a"},
        "candidate": {"provider": "openai", "model": "b"},
    }


def test_a_healthy_canary_names_nothing(desk: tuple[Monitor, Rollouts]) -> None:
    desk[0].take(WorkerEvents(records=[outcome(number) for number in range(90)], heard=90))
    shown = status(*desk)
    assert (shown["where"], shown["where_sentence"], shown["provider_error"]) == ([], "", None)


def test_what_nobody_reads_is_said_until_a_user_has_rated_the_candidate_or_a_judge_reads_it(
    desk: tuple[Monitor, Rollouts],
) -> None:
    desk[0].take(WorkerEvents(records=[outcome(number) for number in range(90)], heard=90))
    assert status(*desk)["not_seen"] == (
        "Text that refuses, wrong language, invention: not seen without feedback or a judge"
    )
    wanted = replace(settings().canaries["trial"], judge=JudgeTerms(pairs=9))
    judged = status_of(wanted, desk[1].state("trial"), desk[0].canaries["trial"], 2000.0)
    assert judged["not_seen"] is None
    rated = Feedback(
        key="k", metric="csat", value=1, at=NOW, mono=1000.0, canary="trial", run=1, arm="candidate"
    )
    desk[0].take(WorkerEvents(records=[rated], heard=0))
    assert status(*desk)["not_seen"] is None


def of_team(number: int, users: int) -> Outcome:
    """An exchange of a team of so many, a twentieth of which has the candidate."""
    user = number % users
    arm = "candidate" if user * 20 < users else "baseline"
    return outcome(number, unit=f"unit-{user}", arm=arm, share=0.05)


@pytest.mark.parametrize("users", [40, 400])
def test_few_users_are_said_once_hardly_anybody_new_comes(desk: tuple[Monitor, Rollouts], users: int) -> None:
    desk[0].take(WorkerEvents(records=[of_team(number, users) for number in range(users)], heard=users))
    assert status(*desk)["few_users"] is None
    desk[0].take(
        WorkerEvents(records=[of_team(number, users) for number in range(users, 8 * users)], heard=1)
    )
    few = status(*desk)["few_users"]
    said = (
        "2 users get the candidate: only empty, invalid_output, stalled can roll it back, once both have "
        "many such answers; at a share of 30 % the other rules can, too"
    )
    assert (few and few["sentence"]) == (said if users == 40 else None)


def test_few_users_are_said_before_the_first_where_the_config_expects_them(
    desk: tuple[Monitor, Rollouts],
) -> None:
    wanted = parse(CONFIG.replace("SEGMENTS", "expect: {users: 10}"), "canary.yaml", {}).control
    shown = status_of(wanted.canaries["trial"], desk[1].state("trial"), desk[0].canaries["trial"], 2000.0)
    assert shown["few_users"]["sentence"] == (
        "2 users get the candidate: only empty, invalid_output, stalled can roll it back, once both have "
        "many such answers; at a share of 50 % the other rules can, too"
    )


def test_a_segment_that_joins_the_config_is_counted_from_then_on(desk: tuple[Monitor, Rollouts]) -> None:
    monitor, _ = desk
    monitor.configure(settings(""))
    monitor.take(WorkerEvents(records=[outcome(number) for number in range(90)], heard=90))
    monitor.configure(settings())
    records = [outcome(number, tags={"plan": "free"}) for number in range(100, 190)]
    records += [fails(number) for number in range(190, 200)]
    monitor.take(WorkerEvents(records=records, heard=100))
    assert monitor.canaries["trial"].watch.where([]).document == [
        {"by": "plan", "value": "pro", "failing": 10, "of": 10, "share": 0.1}
    ]


def test_the_status_names_an_arm_without_a_price_until_a_cost_of_it_is_known(
    desk: tuple[Monitor, Rollouts],
) -> None:
    monitor, rollouts = desk
    wanted = parse(CONFIG.replace("SEGMENTS", "segments: [plan]"), "canary.yaml", {})
    unpriced = wanted.unpriced()

    def shown() -> list[str]:
        watched, state = monitor.canaries["trial"], rollouts.state("trial")
        found = status_of(wanted.control.canaries["trial"], state, watched, 2000.0, unpriced=unpriced)
        return [each["arm"] for each in found["unpriced"]]

    assert shown() == ["baseline", "candidate"]
    monitor.take(WorkerEvents(records=[outcome(1, cost_usd=0.01)], heard=1))
    monitor.look(2000.0)
    assert shown() == ["baseline"]


def test_a_flag_system_s_split_is_told_where_it_is_off(desk: tuple[Monitor, Rollouts]) -> None:
    desk[0].take(WorkerEvents(records=[outcome(number) for number in range(20)], heard=20))
    desk[0].look(2000.0)
    state, watched = desk[1].state("trial"), desk[0].canaries["trial"]
    by_flag = settings("assignment: header").canaries["trial"]
    told = status_of(by_flag, state, watched, 2000.0)["assignment"]
    assert told == {"no_assignment": 0, "bad_assignment": 0, "split_off": {"share": 0.2, "actual": 1.0}}
    assert status(*desk)["assignment"] is None
