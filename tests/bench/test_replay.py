"""Which steps of captured sessions are replayed, and what is said of two models at them."""

import json

import numpy as np
import pytest
from msgspec.structs import replace

from bench.answers.results import ExampleResult
from bench.answers.scorers import ACTION_SCORERS
from bench.benchmark.replay import Difference, Replay, ReplaySteps, replayed, step_shares, steps_of
from bench.models.asker import Answer
from records.captures.capture import Capture, CapturedMessage, CapturedToolCall, CaptureInfo, WireRequest

SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in ("search", "fetch")
]


def call(name: str = "search", arguments: str = '{"q": "a"}', id: str = "") -> CapturedToolCall:
    return CapturedToolCall(id, name, arguments)


def step(session: str, place: int, *, tools: bool = True, name: str = "") -> Capture:
    """The answer at this place of a session: a call of `search` each time."""
    messages = [CapturedMessage("user", f"Do {session}.")]
    for number in range(1, place):
        messages.append(CapturedMessage("assistant", "", (call(id=f"c{number}"),)))
        messages.append(CapturedMessage("tool", "nothing", (), f"c{number}"))
    about = CaptureInfo(
        exchange_id=name or f"{session}-{place}",
        at=float(place),
        expires_at=1e9,
        canary="c",
        run=1,
        phase=1,
        arm="baseline",
        kept="rate",
        session=session,
        provider="openai",
        model="old",
    )
    return Capture(
        about=about,
        messages=tuple(messages),
        answer="",
        answer_calls=(call(),),
        tools=json.dumps(TOOLS) if tools else "",
    )


def places(found: ReplaySteps) -> list[tuple[str, int]]:
    return [(each.session, each.place) for each in found.steps]


def test_a_long_session_gives_evenly_spread_steps_the_first_and_the_last_among_them() -> None:
    captures = [step("long", place) for place in range(1, 51)] + [step("short", place) for place in (1, 2)]
    found = steps_of(captures, 4)
    assert places(found) == [
        ("long", 1), ("long", 17), ("long", 34), ("long", 50), ("short", 1), ("short", 2),
    ]  # fmt: skip
    assert {each.cluster for each in found.dataset.examples} == {"document long", "document short"}
    assert places(steps_of(captures, 1)) == [("long", 26), ("short", 2)]


def test_what_cannot_be_asked_again_is_left_out_and_counted_by_reason() -> None:
    again = step("s", 1, name="sent again")
    state = WireRequest(path="/v1/responses", body='{"previous_response_id": "r1"}')
    orphan = step("s", 3)
    unknown = replace(step("s", 4), answer_calls=(call("deploy"),))
    found = steps_of(
        [
            step("s", 1),
            again,
            step("without", 2, tools=False),
            replace(step("s", 5), truncated=True),
            replace(step("s", 6), request=state),
            replace(orphan, messages=orphan.messages[:1] + orphan.messages[2:]),
            unknown,
        ],
        8,
    )
    assert places(found) == [("s", 1)]
    assert found.left_out == {
        "without tools": 1,
        "with a cut answer": 1,
        "with earlier messages that only the provider has": 1,
        "with a tool's result that does not follow its call": 1,
        "that call a tool which their request does not declare": 1,
    }


def test_what_an_agent_asks_for_between_its_steps_is_no_step_that_is_left_out() -> None:
    """Claude Code asks for a title of the session with each prompt, without tools."""
    title, summary = (step("s", place, tools=False, name=f"aside-{place}") for place in (1, 3))
    found = steps_of([title, step("s", 1), step("s", 2), summary], 8)
    assert (places(found), found.left_out) == ([("s", 1), ("s", 2)], {})
    assert steps_of([title, summary], 8).left_out == {"without tools": 2}


def test_a_step_of_codex_is_asked_with_the_tools_that_its_input_declares() -> None:
    inner = [{"type": "function", "name": "search"}, {"type": "custom", "name": "exec"}]
    tools = [{"type": "namespace", "name": "functions", "tools": inner}]
    body = {"input": [{"type": "additional_tools", "tools": tools}, {"role": "user", "content": "Do s."}]}
    names = [{"type": "function", "function": {"name": name}} for name in ("search", "exec")]
    request = WireRequest(path="/v1/responses", body=json.dumps(body))
    captured = replace(step("s", 1), request=request, tools=json.dumps(names))
    (found,) = steps_of([captured], 8).steps
    assert found.example.extras.parameters["tools"] == tools
    assert [each.name for each in found.example.extras.tools] == ["search", "exec"]


SAME = Answer(text="", calls=(call(),))


def replay_of(asked: ReplaySteps, baseline: list[Answer], candidate: list[Answer] | None) -> Replay:
    """What is said of these answers, in the order of the steps."""

    def results(answers: list[Answer]) -> list[ExampleResult]:
        return [
            ExampleResult(example=each.example, answer=answer, score=score, right=score == 1)
            for each, answer in zip(asked.steps, answers, strict=True)
            for score in [ACTION_SCORERS["action"](each.example, answer.action)]
        ]

    new = [None] * len(baseline) if candidate is None else results(candidate)
    return replayed(asked, list(zip(results(baseline), new, strict=True)))


@pytest.mark.parametrize(
    ("answer", "how"),
    [
        (Answer(failure="caller_rejected"), "no_answer"),
        (Answer(text="", calls=(call("deploy"),)), "unknown_tool"),
        (Answer(text="", calls=(call(arguments='{"q": 1}'),)), "bad_arguments"),
        (Answer(text="", calls=(call(arguments='{"q": "b"}'),)), "other_arguments"),
        (Answer(text="", calls=(call("fetch"),)), "other_tool"),
        (Answer(text="It is there."), "answers"),
    ],
)
def test_how_an_action_differs_is_told(answer: Answer, how: Difference) -> None:
    found = replay_of(steps_of([step("s", 1)], 8), [SAME], [answer])
    assert found.differences == ({}, {how: 1})
    assert [(each.difference, each.alone) for each in found.divergences] == [(how, True)]


def test_the_first_divergence_of_a_session_is_told_and_those_of_the_candidate_alone_come_first() -> None:
    asked = steps_of([step(session, place) for session in "abc" for place in (1, 2, 3)], 8)
    fetch = Answer(text="", calls=(call("fetch"),))
    found = replay_of(
        asked,
        [fetch, *[SAME] * 8],
        [fetch, SAME, SAME, SAME, fetch, fetch, SAME, SAME, SAME],
    )
    first = [(each.session, each.place, each.candidate, each.alone) for each in found.divergences]
    assert first == [("b", 2, ("fetch",), True), ("a", 1, ("fetch",), False)]
    assert found.tools[0].baseline_tool == 8
    assert found.tools[0].candidate_tool == 6
    assert found.alike is not None
    assert found.alike.estimate == pytest.approx(7 / 9)
    assert found.verdict is None


def test_another_action_never_decides_and_calls_that_cannot_run_do() -> None:
    asked = steps_of([step(f"s{number}", 1) for number in range(40)], 8)
    other = [Answer(text="", calls=(call("fetch"),))] * 40
    assert replay_of(asked, [SAME] * 40, other).verdict is None
    broken = [Answer(text="", calls=(call(arguments="{"),))] * 8 + [SAME] * 32
    assert replay_of(asked, [SAME] * 40, broken).verdict == "dont_ship"
    assert replay_of(asked, broken, broken).verdict is None
    assert replay_of(asked, broken, None).action.candidate is None


RUNS = 400


def told_unfit(sessions: int, more: float) -> float:
    """The share of replays that say don't ship, where the current model cannot run 2 % of its actions and the
    candidate `more`. A session has 8 steps, which are as alike as a correlation of 0.3."""
    random = np.random.default_rng(3)
    asked = steps_of([step(f"s{number:03d}", 1) for number in range(sessions)], 8)
    failed, done = (
        [ExampleResult(example=each.example, answer=SAME, score=0, right=right) for each in asked.steps]
        for right in (False, True)
    )
    unfit = 0
    for _ in range(RUNS):
        hard = np.repeat(random.beta(0.02 * 7 / 3, 0.98 * 7 / 3, size=sessions), 8)
        arms = [random.random(len(hard)) >= hard + extra for extra in (0.0, more)]
        baseline, candidate = (
            [(done if right else failed)[number // 8] for number, right in enumerate(each)] for each in arms
        )
        pairs = list(zip(baseline, candidate, strict=True))
        unfit += step_shares(pairs, lambda each: not each.right).rises
    return unfit / RUNS


@pytest.mark.slow
def test_equal_models_are_seldom_called_unfit_and_one_that_breaks_more_calls_is_found() -> None:
    found = {(sessions, more): told_unfit(sessions, more) for sessions in (10, 50) for more in (0, 0.05, 0.1)}
    for (sessions, more), share in found.items():
        print(f"{sessions} sessions, {more:.0%} more broken: {share:.1%} don't ship")
    assert max(found[sessions, 0] for sessions in (10, 50)) <= 0.025
    assert found[50, 0.05] >= 0.85
