"""Which exchanges are captured, and what is handed over."""

from dataclasses import replace
from itertools import count
from typing import Any

import msgspec
import pytest

from proxy.answers.recorder import AnswerRecorder
from proxy.attempts.capture import LONGEST_REQUEST, MOST_CATEGORIES, MOST_OPEN, Captures
from proxy.calls.call import Call
from proxy.calls.routes import Routes
from proxy.providers.urls import operation
from records.captures.capture import CaptureRule, CaptureSample, RawCapture
from records.outcome import Outcome
from tests.proxy.calls import PROVIDERS, call, routes, trial

DAY_S = 86400.0


def a_call(
    rule: CaptureRule | None, category: str = "", *, text: str = "Why?", path: str = "/v1/chat/completions"
) -> Call:
    table = routes(replace(trial(), capture=rule))
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": text}]}
    return call(body, (b"x-canary-category", category.encode()), path=path, table=table)


def an_outcome(**changes: Any) -> Outcome:
    return Outcome(
        **{"exchange_id": "real", "at": 1000.0, "mono": 1.0, "outcome": "ok", "canary": "support", **changes}
    )


class Pipe:
    """Takes what is sent."""

    def __init__(self, *, full: bool = False) -> None:
        self.captures: list[RawCapture] = []
        self.full = full

    def __call__(self, message: bytes) -> bool:
        self.captures.append(msgspec.msgpack.decode(message, type=RawCapture))
        return not self.full


def recorder() -> AnswerRecorder:
    found = AnswerRecorder()
    found.begin("sse", operation("openai", "POST", "/chat/completions").output)
    found.record(b'data: {"choices": [{"delta": {"content": "Blue."}}]}\n\n')
    return found


def drawn(captures: Captures, request: Call, exchange_id: str = "real") -> CaptureSample | None:
    """Draw by the rule of the request's canary."""
    assert request.trial is not None
    return captures.drawn(request, request.trial.capture, exchange_id)


def captured(captures: Captures, request: Call) -> CaptureSample | None:
    """Draw for this request and, if it was drawn, keep it."""
    sample = drawn(captures, request)
    if sample is not None:
        outcome = an_outcome(category=request.labels.category)
        captures.close(request, sample, outcome, recorder())
    return sample


def test_without_a_rule_nothing_is_drawn() -> None:
    assert drawn(Captures(Pipe(), draw=lambda: 0.0), a_call(None)) is None


def test_the_rate_is_the_part_that_is_kept() -> None:
    draws = (n % 100 / 100 for n in count())
    captures, request = Captures(Pipe(), draw=lambda: next(draws)), a_call(CaptureRule(rate=0.05))
    assert sum(captured(captures, request) is not None for _ in range(1000)) == 50


def test_a_session_is_kept_whole_or_not_at_all() -> None:
    captures, request = Captures(Pipe(), draw=lambda: 0.99), a_call(CaptureRule(rate=0.25))
    rule = CaptureRule(rate=0.25)
    for session, kept in (("3f" + "0" * 30, True), ("40" + "0" * 30, False)):
        drawn = [captures.drawn(request, rule, "real", session) is not None for _ in range(3)]
        assert drawn == [kept] * 3


def test_the_first_of_each_category_and_day_are_kept_and_then_the_rate_decides() -> None:
    captures = Captures(Pipe(), draw=lambda: 0.99)
    rule = CaptureRule(rate=0.5, per_category=2)
    kept = [captured(captures, a_call(rule, name)) for name in ("common",) * 5 + ("rare",)]
    assert [each.kept if each else None for each in kept] == [
        "category",
        "category",
        None,
        None,
        None,
        "category",
    ]
    tomorrow = a_call(rule, "common")
    tomorrow.at += DAY_S
    assert drawn(captures, tomorrow) is not None


def test_what_was_drawn_but_not_kept_does_not_use_up_its_category() -> None:
    pipe = Pipe(full=True)
    captures, rule = Captures(pipe, draw=lambda: 0.99), CaptureRule(rate=0.5, per_category=1)
    for _ in range(3):
        assert captured(captures, a_call(rule, "rare")) is not None
    pipe.full = False
    assert captured(captures, a_call(rule, "rare")) is not None
    assert captured(captures, a_call(rule, "rare")) is None


def test_callers_cannot_make_a_worker_count_without_end() -> None:
    captures, rule = Captures(Pipe(), draw=lambda: 0.99), CaptureRule(rate=0.5, per_category=1)
    kept = sum(captured(captures, a_call(rule, f"c{n}")) is not None for n in range(MOST_CATEGORIES + 50))
    assert kept == MOST_CATEGORIES


def test_what_is_handed_over_is_the_request_the_answer_and_what_is_known_of_it() -> None:
    pipe = Pipe()
    rule = CaptureRule(rate=1.0, expires_after_s=60.0, redact=(r"K-\d+",))
    captures, request = Captures(pipe), a_call(rule, "billing")
    sample = drawn(captures, request)
    assert sample is not None
    captures.close(request, sample, an_outcome(arm="candidate", category="billing", unit="u"), recorder())
    (capture,) = pipe.captures
    assert (capture.request, capture.answer, capture.redact) == (
        request.body,
        "Blue.",
        (r"K-\d+",),
    )
    about = capture.about
    assert (about.exchange_id, about.copy_of, about.arm, about.category) == (
        "real",
        "",
        "candidate",
        "billing",
    )
    assert (about.at, about.expires_at, about.kept) == (1000.0, 1060.0, "rate")


def test_without_a_canary_the_rule_of_the_model_decides_and_its_quota_is_its_own() -> None:
    rule = CaptureRule(rate=0.25, per_category=1)
    table = Routes(PROVIDERS, [], (), {"gpt-4o": rule, "gpt-4o-mini": rule})
    pipe = Pipe()
    captures = Captures(pipe, draw=lambda: 0.99)
    for model, taken in (("gpt-4o", True), ("gpt-4o", False), ("gpt-4o-mini", True), ("o1", False)):
        request = call({"model": model, "messages": [{"role": "user", "content": "Why?"}]}, table=table)
        assert request.trial is None
        sample = captures.drawn(request, table.captures.get(model), "real")
        assert (sample is not None) is taken, model
        if sample is not None:
            captures.close(request, sample, an_outcome(canary="", model=model), recorder())
    assert [(each.about.source, each.about.rate) for each in pipe.captures] == [
        ("model:gpt-4o", 0.25),
        ("model:gpt-4o-mini", 0.25),
    ]


def test_a_mirror_copy_names_the_exchange_that_it_repeats() -> None:
    pipe = Pipe()
    captures, request = Captures(pipe), a_call(CaptureRule(rate=1.0))
    sample = drawn(captures, request)
    assert sample is not None
    captures.close(request, sample, an_outcome(exchange_id="copy"), recorder())
    assert (pipe.captures[0].about.exchange_id, pipe.captures[0].about.copy_of) == ("copy", "real")


@pytest.mark.parametrize("outcome", ["error", "caller_error", "aborted", "shed"])
def test_only_answers_that_came_whole_are_kept(outcome: str) -> None:
    pipe = Pipe()
    captures, request = Captures(pipe), a_call(CaptureRule(rate=1.0))
    sample = drawn(captures, request)
    assert sample is not None
    captures.close(request, sample, an_outcome(outcome=outcome), recorder())
    captures.close(request, sample, an_outcome(), AnswerRecorder())
    assert pipe.captures == []


def test_other_operations_and_long_requests_are_left_out() -> None:
    captures, rule = Captures(Pipe()), CaptureRule(rate=1.0)
    assert drawn(captures, a_call(rule, path="/v1/embeddings")) is None
    assert drawn(captures, a_call(rule, text="x" * LONGEST_REQUEST)) is None


def test_only_so_many_are_listened_to_at_once_whatever_becomes_of_them() -> None:
    captures, request = Captures(Pipe()), a_call(CaptureRule(rate=1.0))
    taken = [sample for n in range(MOST_OPEN + 10) if (sample := drawn(captures, request, f"e-{n}"))]
    assert len(taken) == MOST_OPEN
    copy = an_outcome(exchange_id="copy")
    captures.close(request, taken[0], copy, recorder())  # a copy's end is not the exchange's
    assert drawn(captures, request, "more") is None
    for sample in taken:
        captures.close(request, sample, an_outcome(exchange_id=sample.exchange_id, outcome="aborted"), None)
    assert drawn(captures, request, "more") is not None


def test_whatever_goes_wrong_the_answer_does_not_hear_of_it() -> None:
    def broken(_: bytes) -> bool:
        raise RuntimeError("the pipe is gone")

    captures, request = Captures(broken), a_call(CaptureRule(rate=1.0))
    sample = drawn(captures, request)
    assert sample is not None
    captures.close(request, sample, an_outcome(), recorder())
