"""A session as a document: what stands out, what is missing, and its exchanges along a time axis."""

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pages.reports.session import document, from_json, rendered, to_json
from pages.waterfall import TimedText, WaterfallText, waterfall
from pages.words import session as words
from records.outcome import AttemptRecord, ProviderError
from records.store.session_exchanges import (
    CountedSession,
    SessionExchange,
    SessionFeedback,
    SessionMark,
    SessionToolCall,
    StoredSession,
)

START = 20_000 * 86400.0
TEXT = WaterfallText(
    number=1, at="", arm="", model="", took="", cost="", says="", tools="", tokens="", feedback="", tone=""
)


def an_exchange(at_s: float, **changed: Any) -> SessionExchange:
    fields: dict[str, Any] = dict.fromkeys(SessionExchange.__dataclass_fields__, "")
    fields |= {"at": START + at_s, "exchange_id": f"x{at_s:g}", "canary": "trial", "run": 2, "phase": 0}
    fields |= {"arm": "candidate", "served_by": "candidate", "model": "new", "outcome": "ok", "status": 200}
    fields |= {"error_type": None, "latency_s": 2.0, "ttft_s": 0.5, "cost_usd": 0.01, "finish": "stop"}
    fields |= {"input_tokens": 1000, "cached_input_tokens": 900, "output_tokens": 50}
    fields |= {"faults": (), "tool_calls": (), "attempts": (), "provider_error": None}
    return SessionExchange(**(fields | changed))


def a_session(*exchanges: SessionExchange, **more: Any) -> StoredSession:
    return StoredSession(session="ab" * 16, exchanges=exchanges, **more)


WHOLE = a_session(
    an_exchange(0, finish="tool_calls", tool_calls=(SessionToolCall(name="Read"),)),
    an_exchange(3, outcome="fallback", served_by="baseline", model="old", error_type="provider_timeout"),
    an_exchange(1000, arm="baseline", served_by="baseline", model="old", faults=("tool_args_invalid",)),
    an_exchange(1004, canary="", arm="baseline", model="small", cost_usd=None),
    feedback=(
        SessionFeedback(metric="csat", value=2.0, at=START + 1010, exchange_id="x1000"),
        SessionFeedback(metric="escalated", value=1.0, at=START + 1020),
    ),
    marks=(
        SessionMark(judge="openai/judge", mark=2.0, done=False),
        SessionMark(judge="openai/judge", exchange_id="x0", better="candidate"),
    ),
)


def test_every_form_says_the_same() -> None:
    for form in ("text", "markdown", "html"):
        told = rendered(WHOLE, form, [("trial", "/canaries/trial")])
        for said in (
            "4 exchanges in 16 min 46 s for $0.03",
            "trial, run 2",
            "the baseline answered: the provider took too long",
            "Read",
            "1,000 in (90 % cached), 50 out",
            "satisfaction 2",
            "escalated 1",
            "The judge gives it 2 of 5, and the task was not done.",
            "the judge prefers the candidate’s answer",
            "The cost of 1 exchange is not known",
        ):
            assert said in " ".join(told.split()), (form, said)
    assert '<a href="/canaries/trial">trial</a>' in told
    assert "16 min 35 s without a request" in told
    assert "style=" not in told
    for each in (WHOLE, a_session(REFUSED)):
        assert from_json(json.loads(json.dumps(to_json(each)))) == each


REFUSED = an_exchange(
    0,
    outcome="fallback",
    served_by="baseline",
    provider="openai",
    model="old",
    error_type="candidate_rejects",
    provider_request_id="req_88e9",
    provider_error=ProviderError(code="bad_schema", type="invalid_request_error", message="No items."),
    attempts=(
        AttemptRecord(arm="candidate", provider="azure", model="new", status=400),
        AttemptRecord(arm="baseline", provider="openai", model="old", status=200),
    ),
)


def test_a_failure_and_its_request_id_stand_under_the_model_that_failed() -> None:
    found = StoredSession(session="", exchanges=(REFUSED,))
    told = words.failures(found)
    assert told == [
        "Exchange 1, candidate azure/new: candidate rejects: No items (status 400, code bad_schema, type "
        "invalid_request_error). The caller got the baseline’s answer, from openai/old."
    ]
    assert words.provider_ids(found) == ["Exchange 1, candidate azure/new: req_88e9"]
    facts = dict(words.facts(found))
    assert (facts["Candidate"], facts["Baseline"]) == ("new", "old")
    shown = document(found)
    assert (shown.title, shown.tone) == ("1 exchange in 2.00 s for $0.0100, 1 failed", "bad")
    for form in ("text", "markdown", "html"):
        said = " ".join(rendered(found, form).replace("\\_", "_").split())
        assert told[0] in said, form
        assert "new, then old" in said, form


def test_a_candidate_that_was_not_asked_or_gave_no_answer_is_said_so() -> None:
    baseline = AttemptRecord(arm="baseline", provider="openai", model="old", status=200)
    kept_away = replace(
        REFUSED, error_type="breaker_open", attempts=(baseline,), provider_error=None, provider_request_id=""
    )
    silent = AttemptRecord(arm="candidate", provider="azure", model="new")
    broken = replace(
        REFUSED, outcome="error", served_by="candidate", error_type="provider_timeout", attempts=(silent,),
        status=None, provider_error=None,
    )  # fmt: skip
    assert words.failures(a_session(kept_away, broken)) == [
        "Exchange 1, candidate, which was not asked: breaker open. The caller got the baseline’s "
        "answer, from openai/old.",
        "Exchange 2, candidate azure/new: provider timeout. The caller got an error.",
    ]


def test_what_stands_out_and_what_is_missing_is_said() -> None:
    counted = CountedSession(
        canary="trial", run=2, phase=0, arm="candidate", unit="cd" * 16, first_at=START, last_at=START,
        exchanges=7,
    )  # fmt: skip
    told = words.remarks(replace(WHOLE, counted=(counted,)))
    assert told[0] == (
        "The arm changed within the session in trial: 2 exchanges of the candidate, then 1 exchange of the "
        "baseline."
    )
    assert told[1:3] == [
        "1 exchange is of no canary.",
        "The judge gives it 2 of 5, and the task was not done.",
    ]
    assert "The canaries counted 3 exchanges that are not stored: a record is stored" in told[3]
    more = words.remarks(replace(WHOLE, counted=(counted,), more=True))
    assert "Only the newest 4 exchanges are shown: the canaries counted 3 more." in more
    looping = [an_exchange(n, tool_calls=(SessionToolCall(name="Bash", before=n),)) for n in range(4)]
    assert "Bash was called 4 times with the same arguments." in words.remarks(a_session(*looping))
    gone = StoredSession(session="ab" * 16, counted=(counted,))
    assert words.headline(gone) == "No exchange left of 7"
    assert "None of them is stored any more." in rendered(gone, "text")


def test_models_stand_under_the_arm_that_answered() -> None:
    facts = dict(words.facts(WHOLE))
    assert (facts["Candidate"], facts["Baseline"], facts["No canary"]) == ("new", "old", "small")
    assert document(WHOLE).about == f"Session {'ab' * 16}"


def test_times_without_a_request_take_little_of_the_axis() -> None:
    timed = [TimedText(START + at, 0.5, 2.0, TEXT) for at in (0, 3, 1000, 1002)]
    drawn = waterfall(timed, clock=lambda at: f"{at - START:.1f}", length=lambda size: f"{size:.0f} s")
    assert [row.idle for row in drawn.rows] == ["", "", "995 s", ""]
    widths = [row.width for row in drawn.rows]
    assert max(widths) - min(widths) < 0.1
    assert widths[0] > 20
    assert [(each.at, each.text) for each in drawn.ticks][:: len(drawn.ticks) - 1] == [
        (0.0, "0.0"),
        (100.0, "1004.0"),
    ]


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 600)), min_size=1, max_size=30))
def test_whatever_happened_every_bar_is_on_the_axis_in_order(spans: list[tuple[float, float]]) -> None:
    spans.sort()
    timed = [TimedText(START + at, None, latency_s, TEXT) for at, latency_s in spans]
    drawn = waterfall(timed, clock=str, length=str)
    for row in drawn.rows:
        assert 0.0 <= row.x <= row.x + row.width <= 100.01
        assert 0.0 <= row.wait <= row.width
    assert all(one.x <= other.x + 0.5 for one, other in pairwise(drawn.rows))
    moments = [float(each.text) for each in drawn.ticks]
    assert moments == sorted(moments)
