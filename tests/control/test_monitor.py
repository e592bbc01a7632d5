"""What guards, on a hand clock: it holds a ramp when the telemetry is lost, and lets it go on afterwards."""

import dataclasses
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from canary.config import parse
from control.feed.events import WorkerEvents
from control.monitor.monitor import FORGOTTEN_AFTER_S, Monitor
from control.monitor.wait_limits import FEWEST, LEAST_S
from control.operator.status import explanation
from control.states.rollouts import Rollouts
from records.exports.prometheus import Meters
from records.outcome import Feedback, Heartbeat, InFlight, Outcome
from records.store import Act, Store
from routing import transitions
from routing.canary import ArmName, HoldbackTerms, OwnPrompt

CONFIG = """\
providers: {openai: {api: openai, base_url: "http://127.0.0.1:1/v1"}}
canaries:
  - name: trial
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: a}
    candidate: {provider: openai, model: b}
    ramp: [{share: 5%, for: 1h}, {share: 20%}]
notify: [{webhook: "http://127.0.0.1:1/"}]
"""
NOW = 1_790_000_000.0


class Desk:
    """The guard over a store, with a clock of its own."""

    def __init__(self, store: Store) -> None:
        self.config, self.store = parse(CONFIG, "canary.yaml", {}).control, store
        self.rollouts = Rollouts(store, lambda plan: None)
        self.rollouts.reconcile(self.config, NOW)
        self.mono, self.finished, self.sent = 1000.0, 0, 0
        self.retired: set[str] = set()
        self.monitor = self.guard()

    def guard(self) -> Monitor:
        self.meters = Meters(canaries=["trial"], feedback_metrics=[], mono=lambda: self.mono)
        return Monitor(
            meters=self.meters,
            rollouts=self.rollouts,
            settings=self.config,
            has_retired=lambda arm, now: arm.model in self.retired,
        )

    def shown(self) -> set[str]:
        """The canaries whose guardrails Prometheus is shown."""
        (family,) = [each for each in self.meters.collect() if each.name == "canary_guardrail_state"]
        return {sample.labels["canary"] for sample in family.samples}

    def pass_s(self, seconds: float, *, outcomes: bool) -> None:
        """Time goes by, every ten seconds of which a worker says that it has finished an exchange."""
        for _ in range(int(seconds / 10)):
            self.mono += 10.0
            self.finished += 1
            beat = self.beat()
            records = [self.outcome("baseline")] if outcomes else []
            self.monitor.take(WorkerEvents(beats=[(("", 0, 7), beat)], records=records, heard=len(records)))
            self.monitor.decide(NOW + self.mono, self.mono)

    def beat(self) -> Heartbeat:
        return Heartbeat(
            worker=0,
            pid=7,
            at=NOW + self.mono,
            mono=self.mono,
            started=self.finished,
            finished=self.finished,
            dropped=0,
            lag_s=0.0,
            plan_version=1,
        )

    def outcome(self, arm: ArmName, canary: str = "trial") -> Outcome:
        self.sent += 1
        return Outcome(
            exchange_id=f"x{self.sent}",
            at=NOW + self.mono,
            mono=self.mono,
            outcome="ok",
            canary=canary,
            run=1,
            phase=1,
            share=0.05,
            arm=arm,
            reason="cohort",
            unit=f"unit-{self.sent}",
            latency_s=0.1,
        )

    def state(self, rule: str) -> str:
        return next(each.state for each in self.monitor.canaries["trial"].statuses if each.rule == rule)

    def told(self) -> list[tuple[str, str]]:
        notices = [entry.notice for entry in self.monitor.outbox.state.entries]
        return [(notice.event, notice.done) for notice in notices]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as store:
        yield Desk(store)


def test_lost_telemetry_pages_once_and_holds_the_ramp_until_outcomes_arrive_again(desk: Desk) -> None:
    desk.pass_s(60, outcomes=True)
    assert (desk.state("telemetry"), desk.monitor.holding()) == ("ok", [])
    desk.pass_s(890, outcomes=False)
    assert (desk.state("telemetry"), desk.monitor.holding(), desk.told()) == ("ok", [], [])
    desk.pass_s(20, outcomes=False)
    assert (desk.state("telemetry"), desk.monitor.holding()) == ("firing", ["trial"])
    kept = msgspec.json.decode(msgspec.json.encode(desk.monitor.snapshot()))
    desk.monitor = desk.guard()
    desk.monitor.restore(kept, new_boot=None)
    desk.pass_s(600, outcomes=False)
    assert desk.told() == [("page", "the ramp holds")]
    desk.pass_s(10, outcomes=True)
    assert (desk.state("telemetry"), desk.monitor.holding()) == ("ok", [])
    state = desk.rollouts.state("trial")
    assert state is not None and state.state == "running"


def test_somebody_is_told_once_that_requests_have_not_the_prompts_text(desk: Desk) -> None:
    known = desk.config.canaries["trial"]
    candidate = dataclasses.replace(known.canary.candidate, prompt=OwnPrompt(find="f", put="p"))
    prompted = dataclasses.replace(known, canary=dataclasses.replace(known.canary, candidate=candidate))
    desk.monitor.configure(dataclasses.replace(desk.config, canaries={"trial": prompted}))
    for count, reason in ((100, "cohort"), (20, "prompt_missed")):
        found = [replace(desk.outcome("baseline"), reason=reason, operation="chat") for _ in range(count)]
        desk.monitor.take(WorkerEvents(records=found, heard=count))
    desk.pass_s(30, outcomes=True)
    assert [event for event, _ in desk.told()] == ["page"]
    (notice,) = [entry.notice for entry in desk.monitor.outbox.state.entries]
    assert "20 of 120 requests of the last hour" in str(notice)
    pulse = desk.monitor.canaries["trial"].pulse
    assert (pulse.prompt_missed, pulse.arms["baseline"].requests) == (20, 100 + 3)


def test_while_outcomes_of_other_traffic_arrive_a_quiet_canarys_telemetry_is_not_lost(desk: Desk) -> None:
    for _ in range(60):  # a request is told of in one look, and its outcome comes in the next
        desk.pass_s(10, outcomes=False)
        desk.monitor.take(WorkerEvents(records=[desk.outcome("baseline", canary="")], heard=1))
        desk.pass_s(10, outcomes=False)
    assert (desk.state("telemetry"), desk.monitor.holding(), desk.told()) == ("not_enough_data", [], [])


def test_a_quota_caps_the_share_through_a_restart_and_rolls_nothing_back(desk: Desk) -> None:
    def ask(good: int, throttled: int, used: float | None = None) -> None:
        """So many requests of the candidate, and what its answers' headers say; ten seconds go by."""
        desk.pass_s(10, outcomes=True)
        desk.mono += 0.5
        state = desk.rollouts.state("trial")
        assert state is not None
        phase, share = state.phase, state.effective_share
        mine = [replace(desk.outcome("candidate"), phase=phase, share=share) for _ in range(good + throttled)]
        over = {"outcome": "fallback", "error_type": "provider_throttled"}
        records = [*mine[:good], *(replace(each, **over) for each in mine[good:])]
        beat = replace(desk.beat(), quota_used={"trial": used} if used is not None else {})
        desk.monitor.take(WorkerEvents(beats=[(("", 0, 7), beat)], records=records, heard=len(records)))
        desk.monitor.decide(NOW + desk.mono, desk.mono)
        for name, quota in desk.monitor.caps(desk.mono).items():
            desk.rollouts.cap(name, quota, NOW + desk.mono)

    def stands() -> tuple[float, float | None, list[str]]:
        state = desk.rollouts.state("trial")
        assert state is not None and state.state == "running"
        return state.effective_share, state.cap, desk.monitor.holding()

    ask(14, 6)
    assert stands() == (0.05, None, ["trial"])  # the ramp holds at once, the cap comes a minute later
    for _ in range(6):
        ask(14, 6)
    assert stands() == (0.035, 0.035, ["trial"])
    assert desk.rollouts.state("trial").phase == 2  # type: ignore[union-attr]
    (told,) = explanation(desk.config.canaries, desk.rollouts, "ann", b"k" * 32)["canaries"]
    assert told["sentence"].endswith("; quota: its share of 5.00% is capped at 3.50%")
    kept = msgspec.json.decode(msgspec.json.encode(desk.monitor.snapshot()))
    desk.monitor = desk.guard()
    desk.monitor.restore(kept, new_boot=None)
    for _ in range(60):
        ask(20, 0, used=0.9)  # at the whole share it would be 1.29 of the limit
    assert stands() == (0.035, 0.035, [])
    for _ in range(7):
        ask(20, 0, used=0.4)
    assert stands() == (0.05, None, [])
    assert [each.act.reason for each in desk.store.audit() if each.act.action == "quota"] == [
        "quota: room for a share of 0.05",
        "quota: 30 % of requests throttled, the share is capped at 3.5 %",
    ]
    assert [name for name, _ in desk.told() if name == "rollback"] == []
    pause = Act(at=NOW, action="pause", who="ann", reason="lunch")
    desk.rollouts.change("trial", pause, partial(transitions.pause, now=NOW))
    for _ in range(7):
        ask(2, 18)
    paused = desk.rollouts.state("trial")
    assert paused is not None and (paused.state, paused.effective_share, paused.cap) == ("paused", 0.05, None)


def test_no_traffic_is_no_lost_telemetry_and_never_reads_as_health(desk: Desk) -> None:
    for _ in range(200):
        desk.mono += 10.0
        desk.monitor.decide(NOW + desk.mono, desk.mono)
    assert {each.state for each in desk.monitor.canaries["trial"].statuses} == {"not_enough_data"}
    assert desk.told() == []


def test_a_step_that_few_of_the_candidates_users_have_seen_is_thin(desk: Desk) -> None:
    desk.pass_s(60, outcomes=True)
    assert desk.monitor.thin() == ["trial"]
    desk.rollouts.tick(desk.config, passed_s=7200, held=(), thin=desk.monitor.thin(), now=NOW)
    assert (stays := desk.rollouts.state("trial")) is not None and stays.share == 0.05
    desk.monitor.take(WorkerEvents(records=[desk.outcome("candidate") for _ in range(3)], heard=3))
    assert desk.monitor.thin() == []
    desk.rollouts.tick(desk.config, passed_s=1, held=(), thin=desk.monitor.thin(), now=NOW)
    assert (moved := desk.rollouts.state("trial")) is not None and moved.share == 0.2


def test_a_canary_that_has_left_the_config_leaves_no_guardrail_behind_in_prometheus(desk: Desk) -> None:
    desk.pass_s(10, outcomes=True)
    assert desk.shown() == {"trial"}
    desk.monitor.configure(parse(CONFIG[: CONFIG.index("canaries:")], "canary.yaml", {}).control)
    desk.pass_s(10, outcomes=True)
    assert desk.shown() == set()


def test_charts_go_on_after_a_restart_and_are_no_part_of_the_memory_of_each_second(desk: Desk) -> None:
    desk.pass_s(30, outcomes=True)
    kept = msgspec.json.decode(msgspec.json.encode(desk.monitor.snapshot()))
    courses, shown = desk.monitor.courses(), requests_shown(desk.monitor)
    assert sum(shown) > 0
    desk.monitor = desk.guard()
    desk.monitor.restore(kept, new_boot=None)
    assert sum(requests_shown(desk.monitor)) == 0
    desk.monitor.take_courses(courses)
    desk.monitor.restore(kept, new_boot=None)  # as a standby does again and again
    assert requests_shown(desk.monitor) == shown
    assert desk.guard().take_courses(b"") is None
    with pytest.raises(msgspec.MsgspecError):
        desk.monitor.take_courses(b'{"trial": 1}')


def test_the_charts_of_a_canary_that_left_stay_through_restarts(desk: Desk) -> None:
    desk.pass_s(30, outcomes=True)
    shown = requests_shown(desk.monitor)
    without = parse(CONFIG[: CONFIG.index("canaries:")], "canary.yaml", {}).control
    desk.monitor.configure(without)
    later = desk.guard()
    later.configure(without)
    later.take_courses(desk.monitor.courses())
    for monitor in (desk.monitor, later):
        run, course = monitor.past_courses["trial"]
        found = course.document("10min", NOW + 1060)["arms"]
        assert (run, sum(map(sum, (each["requests"] for each in found.values())))) == (1, sum(shown))


def test_the_first_outcomes_after_a_resume_count_in_the_new_run(desk: Desk) -> None:
    steps = desk.config.canaries["trial"].canary.steps
    for action, order in (
        ("rollback", partial(transitions.rollback, reason="r", now=NOW)),
        ("resume", partial(transitions.resume, steps=steps, reason="r", now=NOW)),
    ):
        desk.rollouts.change("trial", Act(at=NOW, action=action, who="w", reason="r"), order)
    assert desk.rollouts.states["trial"].state.run == 2
    desk.monitor.take(WorkerEvents(records=[replace(desk.outcome("candidate"), run=2)], heard=1))
    watched = desk.monitor.canaries["trial"]
    assert (watched.watch.run, watched.pulse.arms["candidate"].requests) == (2, 1)


def requests_shown(monitor: Monitor) -> list[int]:
    arms = monitor.canaries["trial"].pulse.course.document("10min", NOW + 1060)["arms"]
    return [number for arm in arms.values() for number in arm["requests"]]


@pytest.mark.parametrize("restarted", [False, True])
def test_the_incident_of_a_canary_that_has_left_the_config_is_over(desk: Desk, restarted: bool) -> None:
    desk.pass_s(10, outcomes=True)
    desk.pass_s(1000, outcomes=False)
    told = [entry.notice.event for entry in desk.monitor.outbox.state.entries]
    assert told[0] == "page"
    kept = msgspec.json.decode(msgspec.json.encode(desk.monitor.snapshot()))
    desk.config = parse(CONFIG.replace("trial", "other"), "canary.yaml", {}).control
    if restarted:
        desk.monitor = desk.guard()
        desk.monitor.restore(kept, new_boot=None)
    else:
        desk.monitor.configure(desk.config)
    desk.pass_s(20, outcomes=True)
    assert [entry.notice.event for entry in desk.monitor.outbox.state.entries] == [*told, "resolved"]


def test_the_patience_with_a_candidate_outlives_a_restart(desk: Desk) -> None:
    answers = [desk.outcome("baseline") for _ in range(FEWEST)]
    desk.monitor.take(WorkerEvents(records=answers, heard=len(answers)))
    known = desk.monitor.patience.by_canary(desk.mono)
    assert known == {"trial": {"/json": LEAST_S}}  # the samples have no operation
    document = msgspec.json.decode(msgspec.json.encode(desk.monitor.snapshot()))
    again = desk.guard()
    again.restore(document, new_boot=5.0)
    assert again.patience.by_canary(desk.mono) == known
    del document["patience"]  # of the version before
    again.restore(document, new_boot=None)
    assert again.patience.by_canary(desk.mono) == {}


def fail(desk: Desk, phase: int) -> None:
    """The promoted arm fails in this phase until a rule convicts it."""
    for _ in range(40):
        failed = replace(
            desk.outcome("candidate"), outcome="error", error_type="provider_5xx", share=0.98, phase=phase
        )
        desk.mono += 20.0
        desk.monitor.take(WorkerEvents(records=[failed], heard=1))
        desk.monitor.decide(NOW + desk.mono, desk.mono)


@pytest.mark.parametrize(("rollback", "state"), [(False, "promoted"), (True, "rolled_back")])
def test_while_users_are_held_back_guardrails_page_unless_they_may_roll_back(
    desk: Desk, rollback: bool, state: str
) -> None:
    act = Act(at=NOW, action="promote", who="ann", reason="good")
    terms = HoldbackTerms(share=0.02, for_s=60.0, rollback=rollback)
    promoted = partial(transitions.promote, reason="good", now=NOW, holdback=terms)
    fail(desk, desk.rollouts.change("trial", act, promoted).phase)
    now = desk.rollouts.state("trial")
    assert now is not None and now.state == state
    assert next(event for event, _ in desk.told()) == "page"
    if not rollback:
        desk.rollouts.end_holdbacks(NOW + 59.0)
        assert desk.rollouts.states["trial"].state.holds_back
        desk.rollouts.end_holdbacks(NOW + 60.0)
        assert desk.rollouts.states["trial"].state.share == 1.0
        desk.monitor.decide(NOW + desk.mono + 1.0, desk.mono + 1.0)  # a person was told, and let it be
        assert desk.rollouts.states["trial"].state.state == "promoted"


@pytest.mark.parametrize("held", [True, False])
def test_a_guardrail_never_gives_everybody_a_retired_baseline_after_a_promotion(
    desk: Desk, held: bool
) -> None:
    desk.retired = {"a"}
    act = Act(at=NOW, action="promote", who="ann", reason="good")
    terms = HoldbackTerms(share=0.02, for_s=60.0, rollback=True) if held else None
    promoted = partial(transitions.promote, reason="good", now=NOW, holdback=terms)
    fail(desk, desk.rollouts.change("trial", act, promoted).phase)
    assert desk.rollouts.states["trial"].state.state == "promoted"
    assert desk.told()[0][0] == "page"
    desk.retired = set()  # its provider lets it live on
    desk.monitor.decide(NOW + desk.mono + 1.0, desk.mono + 1.0)
    now = desk.rollouts.state("trial")
    assert now is not None and now.state == "rolled_back"


def test_workers_that_were_killed_are_forgotten_although_nobody_reports_their_death(desk: Desk) -> None:
    def beat(pid: int) -> Heartbeat:
        return Heartbeat(
            worker=0,
            pid=pid,
            at=NOW + desk.mono,
            mono=desk.mono,
            started=0,
            finished=1,
            dropped=0,
            lag_s=0.0,
            plan_version=1,
        )

    for pid in range(500):  # a worker that crashes each second, as a fleet's leader sees it
        desk.mono += 1.0
        desk.monitor.take(WorkerEvents(beats=[(("replica", 0, pid), beat(pid))]))
        desk.monitor.decide(NOW + desk.mono, desk.mono)
    assert len(desk.monitor._finished) <= FORGOTTEN_AFTER_S


def in_flight(desk: Desk, number: int) -> InFlight:
    return InFlight(
        exchange_id=f"running-{number}",
        at=NOW + desk.mono,
        mono=desk.mono,
        canary="trial",
        run=1,
        phase=1,
        share=0.05,
        arm="candidate",
        reason="cohort",
        unit=f"unit-{number}",
        operation="chat",
        stream=True,
    )


@pytest.mark.parametrize("ending", ["outcome", "death", "silence"])
def test_an_exchange_in_flight_is_watched_until_its_outcome_or_the_end_of_its_worker(
    desk: Desk, ending: str
) -> None:
    key = ("", 0, 7)
    desk.pass_s(10.0, outcomes=False)
    desk.monitor.take(WorkerEvents(in_flight=[(key, in_flight(desk, 1))]))
    watch = desk.monitor.canaries["trial"].watch
    assert set(watch.state.running.exchanges) == {"running-1"}
    if ending == "outcome":
        outcome = replace(desk.outcome("candidate"), exchange_id="running-1")
        desk.monitor.take(WorkerEvents(records=[outcome], heard=1))
    elif ending == "death":
        desk.monitor.take(WorkerEvents(deaths=[(key, 1)]))
    else:
        desk.mono += FORGOTTEN_AFTER_S
        desk.monitor.decide(NOW + desk.mono, desk.mono)
    assert watch.state.running.exchanges == {}


def test_ten_thousand_values_for_one_answer_are_one_value_also_after_a_restart(desk: Desk) -> None:
    def says(value: float, key: str = "x1/metric/csat") -> None:
        feedback = Feedback(
            key=key,
            metric="csat",
            value=value,
            at=NOW,
            mono=desk.mono,
            exchange_id=key,
            canary="trial",
            run=1,
            phase=1,
            arm="candidate",
        )
        desk.monitor.take(WorkerEvents(records=[feedback]))

    def shown() -> tuple[float, int]:
        csat = desk.monitor.canaries["trial"].pulse.document(desk.mono)["candidate"]["feedback"]["csat"]
        return csat["mean"], csat["count"]

    says(5.0, "x2/metric/csat")
    for _ in range(10_000):
        says(1.0)
    assert shown() == (3.0, 2)
    kept = msgspec.json.decode(msgspec.json.encode(desk.monitor.snapshot()))
    desk.monitor = desk.guard()
    desk.monitor.restore(kept, new_boot=None)
    says(4.0)
    assert shown() == (4.5, 2)
