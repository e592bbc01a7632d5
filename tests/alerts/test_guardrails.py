"""One watch over all default rules: checkpoints, reboots, what is frozen for a rollback."""

import json
import random
import time
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from alerts.evidence.statistics import ROLLBACK_MIXTURE
from alerts.guardrails import Watch
from alerts.incidents.rollback import (
    FAILURES,
    POINTS,
    EvidencePath,
    EvidencePoint,
    RollbackEvidence,
    rolled_back,
    to_document,
)
from alerts.rules.rule import DEFAULT_RULES, GuardrailStatus, Rule
from routing.states import State

ERROR_RATE = Rule(rule="error_rate", limit=0.05, window_s=None, minimum=3, action="rollback")


def mixed(traffic: Any, count: int, seed: int = 1) -> None:
    """Traffic that touches every rule."""
    draw = random.Random(seed)
    for _ in range(count):
        candidate = draw.random() < 0.2
        traffic.send(
            1,
            gap_s=draw.random(),
            arm="candidate" if candidate else "baseline",
            failed=draw.random() < 0.03,
            latency_s=draw.expovariate(1.0),
            cost_usd=draw.random(),
            unit=f"unit-{draw.randrange(200)}",
        )
        traffic.rate(draw.choice(["csat", "thumbs", "escalated"]), 1, candidate=candidate)


def frozen(traffic: Any, statuses: dict[str, GuardrailStatus], rule: str = "") -> RollbackEvidence:
    """What is frozen for a rollback by this rule, or ("") by ann."""
    why: RollbackEvidence = traffic.watch.why(
        list(statuses.values()),
        rule=rule,
        who=f"guardrail {rule}" if rule else "ann",
        reason="complaints from the German desk",
        at=1_790_000_000.0 + traffic.now,
        share=0.05,
    )
    return why


def test_a_checkpoint_forgets_nothing(traffic_of: Any) -> None:
    straight = traffic_of(Watch("support-nov", DEFAULT_RULES), share=0.2)
    broken = traffic_of(Watch("support-nov", DEFAULT_RULES), share=0.2)
    for traffic in (straight, broken):
        mixed(traffic, 600)
        traffic.decide()
    document = json.loads(json.dumps(broken.watch.snapshot()))
    broken.watch = Watch("support-nov", DEFAULT_RULES)
    broken.watch.restore(document)
    for traffic in (straight, broken):
        mixed(traffic, 600, seed=2)
    assert straight.decide() == broken.decide()
    assert straight.watch.snapshot() == broken.watch.snapshot()


def test_a_conviction_outlives_a_checkpoint(traffic_of: Any) -> None:
    traffic = traffic_of(Watch("support-nov", [ERROR_RATE]))
    traffic.send(20)
    traffic.send(4, arm="candidate", failed=True)
    traffic.decide()
    document = traffic.watch.snapshot()
    traffic.watch = Watch("support-nov", [ERROR_RATE])
    traffic.watch.restore(document)
    assert traffic.decide()["error_rate"].action == "rollback"


def test_a_changed_limit_begins_afresh_and_its_neighbours_do_not(traffic_of: Any) -> None:
    traffic = traffic_of(Watch("support-nov", DEFAULT_RULES))
    traffic.send(20)
    traffic.send(4, arm="candidate", failed=True)
    assert traffic.decide()["error_rate"].action == "rollback"
    document = traffic.watch.snapshot()
    rules = [replace(ERROR_RATE, limit=0.1), *DEFAULT_RULES[1:]]
    traffic.watch = Watch("support-nov", rules)
    traffic.watch.restore(document)
    statuses = traffic.decide()
    assert statuses["error_rate"].state == "not_enough_data"
    assert statuses["error_rate_vs_baseline"].evidence["adverse_units"] == 4


def test_after_a_reboot_what_was_seen_ages_by_the_time_between(traffic_of: Any) -> None:
    traffic = traffic_of(Watch("support-nov", DEFAULT_RULES))
    traffic.both(60, baseline={"latency_s": 1.0}, candidate={"latency_s": 1.0, "failed": False})
    traffic.now += 20.0
    before = traffic.decide()["latency_p95"]
    utc = 1_790_000_000.0 + traffic.now
    document = traffic.watch.snapshot()
    for away_s, state in [(60.0, before.state), (3600.0, "not_enough_data")]:
        traffic.watch = Watch("support-nov", DEFAULT_RULES)
        traffic.watch.restore(document, new_boot=utc + away_s - 5.0)  # this boot's clock stands at 5 s
        traffic.now = 5.0
        assert traffic.decide()["latency_p95"].state == state


def test_a_document_of_another_shape_is_refused_and_changes_nothing(traffic_of: Any) -> None:
    traffic = traffic_of(Watch("support-nov", [ERROR_RATE]))
    traffic.send(20)
    traffic.send(4, arm="candidate", failed=True)
    before = traffic.watch.snapshot()
    with pytest.raises(msgspec.ValidationError):
        traffic.watch.restore({**before, "watch": {"run": "one"}})
    assert traffic.watch.snapshot() == before


def test_a_rollback_s_evidence_is_frozen_with_both_arms_and_sample_failures(traffic_of: Any) -> None:
    traffic = traffic_of(Watch("support-nov", [ERROR_RATE]))
    traffic.send(40, cost_usd=0.02, latency_s=0.5)
    for _ in range(6):
        traffic.send(1, arm="candidate", failed=True, status=500)
        traffic.decide()
    traffic.now += 2.0
    statuses = traffic.decide()
    status = statuses["error_rate"]
    why = frozen(traffic, statuses, rule="error_rate")
    assert (why.rule, why.share_before, why.share_after) == ("error_rate", 0.05, 0.0)
    assert (why.who, why.sentence) == ("guardrail error_rate", status.sentence)
    assert (why.value, why.threshold, why.limits["ln_mixture"]) == (
        1.0,
        0.05,
        pytest.approx(6.9078, abs=1e-4),
    )
    assert (why.arms["candidate"].exchanges, why.arms["candidate"].failed) == (6, 6)
    assert why.arms["baseline"].p95_s == pytest.approx(0.5, rel=0.01)
    assert why.arms["baseline"].mean_cost_usd == pytest.approx(0.02)
    assert why.arms["candidate"].mean_cost_usd is None
    assert [(f.exchange_id, f.error_type, f.status) for f in why.failures][-1] == ("x46", "provider_5xx", 500)
    assert [point.observations for point in why.path] == sorted({p.observations for p in why.path})
    assert ROLLBACK_MIXTURE <= why.path[-1].ln_mixture <= status.evidence["ln_mixture"]
    assert 1_790_000_000.0 < why.path[0].at < why.at


def test_for_a_persons_rollback_what_every_rule_said_then_is_frozen(traffic_of: Any) -> None:
    traffic = traffic_of(Watch("support-nov", DEFAULT_RULES))
    traffic.both(20, baseline={}, candidate={"failed": False})
    traffic.send(2, arm="candidate", failed=True)
    statuses = traffic.decide()
    why = frozen(traffic, statuses)
    assert (why.rule, why.who, why.sentence) == ("", "ann", "complaints from the German desk")
    assert (why.convicting, why.path, dict(why.evidence)) == (None, (), {})
    assert {each.rule: each.state for each in why.rules} == {key: s.state for key, s in statuses.items()}
    by_rule = {each.rule: each for each in why.rules}
    assert by_rule["error_rate"].path[-1].observations == 22
    assert by_rule["csat"].path == ()
    kept = json.loads(json.dumps(to_document(why)))
    again = rolled_back(kept, State(), State(), stored=True)
    assert again is not None
    assert again.why == why
    assert rolled_back({**kept, "arms": "of another version"}, State(), State(), stored=True) is None


def test_the_evidence_over_time_goes_on_after_a_restart(traffic_of: Any) -> None:
    traffic = traffic_of(Watch("support-nov", [ERROR_RATE]))
    traffic.send(20)
    for _ in range(3):
        traffic.send(1, arm="candidate")
        traffic.decide()
    document = json.loads(json.dumps(traffic.watch.snapshot()))
    traffic.watch = Watch("support-nov", [ERROR_RATE])
    traffic.watch.restore(document)
    for _ in range(4):
        traffic.send(1, arm="candidate", failed=True)
        traffic.decide()
    path = frozen(traffic, traffic.decide(), rule="error_rate").path
    assert [point.observations for point in path] == [1, 2, 3, 4, 5, 6, 7]
    assert path[2].ln_mixture < 0 < path[-1].ln_mixture


def test_evidence_that_grows_between_two_judgements_leaves_its_course(traffic_of: Any) -> None:
    traffic = traffic_of(Watch("support-nov", [ERROR_RATE]))
    traffic.send(40)
    traffic.send(3, arm="candidate")
    traffic.send(6, arm="candidate", failed=True)
    path = frozen(traffic, traffic.decide(), rule="error_rate").path
    assert [point.observations for point in path] == [4, 5, 6, 7, 8]  # which convicts it
    assert [point.at for point in path] == sorted({point.at for point in path})
    assert [point.ln_cusum for point in path] == sorted(point.ln_cusum for point in path)


def test_the_course_of_the_evidence_ends_with_the_conviction(traffic_of: Any) -> None:
    traffic = traffic_of(Watch("support-nov", [ERROR_RATE]))
    traffic.send(40)
    traffic.send(5, arm="candidate", failed=True)
    traffic.send(200, arm="candidate")
    statuses = traffic.decide()
    assert statuses["error_rate"].evidence["ln_mixture"] < 0
    last = frozen(traffic, statuses, rule="error_rate").path[-1]
    assert last.ln_mixture >= ROLLBACK_MIXTURE
    assert last.observations <= 5


def test_a_step_of_the_ramp_needs_as_many_of_the_candidates_users_as_the_rules_about_errors(
    traffic_of: Any,
) -> None:
    traffic = traffic_of(Watch("support-nov", DEFAULT_RULES))
    traffic.send(50)
    traffic.send(9, arm="candidate", unit="one-user")
    assert not traffic.watch.enough_in(1)
    traffic.send(2, arm="candidate")
    assert traffic.watch.enough_in(1)
    assert not traffic.watch.enough_in(2)
    restored = Watch("support-nov", DEFAULT_RULES)
    restored.restore(json.loads(json.dumps(traffic.watch.snapshot())))
    assert restored.enough_in(1)
    traffic.send(3, arm="candidate", phase=2)
    assert traffic.watch.enough_in(2)
    assert not traffic.watch.enough_in(1)
    assert Watch("support-nov", []).enough_in(1)


def test_what_is_kept_for_people_is_bounded(traffic_of: Any) -> None:
    traffic = traffic_of(Watch("support-nov", [ERROR_RATE]))
    traffic.send(20)
    traffic.send(100, arm="candidate", failed=True)
    assert len(traffic.watch.state.failures) == FAILURES
    path = EvidencePath()
    for index in range(20_000):
        path.add(EvidencePoint(float(index), 0.0, 0.0, float(index)))
    points = path.points()
    assert len(points) <= 2 * POINTS
    assert points[0].at == 0.0
    assert [point.at for point in points[-3:]] == [19_997.0, 19_998.0, 19_999.0]
    assert points == tuple(sorted(points))


def test_exchanges_settle_as_long_as_most_take_and_ten_seconds_at_most(traffic_of: Any) -> None:
    traffic = traffic_of(Watch("support-nov", [ERROR_RATE]))
    traffic.send(100, latency_s=2.0)
    assert traffic.watch.settle_s(traffic.now) == pytest.approx(2.0, rel=0.02)
    traffic.send(100, latency_s=200.0)
    assert traffic.watch.settle_s(traffic.now + 300.0) == 10.0


@pytest.mark.slow
def test_what_an_outcome_costs(traffic_of: Any) -> None:
    traffic = traffic_of(Watch("support-nov", DEFAULT_RULES))
    draw = random.Random(1)
    outcomes = []
    for _ in range(60_000):
        traffic.now += 0.0005
        unit = draw.randrange(20_000)
        outcomes.append(
            traffic.outcome(
                unit=f"{unit:032x}",
                arm="candidate" if unit % 20 == 0 else "baseline",
                failed=draw.random() < 0.01,
                latency_s=draw.expovariate(1.0),
                cost_usd=draw.random(),
            )
        )
    observing = judging = 0.0
    for start in range(0, len(outcomes), 1000):
        began = time.perf_counter()
        for outcome in outcomes[start : start + 1000]:
            traffic.watch.observe(outcome)
        between = time.perf_counter()
        traffic.watch.decide(outcomes[start].mono, routed=True)
        observing += between - began
        judging += time.perf_counter() - between
    each = 1e6 / len(outcomes)
    print(f"observe {observing * each:.1f} µs an outcome, judge twice a second {judging * each:.1f} µs")
    assert sum(tally.exchanges for tally in traffic.watch.state.tallies.values()) == 60_000


def test_units_that_a_lower_share_has_not_moved_yet_are_no_evidence(traffic_of: Any) -> None:
    traffic = traffic_of(Watch("support-nov", DEFAULT_RULES))
    traffic.share = 0.5
    traffic.send(50, arm="baseline")
    traffic.send(50, arm="candidate")
    traffic.share = 0.1
    traffic.send(50, phase=2)
    held = {"phase": 1, "share": 0.5, "arm": "candidate"}
    traffic.send(500, **held, failed=True)
    assert {each.state for each in traffic.decide().values()} <= {"ok", "not_enough_data"}
    traffic.send(50, phase=2, arm="candidate", failed=True)
    assert "latched" in {each.state for each in traffic.decide().values()}


def test_beside_users_who_keep_a_higher_share_the_candidate_has_more_than_its_share(traffic_of: Any) -> None:
    """From 90 % to 5 %: a third of those who are not held has the candidate, and so a third of failures."""
    traffic = traffic_of(Watch("support-nov", DEFAULT_RULES))
    traffic.send(20, share=0.9, arm="candidate")
    traffic.send(20, share=0.9, arm="baseline")
    for number in range(200):
        traffic.send(1, phase=2, share=0.05, arm="candidate", failed=number % 20 == 0)
        traffic.send(2, phase=2, share=0.05, arm="baseline", failed=number % 20 == 0)
        traffic.send(3, phase=1, share=0.9, arm="candidate")
    assert traffic.decide()["error_rate_vs_baseline"].state == "ok"
