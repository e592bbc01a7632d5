"""Samples of captured exchanges hold rare categories whole, and say that their labels are proposals."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from bench.dataset.file import parse
from bench.dataset.labels import accepted, ambiguous, edited, is_open, standing, tier
from bench.dataset.sample import even_sizes, line, sample
from bench.models.tools import expected_action
from canary.commands.dataset import described, warnings
from records.captures.capture import Capture, CapturedMessage, CapturedToolCall, CaptureInfo, WireRequest
from records.store.captures import Label, Right


def a_capture(
    name: str, category: str = "", *, asked: str = "", truncated: bool = False, **about: Any
) -> Capture:
    fields = {
        "at": 1.0,
        "expires_at": 9.0,
        "canary": "c",
        "run": 1,
        "phase": 0,
        "arm": "baseline",
        "kept": "rate",
    }
    return Capture(
        about=CaptureInfo(exchange_id=name, category=category, **{**fields, **about}),
        messages=(
            CapturedMessage("system", "Be brief."),
            CapturedMessage("user", asked or f"Where is {name}?"),
        ),
        answer=f"{name} is on its way.",
        truncated=truncated,
    )


def many(**counts: int) -> list[Capture]:
    return [a_capture(f"{name}-{n}", name) for name, count in counts.items() for n in range(count)]


@pytest.mark.parametrize(
    ("available", "size", "wanted"),
    [
        ({"a": 900, "b": 90, "c": 10}, 100, {"a": 45, "b": 45, "c": 10}),
        ({"a": 900, "b": 90, "c": 10}, 3, {"a": 1, "b": 1, "c": 1}),
        ({"a": 5, "b": 5}, 100, {"a": 5, "b": 5}),
        ({"a": 10, "b": 10, "c": 10}, 20, {"a": 6, "b": 7, "c": 7}),
        ({}, 20, {}),
    ],
)
def test_the_rarest_category_is_taken_whole_first(
    available: dict[str, int], size: int, wanted: dict[str, int]
) -> None:
    assert even_sizes(available, size) == wanted


def test_a_sample_is_the_same_again_and_no_matter_in_which_order_it_came() -> None:
    captures = many(common=50, rare=3)
    chosen = sample(captures, 12)
    assert chosen == sample(reversed(captures), 12)
    assert [each.about.category for each in chosen] == ["common"] * 9 + ["rare"] * 3


def test_what_is_cut_short_or_was_asked_before_is_left_out() -> None:
    found = sample(
        [a_capture("1", asked="Same?"), a_capture("2", asked="Same?"), a_capture("3", truncated=True)], 10
    )
    assert len(found) == 1


def test_a_line_is_an_example_whose_label_is_proposed() -> None:
    capture = a_capture("x1", "billing", tags={"region": "eu"}, session="s")
    dataset = parse(json.dumps(line(capture, "judge")))
    (example,) = dataset.examples
    assert (example.id, example.category, example.cluster) == ("x1", "billing", "document s")
    assert (example.expected, example.tags["region"]) == ("x1 is on its way.", "eu")
    assert described(dataset)["proposed"] == 1
    assert any("unreviewed proposals" in each for each in warnings(dataset))


ASKED: dict[str, Any] = {
    "temperature": 0.2,
    "max_tokens": 64,
    "tools": [{"type": "function", "function": {"name": "find", "parameters": {}}}],
    "stop": ["END"],
    "user": "[unit]",
}
"""What an app sends beside its messages, in any API."""


@pytest.mark.parametrize(
    ("path", "own", "where"),
    [
        ("/v1/chat/completions?api-version=1", {"messages": [], "stream_options": {}}, {}),
        ("/v1/messages", {"messages": [], "system": "Be brief."}, {}),
        ("/v1beta/models/m:streamGenerateContent?alt=sse", {"contents": [], "systemInstruction": {}}, {}),
        ("/v1/responses", {"input": "Hi", "instructions": "Be brief."}, {"path": "/v1/responses"}),
    ],
)
def test_a_sampled_example_keeps_what_the_app_asked_with(
    path: str, own: dict[str, Any], where: dict[str, str]
) -> None:
    body = json.dumps({"model": "m", "stream": True, **own, **ASKED})
    request = WireRequest(path=path, body=body, headers={"anthropic-beta": "tools-2026"})
    told = line(replace(a_capture("x1"), request=request), "judge")
    (example,) = parse(json.dumps(told)).examples
    assert told["parameters"] == ASKED
    assert (told["headers"], example.extras.path) == ({"anthropic-beta": "tools-2026"}, where.get("path", ""))


CALLED = CapturedToolCall("c1", "find", '{"q": "a"}')
STEP = replace(
    a_capture("x2"),
    messages=(
        CapturedMessage("user", "Where is a?"),
        CapturedMessage("assistant", "", (CALLED,)),
        CapturedMessage("tool", "nowhere", (), "c1"),
    ),
    answer="",
    answer_calls=(replace(CALLED, id="c2", arguments='{"q": "b"}'),),
    tools=json.dumps(ASKED["tools"]),
)


def test_an_agents_step_is_an_example_of_what_it_does_next() -> None:
    request = WireRequest(path="/v1/messages", body=json.dumps(ASKED))
    told = line(replace(STEP, request=request), "action")
    (example,) = parse(json.dumps(told)).examples
    assert example.messages == STEP.messages
    assert expected_action(example.expected).calls == STEP.answer_calls
    assert (example.extras.api, [each.name for each in example.extras.tools]) == ("anthropic", ["find"])
    assert line(STEP, "judge")["expected"] == '[calls find {"q": "b"}]'
    cut = replace(STEP, messages=STEP.messages[:1] + STEP.messages[2:])
    orphan = replace(cut, about=replace(cut.about, exchange_id="x3"))
    assert sample([STEP, orphan], 10, (), "action") == [STEP]


def test_a_chats_own_tools_are_the_lines_and_no_other_form_is_sent_beside_them() -> None:
    strict = [{"type": "function", "function": {"name": "find", "parameters": {}, "strict": True}}]
    body = json.dumps({"tools": strict, "functions": [{"name": "find"}], "temperature": 0})
    told = line(replace(STEP, request=WireRequest(path="/v1/chat/completions", body=body)), "action")
    assert (told["parameters"], told["tools"]) == ({"temperature": 0}, strict)
    (example,) = parse(json.dumps(told)).examples
    assert example.extras.tools[0].strict is True
    body = json.dumps({"tools": [*strict, {"type": "custom", "custom": {"name": "patch"}}]})
    told = line(replace(STEP, request=WireRequest(path="/v1/chat/completions", body=body)), "action")
    assert (len(told["parameters"]["tools"]), told["tools"]) == (2, json.loads(STEP.tools))


@pytest.mark.parametrize("request_", [None, WireRequest(path="/v1/completions", body='{"best_of": 2}')])
def test_a_request_that_no_benchmark_asks_leaves_its_members_out(request_: WireRequest | None) -> None:
    told = line(replace(a_capture("x1"), request=request_), "judge")
    assert not told.keys() & {"parameters", "headers", "path"}


@pytest.mark.parametrize(
    ("right", "label", "expected"),
    [
        ("baseline", "accepted", "x1 is on its way."),
        ("both", "accepted", "x1 is on its way."),
        ("candidate", "edited", "It is lost."),
        ("neither", "proposed", "x1 is on its way."),
        ("unclear", "ambiguous", None),
    ],
)
def test_what_somebody_found_in_the_pair_is_the_label(right: Right, label: str, expected: str | None) -> None:
    found = Label(at=1.0, canary="c", exchange_id="x1", right=right, who="ann")
    told = line(a_capture("x1"), "judge", found, "It is lost.")
    assert (told["tags"]["label"], told["expected"]) == (label, expected)
    assert line(a_capture("x1"), "judge", found)["tags"]["label"] != "edited"


def test_a_person_accepts_edits_or_calls_it_ambiguous() -> None:
    proposed = line(a_capture("x1"), "judge")
    assert is_open(proposed)
    ann = {"by": "ann", "at": 1_795_000_000.0}
    lines = [accepted(proposed, **ann), edited(proposed, "It is lost.", **ann), ambiguous(proposed, **ann)]
    assert not any(map(is_open, lines))
    assert [each["expected"] for each in lines] == ["x1 is on its way.", "It is lost.", None]
    assert standing([*lines, proposed, {}]) == {
        "accepted": 1,
        "edited": 1,
        "ambiguous": 1,
        "proposed": 1,
        "none": 1,
    }


def test_tiers_by_how_many_labels_there_are() -> None:
    assert [tier(n) for n in (10, 49, 50, 199, 200)] == ["spot", "spot", "partial", "partial", "full"]
