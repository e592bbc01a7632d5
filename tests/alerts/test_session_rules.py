"""`session_cost`, `session_exchanges`, `stuck`: sessions as they stand, through a whole watch."""

import math
import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from alerts.evidence.sessions import OVER_AFTER_S, LiveSession, SessionStep, sizes_of
from alerts.evidence.statistics import ROLLBACK_MIXTURE, owner_steps
from alerts.guardrails import Watch
from alerts.rules.rule import DEFAULT_RULES, FURTHER_RULES, OF_SESSIONS, SESSION_SIZES
from alerts.rules.sessions import BOUND_EACH_S, SILENT_S, SessionRule
from records.outcome import MOST_TOOL_CALLS, Outcome, ToolCall, Usage
from routing.canary import ArmName
from tests.alerts.agents_start import Start, heard

RULES = [rule for rule in DEFAULT_RULES if rule.rule in OF_SESSIONS]
SHARES = pytest.mark.parametrize("share", [0.05, 0.2, 0.5])


@pytest.fixture
def agents(traffic_of: Any) -> Any:
    return Agents(traffic_of(Watch("support-nov", RULES)))


class Agents:
    """Sends whole sessions, each of a user of its own unless `unit` says otherwise."""

    def __init__(self, traffic: Any, share: float = 0.05) -> None:
        self.traffic = traffic
        self.share = share
        self.sent = {"baseline": 0, "candidate": 0}

    def session(
        self, arm: str, steps: int, *, calls: Callable[[int], str] = str, cost_usd: float = 0.01, **more: Any
    ) -> None:
        self.sent[arm] += 1
        name = f"{arm}-{self.sent[arm]}"
        for step in range(steps):
            fields = {"unit": name, "session": name, "finish": "tool_calls", "output_check": "judged"}
            call = ToolCall("tool", calls(step).encode().ljust(8)[:8])
            fields |= {"tool_calls": (call,), "cost_usd": cost_usd, "share": self.share, **more}
            self.traffic.send(1, gap_s=0.5, arm=arm, **fields)

    def fall_silent(self) -> None:
        """Let the sessions be silent for so long that they are taken for ended."""
        self.traffic.now += SILENT_S + BOUND_EACH_S

    def until(
        self, rule: str, action: str, candidate: Callable[[int], None], usual: Callable[[int], None]
    ) -> int:
        """The candidate's sessions until the rule acts so; 99 for never."""
        each = round((1.0 - self.share) / self.share)
        for number in range(60):
            for other in range(each):
                usual(number * each + other)
            candidate(number)
            self.traffic.now += 30.0
            if self.traffic.decide()[rule].action == action:
                return self.sent["candidate"]
        return 99


@SHARES
def test_an_agent_that_needs_three_times_the_steps_is_paged_and_a_dear_one_rolled_back(
    agents: Agents, share: float, traffic_of: Any
) -> None:
    for rule, action, steps, cost_usd in (
        ("session_exchanges", "page", 36, 0.01),
        ("session_cost", "rollback", 12, 0.03),
    ):
        agents = Agents(traffic_of(Watch("support-nov", RULES)), share)
        found = agents.until(
            rule,
            action,
            lambda _, s=steps, c=cost_usd: agents.session("candidate", s, cost_usd=c),  # noqa: B023
            lambda _: agents.session("baseline", 12),  # noqa: B023
        )
        assert found <= 30, (rule, found)
    status = agents.traffic.decide()["session_cost"]
    assert status.value == pytest.approx(3.0)
    assert "candidate: $0.360 per session in " in status.sentence and "(limit 2.0×" in status.sentence


@SHARES
def test_sessions_within_the_limit_are_no_reason_however_many(agents: Agents, share: float) -> None:
    """Half as many steps again, in every session: all are over what the baseline's stay under."""
    agents.share = share
    found = agents.until(
        "session_cost",
        "rollback",
        lambda _: agents.session("candidate", 9),
        lambda _: agents.session("baseline", 6),
    )
    assert found == 99
    statuses = agents.traffic.decide()
    assert {status.state for status in statuses.values()} == {"ok"}
    assert statuses["session_cost"].evidence["ln_mixture"] > 7.0


def test_a_session_that_goes_on_through_a_change_of_share_counts_to_its_end(agents: Agents) -> None:
    """Cut at the change, the baseline's sessions would look half as long as those that nothing holds."""
    for number in range(40):
        agents.session("baseline", 6, unit=f"b{number}", session=f"b{number}", share=0.05)
    agents.session("candidate", 12, phase=2, share=0.6)
    held = {"phase": 1, "share": 0.05}
    for number in range(40):
        agents.session("baseline", 6, unit=f"b{number}", session=f"b{number}", **held)
        agents.session("baseline", 30, unit=f"b{number}", session=f"later-{number}", **held)
    sums = agents.traffic.watch.state.sessions.document()
    assert (sums["baseline"]["begun"], sums["baseline"]["exchanges"]) == (40, 12.0)
    assert agents.traffic.decide()["session_exchanges"].value == pytest.approx(1.0)


def test_a_session_counts_before_it_has_ended(agents: Agents) -> None:
    for _ in range(60):
        agents.session("baseline", 6)
    agents.fall_silent()
    for number in range(8):
        agents.session("candidate", 30, unit=f"c{number}", session=f"c{number}")
    assert len(agents.traffic.watch.state.sessions.open) == 68
    assert agents.traffic.decide()["session_exchanges"].action == "page"
    agents.traffic.now += OVER_AFTER_S + 60.0
    agents.traffic.decide()
    assert agents.traffic.watch.state.sessions.open == {}


@SHARES
def test_a_candidate_that_repeats_a_call_in_every_session_is_paged_within_five(
    agents: Agents, share: float
) -> None:
    agents.share = share
    found = agents.until(
        "stuck",
        "page",
        lambda _: agents.session("candidate", 5, calls=lambda step: "same" if step < 3 else str(step)),
        lambda _: agents.session("baseline", 5),
    )
    assert found <= 5
    assert agents.traffic.decide()["stuck"].sentence.startswith(
        "sessions with the same tool call three times in a row since 17:0"
    )


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_a_candidate_that_repeats_a_call_in_every_third_session_is_paged_within_thirty(
    agents: Agents, share: float
) -> None:
    agents.share = share
    found = agents.until(
        "stuck",
        "page",
        lambda number: agents.session(
            "candidate", 5, calls=lambda step: "x" if number % 3 == 2 else str(step)
        ),
        lambda _: agents.session("baseline", 5),
    )
    assert found <= 30


def test_one_session_that_is_stuck_holds_no_ramp(agents: Agents) -> None:
    for _ in range(30):
        agents.session("baseline", 5)
    agents.fall_silent()
    for number in range(3):
        agents.session("candidate", 5, calls=lambda step: str(step) if number else "x")  # noqa: B023
    assert {status.state for status in agents.traffic.decide().values()} == {"ok"}


def test_where_the_baseline_polls_as_well_nothing_is_stuck(agents: Agents) -> None:
    agents.share = 0.5
    found = agents.until(
        "stuck",
        "page",
        lambda number: agents.session("candidate", 5, calls=lambda step: "x" if number % 3 else str(step)),
        lambda number: agents.session("baseline", 5, calls=lambda step: "x" if number % 3 else str(step)),
    )
    assert found == 99


@pytest.mark.parametrize(
    ("answers", "is_stuck"),
    [
        ([["a"], ["a"], ["a"]], True),
        ([["a"], ["b"], ["a"], ["a"]], False),
        ([["a", "b"], ["b", "a"], ["a"]], True),
        ([["a", "a", "a"]], True),
        ([["a"], ["a"], None, ["a"]], False),
        ([["a"], ["a"], "no tools", ["a"]], True),
        ([["a"], ["a"], "failed", ["a"]], True),
    ],
)
def test_in_a_row_means_answer_after_answer_with_tools(
    agents: Agents, answers: list[Any], is_stuck: bool
) -> None:
    for answer in answers:
        calls = answer if isinstance(answer, list) else []
        agents.traffic.send(
            1,
            unit="u",
            session="s",
            failed=answer == "failed",
            finish=None if answer == "failed" else "stop",
            output_check="" if answer == "no tools" else "judged",
            tool_calls=tuple(ToolCall("t", each.encode() * 8) for each in calls),
        )
    (session,) = agents.traffic.watch.state.sessions.open.values()
    assert session.is_stuck is is_stuck


@pytest.mark.parametrize(
    ("steps", "is_stuck"),
    [
        ([(0, [1]), (0, [2]), (0, [3])], False),  # three subagents begin with the same call
        ([(0, [1]), (0, [2]), (1, [3]), (2, [4])], False),
        ([(0, [1]), (0, [2]), (1, [3]), (2, [4]), (3, [5])], True),  # one of them goes on
        ([(0, [1]), (1, [2]), (9, [3])], False),  # its history was compacted
        ([(0, [1, 2]), (2, [3]), (3, [4])], True),
        ([(0, [1]), (1, [2]), (2, []), (2, [3])], False),  # an answer without a call, in this conversation
        ([(0, [1]), (1, [2]), (8, []), (2, [3])], True),  # and in another one
        ([(0, [1]), (1, [2]), *[(0, [n]) for n in range(100, 190)], (2, [3])], False),  # forgotten
    ],
)
def test_in_a_row_means_in_one_conversation_of_the_session(
    agents: Agents, steps: list[tuple[int, list[int]]], is_stuck: bool
) -> None:
    """A step: the call whose result the request brings, and the ids of the calls in its answer."""
    for number, (result_of, calls) in enumerate(steps):
        agents.traffic.send(
            1, unit="u", session="s", finish="tool_calls", output_check="judged", result_of=result_of,
            tool_calls=tuple(ToolCall("Bash", b"same" * 2 if n == 0 else b"%08d" % (1000 * number + n), id)
            for n, id in enumerate(calls)),
        )  # fmt: skip
    (session,) = agents.traffic.watch.state.sessions.open.values()
    assert session.is_stuck is is_stuck
    assert len(session.repeated) <= MOST_TOOL_CALLS


def test_sessions_whose_tool_calls_are_not_read_are_said_to_be_not_judged_and_never_ok(
    traffic_of: Any,
) -> None:
    rules = [
        rule for rule in (*DEFAULT_RULES, *FURTHER_RULES) if rule.rule in ("stuck", "session_tool_calls")
    ]
    traffic = traffic_of(Watch("support-nov", rules))
    for number in range(30):
        for arm in ("baseline", "candidate"):
            for _ in range(4):
                traffic.send(
                    1, arm=arm, unit=f"{arm}{number}", session=f"{arm}{number}",
                    finish="tool_calls", output_check="not_judged",
                )  # fmt: skip
    for status in traffic.decide().values():
        assert (status.state, status.action) == ("not_enough_data", None)
        assert status.sentence.startswith("sessions not judged")
        assert status.sentence.endswith(": 60")
    for _ in range(3):
        traffic.send(
            1, unit="seen", session="seen", finish="tool_calls", tool_calls=(ToolCall("t", b"x" * 8),)
        )
    sentence = traffic.decide()["stuck"].sentence
    assert "100.0 % of 1 of the baseline" in sentence
    assert "; sessions not judged, because their tool calls could not be read: 60" in sentence


def test_where_nobody_sends_sessions_the_rules_say_so(traffic_of: Any) -> None:
    traffic = traffic_of(Watch("support-nov", RULES))
    traffic.both(30, baseline={"cost_usd": 0.01}, candidate={"cost_usd": 9.0})
    for status in traffic.decide().values():
        assert (status.state, status.action) == ("not_enough_data", None)
        assert status.sentence.startswith("no sessions")
    Agents(traffic).session("baseline", 3)
    assert traffic.decide()["session_cost"].sentence.endswith(
        "; waits: 0 of 20 sessions that were silent for five minutes"
    )


def test_the_figures_of_a_session_as_they_stand(agents: Agents) -> None:
    used = Usage(input_tokens=80, cached_input_tokens=60, output_tokens=20)
    agents.session("candidate", 2, usage=used, faults=("cut_off",), latency_s=0.5)
    agents.session("candidate", 1, tool_calls=(), failed=True, finish=None, cost_usd=None)
    figures = agents.traffic.watch.state.sessions.document()["candidate"]
    assert figures == {
        "begun": 2,
        "open": 2,
        "cost_usd": 0.02,
        "exchanges": 1.5,
        "length_s": 0.5,
        "tokens": 200.0,
        "tool_calls": 1.0,
        "faults": 0.5,
        "abandoned": 0.5,
        "cache_hits": 0.75,
    }
    agents.traffic.send(1, arm="candidate", unit="candidate-2", session="candidate-2")
    assert agents.traffic.watch.state.sessions.document()["candidate"]["abandoned"] == 0.0
    assert agents.traffic.watch.state.sessions.document()["baseline"]["cost_usd"] is None


def test_two_users_with_one_name_for_their_sessions_have_two(agents: Agents) -> None:
    for unit in ("ann", "ben", "ann"):
        agents.traffic.send(1, unit=unit, session="main")
    assert agents.traffic.watch.state.sessions.document()["baseline"]["begun"] == 2


def test_a_list_may_have_rules_about_other_sizes(traffic_of: Any) -> None:
    rules = [rule for rule in FURTHER_RULES if rule.rule in SESSION_SIZES]
    agents = Agents(traffic_of(Watch("support-nov", rules)))
    for _ in range(30):
        agents.session("baseline", 4, usage=Usage(output_tokens=10))
    agents.fall_silent()
    for _ in range(6):
        agents.session("candidate", 16, usage=Usage(output_tokens=10))
    found = agents.traffic.decide()
    assert {status.action for status in found.values()} == {"page"}
    assert found["session_tokens"].sentence.startswith("candidate: 160 tokens per session in 6")
    assert found["session_length_s"].sentence.startswith("candidate: 7.50 s per session in 6")


WHOLE = [rule for rule in FURTHER_RULES if rule.rule not in SESSION_SIZES]
FAULTY: dict[str, Any] = {"faults": ("empty",)}
LEFT: dict[str, Any] = {"outcome": "aborted", "error_type": "aborted"}


def used(hits: float) -> Usage:
    return Usage(input_tokens=1_000, cached_input_tokens=round(1_000 * hits), output_tokens=20)


def whole(traffic_of: Any, draw: random.Random, users: int, *, share: float, bad: float, hits: float) -> Any:
    """Users with a session each, of whose 10 % have a fault and break off, and 80 % of the input is cached;
    of the candidate's so many."""
    agents = Agents(traffic_of(Watch("support-nov", WHOLE)), share)
    for _ in range(users):
        candidate = draw.random() < share
        arm, rate = ("candidate", bad) if candidate else ("baseline", 0.1)
        usage = used(min(1.0, max(0.0, draw.gauss(hits if candidate else 0.8, 0.1))))
        agents.session(arm, 1, usage=usage, **(FAULTY if draw.random() < rate else {}))
        last = LEFT if draw.random() < rate else {}
        number = agents.sent[arm]
        agents.session(arm, 1, usage=usage, unit=f"{arm}-{number}", session=f"{arm}-{number}", **last)
        agents.sent[arm] = number
        agents.traffic.now += 60.0
        agents.traffic.decide()
    agents.traffic.now += OVER_AFTER_S + 60.0
    return agents


@SHARES
def test_whole_sessions_that_go_worse_page_and_the_baseline_s_do_not(traffic_of: Any, share: float) -> None:
    for bad, hits, action in ((0.5, 0.2, "page"), (0.1, 0.8, None)):
        agents = whole(traffic_of, random.Random(7), round(60 / share), share=share, bad=bad, hits=hits)
        found = agents.traffic.decide()
        assert {status.action for status in found.values()} == {action}, found
    for status in found.values():
        assert status.state in ("ok", "warn")
        assert status.evidence["sessions"] == agents.sent["candidate"]
    assert found["session_cache_hits"].threshold == pytest.approx(0.9 * 0.8, abs=0.02)
    assert " users; baseline: 0." in found["session_cache_hits"].sentence


@pytest.mark.more
def test_whole_sessions_of_equal_arms_page_nobody(traffic_of: Any) -> None:
    paged = {rule.rule: 0 for rule in WHOLE}
    for seed in range(200):
        draw, share = random.Random(seed), (0.05, 0.2, 0.5)[seed % 3]
        agents = whole(traffic_of, draw, 150, share=share, bad=0.1, hits=0.8)
        for name, status in agents.traffic.decide().items():
            paged[name] += status.action is not None
    assert max(paged.values()) <= 2, paged


def test_a_whole_session_counts_at_its_end_unless_its_unit_was_held(traffic_of: Any) -> None:
    agents = Agents(traffic_of(Watch("support-nov", WHOLE)))
    agents.session("baseline", 2, usage=used(0.5), unit="a", session="a")
    agents.session("baseline", 1, usage=used(0.5), unit="b", session="b")
    sentences = [status.sentence for status in agents.traffic.decide().values()]
    assert [each.partition("; waits: ")[2] for each in sentences] == [
        "0 of 3 candidate users whose session is over",
        "0 of 3 candidate users whose session is over",
        "0 of 30 baseline values",
    ]
    agents.session("candidate", 1, usage=used(0.2), phase=2, share=0.6)
    agents.session("baseline", 1, usage=used(0.5), unit="a", session="a", phase=1)
    agents.session("candidate", 1, usage=used(0.2), unit="a", session="a", phase=2, share=0.6)
    agents.session("candidate", 1, usage=used(0.2), unit="b", session="b", phase=2, share=0.6)
    assert agents.traffic.decide()["session_cache_hits"].evidence["baseline_values"] == 1
    agents.traffic.now += OVER_AFTER_S + 60.0
    found = agents.traffic.decide()
    assert found["session_cache_hits"].evidence["baseline_values"] == 1
    assert found["session_faults"].evidence["outcomes"] == 3
    assert found["session_faults"].evidence["baseline_sessions"] == 2


def test_without_sessions_the_rules_about_whole_ones_say_so_and_a_restart_keeps_theirs(
    traffic_of: Any,
) -> None:
    traffic = traffic_of(Watch("support-nov", WHOLE))
    traffic.both(30, baseline={"usage": used(0.8)}, candidate={"usage": used(0.1)})
    for status in traffic.decide().values():
        assert (status.state, status.sentence[:11], status.waits) == ("not_enough_data", "no sessions", None)
    agents = whole(traffic_of, random.Random(1), 100, share=0.5, bad=0.4, hits=0.3)
    watch = Watch("support-nov", WHOLE)
    watch.restore(msgspec.json.decode(msgspec.json.encode(agents.traffic.watch.live_document())))
    now = agents.traffic.now
    assert watch.decide(now, routed=True) == agents.traffic.watch.decide(now, routed=True)
    assert watch.state.sessions == agents.traffic.watch.state.sessions


def test_sessions_and_their_evidence_survive_a_restart(agents: Agents) -> None:
    for number in range(40):
        agents.session("baseline", 5, calls=lambda step: "x" if step < number % 3 else str(step))  # noqa: B023
    agents.fall_silent()
    agents.session("candidate", 30)
    watch = Watch("support-nov", RULES)
    watch.restore(msgspec.json.decode(msgspec.json.encode(agents.traffic.watch.live_document())))
    before, agents.traffic.watch = agents.traffic.watch, watch
    assert watch.state.sessions == before.state.sessions
    assert watch.decide(agents.traffic.now, routed=True) == before.decide(agents.traffic.now, routed=True)
    for number in range(5):
        agents.session("candidate", 30, unit=f"c{number}", session=f"c{number}")
    assert agents.traffic.decide()["session_exchanges"].action == "page"


def test_open_sessions_are_as_large_at_least_as_they_are() -> None:
    """Exponential sizes of mean 1, of which every second session is open."""
    draw = random.Random(3)
    pairs = [(draw.expovariate(1.0), draw.expovariate(1.0)) for _ in range(4_000)]
    sizes = [(min(whole, so_far), whole <= so_far) for whole, so_far in pairs]
    found = {bound.beyond: bound.size for bound in sizes_of(sizes)}
    assert [found[beyond] for beyond in (0.6, 0.35, 0.15)] == pytest.approx([0.51, 1.05, 1.90], rel=0.1)
    assert sizes_of([(float(n), False) for n in range(50)]) == []
    assert sizes_of([(float(n), True) for n in range(20)])[6:8] == [(6.0, 0.65), (7.0, 0.6)]
    assert sizes_of([(12.0, True)] * 8 + [(36.0, True)] * 2) == [(12.0, 0.2), (36.0, 0.01)]


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_of_equal_arms_a_session_of_any_size_is_worth_nothing_on_average(share: float) -> None:
    for before, beyond in [(1.0, 0.0), (1.0, 0.97), (0.5, 0.3), (0.05, 0.0), (0.02, 0.01)]:
        mine, theirs = owner_steps(share, before, beyond)
        means = [share * math.exp(a) + (1.0 - share) * math.exp(b) for a, b in zip(mine, theirs, strict=True)]
        assert means == pytest.approx([1.0, 1.0, 1.0])


@pytest.mark.parametrize(("users", "share"), [(40, 0.2), (40, 0.5), (400, 0.05)])
def test_equal_agents_that_start_together_are_no_evidence(users: int, share: float) -> None:
    """Most sessions are young then, and the bounds and the candidate's sessions of one age."""
    for seed in range(12):
        for at, rules in heard(Start(users, share, for_s=900.0), seed, ("session_cost", "session_exchanges")):
            for rule in rules:
                assert rule.state.evidence.mixture < ROLLBACK_MIXTURE, (rule.rule.rule, seed, at)


def test_neither_arm_forgets_its_sessions_sooner_than_the_other() -> None:
    """Of 4,000 sessions at once, each with a second exchange, all are known to both arms' sums."""
    rule = SessionRule(next(rule for rule in RULES if rule.rule == "session_exchanges"))
    outcome = Outcome(exchange_id="x", at=0.0, mono=0.0, outcome="ok")
    arms: list[ArmName] = ["candidate", *["baseline"] * 19]
    sessions = [
        LiveSession(f"u{n}", arms[n % 20], n // 20 if n % 20 == 0 else n - n // 20 - 1, True, 0.0, 0.0, 0.05)
        for n in range(4_000)
    ]
    for exchanges in (1, 2):
        for number, session in enumerate(sessions):
            session.exchanges, session.last = exchanges, exchanges + number / 1_000.0
            rule.hear(SessionStep(session, outcome, session.last))
    assert (rule.state.candidate.mean, rule.state.baseline.mean) == (2.0, 2.0)
