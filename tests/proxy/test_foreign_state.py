"""Requests whose state one arm cannot read: the other arm is asked, the first refusal kept till then."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import httpx2
import pytest

from proxy.attempts.foreign_state import carries_sealed_state, may_carry_state, names_state
from proxy.network.upstream.breaker import IN_A_ROW
from records.outcome import InFlight, Outcome
from routing.cohort import bucket, unit_hash
from routing.sessions import SessionArm
from routing.states import State
from tests.proxy.calls import call
from tests.proxy.raw_provider import RawProvider, Wire, pool
from tests.proxy.traffic import ANSWER, KEY, Traffic

Run = Callable[[Any], Any]

TASK = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
REASONING = {"input": [{"type": "reasoning", "id": "rs_1a2b3c", "encrypted_content": "gAAAA"}]}
THINKING = {"messages": [{"content": [{"type": "thinking", "thinking": "x", "signature": "EqQB"}]}]}
REDACTED = {"messages": [{"content": [{"type": "redacted_thinking", "data": "EqQB"}]}]}
THOUGHT = {"contents": [{"parts": [{"text": "x", "thoughtSignature": "CsoB"}]}]}
BY_OPENAI = {"messages": [{"extra_content": {"google": {"thought_signature": "CsoB"}}}]}
PREVIOUS = {"input": "and?", "previous_response_id": "resp_1a2b3c"}
INTERACTION = {"input": "and?", "previous_interaction_id": "v1_abcdef"}
CONVERSATION = {"input": "and?", "conversation": "conv_1a2b3c"}
FILE = {"input": [{"content": [{"type": "input_file", "file_id": "file-1a2b3c"}]}]}
GEMINI_FILE = {"contents": [{"parts": [{"fileData": {"fileUri": "https://g/v1beta/files/abc-123"}}]}]}
CACHED = {"contents": [], "cachedContent": "cachedContents/abc123"}


def openai(message: str, code: str | None = None, param: str | None = None) -> bytes:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return json.dumps({"error": error}, indent=2).encode()


def anthropic(message: str) -> bytes:
    error = {"type": "invalid_request_error", "message": message}
    return json.dumps({"type": "error", "error": error, "request_id": "req_1"}).encode()


def gemini(message: str, status: str = "INVALID_ARGUMENT") -> bytes:
    return json.dumps({"error": {"code": 400, "message": message, "status": status}}, indent=2).encode()


UNVERIFIED = openai("The encrypted content gAAA...Rg== could not be verified.", "invalid_encrypted_content")
UNSIGNED = anthropic("messages.1.content.0: Invalid `signature` in `thinking` block")


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        (REASONING, UNVERIFIED),
        (REASONING, openai("Item with id 'rs_1a2b3c' not found. Items are not persisted.", param="input")),
        (THINKING, UNSIGNED),
        (THINKING, anthropic("messages.1.content.0: Invalid signature in thinking block")),
        (THINKING, gemini(UNSIGNED.decode())),  # as Vertex wraps it
        (THINKING, anthropic("`thinking` or `redacted_thinking` blocks in … cannot be modified.")),
        (REDACTED, anthropic("messages.1.content.0: Invalid `data` in `redacted_thinking` block")),
        (THOUGHT, gemini("Thought signature is not valid.")),
        (THOUGHT, gemini("Unable to submit request because Thought signature is not valid.. Learn more")),
        (THOUGHT, gemini("Corrupted thought signature.")),
        (BY_OPENAI, b"[%b]" % gemini("Invalid thought signature.")),
        (
            PREVIOUS,
            openai("Previous response with id 'resp_1a2b3c' not found.", "previous_response_not_found"),
        ),
        (PREVIOUS, openai("Previous response with id 'resp_1a2b3c' not found.")),
        (INTERACTION, gemini("Interaction v1_abcdef not found.", "NOT_FOUND")),
        (CONVERSATION, openai("Conversation with id 'conv_1a2b3c' not found.")),
        (FILE, openai("No such File object: file-1a2b3c", param="id")),
        (GEMINI_FILE, gemini("You do not have permission to access the File abc-123 or it may not exist.")),
        (CACHED, gemini("CachedContent not found (or permission denied)", "PERMISSION_DENIED")),
    ],
)
def test_a_refusal_in_the_vendors_words_names_the_state(body: dict[str, Any], refusal: bytes) -> None:
    assert names_state(refusal, json.dumps(body).encode())
    assert not names_state(refusal, b'{"model":"gpt-4o","messages":[{"role":"user","content":"hello"}]}')


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        (REASONING, openai("Unsupported parameter: 'temperature' is not supported with this model.")),
        (REASONING, openai("The model `gpt-9` does not exist or you do not have access to it.")),
        (REASONING, openai("Item with id 'rs_another' not found.")),
        (THINKING, anthropic("max_tokens: 4096 > 1024, which is the maximum allowed number")),
        (THINKING, anthropic("messages.1.content.0.type: Expected `thinking`, but found `text`.")),
        (THINKING, anthropic("thinking is not supported by this model")),
        (THOUGHT, gemini("Function call is missing a thought_signature in functionCall parts.")),
        (PREVIOUS, openai("Unsupported parameter: 'previous_response_id'.", "unsupported_parameter")),
        (FILE, openai("Incorrect API key provided.", "invalid_api_key")),
        (REASONING, b"<html>502 Bad Gateway</html>"),
        (REASONING, b""),
    ],
)
def test_any_other_refusal_is_not_about_the_state(body: dict[str, Any], refusal: bytes) -> None:
    assert not names_state(refusal, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("body", "sealed"),
    [
        (REASONING, True),
        (THINKING, True),
        (REDACTED, True),
        (THOUGHT, True),
        (BY_OPENAI, True),
        (PREVIOUS, False),  # stored, not sealed: `proxy.calls.call` knows of it
        ({"tools": [{"parameters": {"properties": {"signature": {"type": "string"}}}}]}, False),
        ({"messages": [{"content": 'he wrote "signature": "x"'}]}, False),
    ],
)
def test_sealed_state_is_seen_in_a_request(body: dict[str, Any], sealed: bool) -> None:
    assert carries_sealed_state(json.dumps(body).encode()) is sealed


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/responses", REASONING),
        ("/v1/messages", THINKING),
        ("/v1/messages", REDACTED),
        ("/v1beta/models/gpt-4o:generateContent", THOUGHT),
        ("/v1/chat/completions", BY_OPENAI),
        ("/v1/responses", PREVIOUS),
        ("/v1beta/interactions", INTERACTION),
        ("/v1/responses", CONVERSATION),
        ("/v1/responses", FILE),
        ("/v1beta/models/gpt-4o:generateContent", GEMINI_FILE),
        ("/v1beta/models/gpt-4o:generateContent", CACHED),
    ],
)
def test_whatever_a_refusal_may_name_is_seen_in_the_request(path: str, body: dict[str, Any]) -> None:
    assert may_carry_state(call({"model": "gpt-4o", **body}, path=path))


def test_the_refusal_of_a_plain_chat_is_not_held() -> None:
    said = [{"role": "user", "content": "Where is my refund? See the file."}]
    assert not may_carry_state(call({"model": "gpt-4o", "messages": said, "metadata": {"user_id": "u"}}))


# The other arm is asked.


def answer(status: int, body: bytes, head: bytes = b"") -> bytes:
    fields = b"content-type: application/json\r\n%bcontent-length: %d" % (head, len(body))
    return b"HTTP/1.1 %d Said\r\n%b\r\n\r\n%b" % (status, fields, body)


TAKES = answer(200, ANSWER)
REFUSES = answer(400, UNVERIFIED, b"x-request-id: req_own\r\n")
HIDDEN = b"HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n"


@dataclass
class Arm:
    """One arm's provider: what it says, and how often it was asked. It hangs where it says nothing."""

    said: bytes
    asked: int = 0
    began: asyncio.Event = field(default_factory=asyncio.Event)

    async def play(self, wire: Wire) -> None:
        while True:
            await wire.request()
            self.asked += 1
            self.began.set()
            if not self.said:
                await wire.closed()
                return
            await wire.send(self.said)


@dataclass
class Told:
    """What became of one request."""

    response: httpx2.Response
    outcome: Outcome
    baseline: Arm
    candidate: Arm
    in_flight: list[InFlight]


Act = Callable[[Traffic], None]


async def asked(
    baseline: bytes,
    candidate: bytes,
    *,
    assigned: str = "baseline",
    state: State | None = None,
    covered: bool = True,
    one_entry: bool = False,
    broken: bool = False,
    times: int = 1,
    meanwhile: Act | None = None,
    body: dict[str, Any] = REASONING,
    answered: int | None = None,
    resumed: bool = False,
) -> Told:
    """`times` requests of a unit of the candidate's, which is now assigned to that arm, and what became of
    the last. `meanwhile` happens while the candidate has it. `answered`: by whom all was in their session,
    which canary has seen. `resumed`: canary has not seen their session."""
    arms = {"baseline": Arm(baseline), "candidate": Arm(candidate)}
    async with (
        RawProvider(arms["baseline"].play) as one,
        RawProvider(arms["candidate"].play) as two,
        pool(limit=1) as upstreams,
    ):
        other = one.entry() if one_entry else replace(two.entry(), name="another")
        traffic = Traffic(one.entry(), upstreams, covered=covered, candidate=other)
        traffic.share = 1.0 if assigned == "candidate" else 0.0
        known = state or State(
            state="rolled_back" if assigned == "baseline" else "running", highest_share=1.0
        )
        traffic.state = replace(known, definition=traffic.trial.definition)
        traffic.trial.breaker.allows(time.monotonic(), run=1)
        for _ in range(IN_A_ROW if broken else 0):
            traffic.trial.breaker.failed(time.monotonic() + 60.0)  # no probe meanwhile
        if answered is not None:
            place = bucket(KEY, "support", "somebody")
            name, unit = unit_hash(KEY, TASK), unit_hash(KEY, "somebody")
            known = SessionArm(
                "support", name, unit, place, "candidate", "cohort", 1, 0, 1.0, 1.0, 2.0, answered
            )
            traffic.recorder.sessions.hear([known])
        async with traffic.served() as http:
            http.headers["x-canary-session"] = TASK if answered is not None or resumed else ""
            request = {"model": "gpt-4o", "user": "somebody", "store": False, **body}
            for _ in range(times - 1):
                await http.post("/v1/responses", json=request)
            sent = asyncio.ensure_future(http.post("/v1/responses", json=request))
            news: list[InFlight] = []
            if meanwhile is not None:
                await arms["candidate"].began.wait()
                news = traffic.recorder.in_flight.news(time.monotonic() + 60.0)
                meanwhile(traffic)
            response = await sent
        assert upstreams.free_slots("support/candidate") == upstreams.free_slots("support/baseline") == 1
    outcome = traffic.outcomes[-1]
    assert len(traffic.outcomes) == times
    return Told(response, outcome, arms["baseline"], arms["candidate"], news)


@pytest.mark.parametrize("covered", [True, False])
@pytest.mark.parametrize("assigned", ["baseline", "candidate"])
def test_the_arm_that_can_read_the_state_answers_and_neither_is_blamed(
    run: Run, assigned: str, covered: bool
) -> None:
    says = (REFUSES, TAKES) if assigned == "baseline" else (TAKES, REFUSES)
    told = run(asked(*says, assigned=assigned, covered=covered))
    other = "candidate" if assigned == "baseline" else "baseline"
    assert (told.response.status_code, told.response.content) == (200, ANSWER)
    assert told.response.headers["x-canary-arm"] == assigned
    assert told.response.headers["x-canary-served-by"] == other
    outcome = told.outcome
    assert (outcome.outcome, outcome.error_type, outcome.reason) == ("ok", None, "foreign_state")
    assert (outcome.arm, outcome.served_by, outcome.evidence) == (assigned, other, False)
    assert [attempt.arm for attempt in outcome.attempts] == [assigned, other]
    assert outcome.finish is None  # what the other arm says counts for no arm
    assert told.response.headers["x-canary-exchange"] == outcome.exchange_id


@pytest.mark.parametrize(("resumed", "status"), [(True, 200), (False, 400)])
def test_a_resumed_session_that_canary_does_not_know_may_be_one_that_another_user_began(
    run: Run, resumed: bool, status: int
) -> None:
    never_the_candidates = State(state="rolled_back", highest_share=0.0)
    told = run(asked(REFUSES, TAKES, state=never_the_candidates, resumed=resumed))
    assert (told.response.status_code, told.candidate.asked) == (status, int(resumed))


@pytest.mark.parametrize("other_says", [answer(400, b"{}"), REFUSES])
@pytest.mark.parametrize("assigned", ["baseline", "candidate"])
def test_state_that_neither_arm_reads_gets_the_assigned_arms_own_refusal(
    run: Run, assigned: str, other_says: bytes
) -> None:
    says = (REFUSES, other_says) if assigned == "baseline" else (other_says, REFUSES)
    told = run(asked(*says, assigned=assigned))
    assert (told.response.status_code, told.response.content) == (400, UNVERIFIED)
    assert told.response.headers["x-request-id"] == "req_own"
    assert told.response.headers["x-canary-arm"] == assigned
    assert "x-canary-served-by" not in told.response.headers
    outcome = told.outcome
    assert (outcome.outcome, outcome.error_type, outcome.served_by) == (
        "caller_error",
        "caller_rejected",
        assigned,
    )
    assert outcome.reason == ("cohort" if assigned == "candidate" else "stopped")
    assert (told.baseline.asked, told.candidate.asked) == (1, 1)


@pytest.mark.parametrize("other_says", [HIDDEN, answer(429, b"{}")])
@pytest.mark.parametrize("assigned", ["baseline", "candidate"])
def test_a_failure_of_the_only_arm_that_may_read_the_state_is_its_own_and_may_be_tried_again(
    run: Run, assigned: str, other_says: bytes
) -> None:
    says = (REFUSES, other_says) if assigned == "baseline" else (other_says, REFUSES)
    told = run(asked(*says, assigned=assigned))
    other = "candidate" if assigned == "baseline" else "baseline"
    assert told.response.status_code == (500 if other_says == HIDDEN else 429)
    assert told.response.headers["x-canary-served-by"] == other
    outcome = told.outcome
    assert (outcome.outcome, outcome.reason, outcome.served_by) == ("error", "foreign_state", other)
    assert not outcome.evidence
    assert (told.baseline.asked, told.candidate.asked) == (1, 1)


@pytest.mark.parametrize("body", [REASONING, PREVIOUS, CONVERSATION])
@pytest.mark.parametrize(("answered", "baseline_asked"), [(2, 0), (3, 1), (1, 1), (None, 1)])
def test_the_baseline_is_not_asked_for_a_conversation_that_the_candidate_alone_has_answered(
    run: Run, answered: int | None, baseline_asked: int, body: dict[str, Any]
) -> None:
    refusal = answer(400, openai("Previous response with id 'resp_1a2b3c' not found. 'conv_1a2b3c' neither."))
    says = REFUSES if body is REASONING else refusal
    told = run(asked(says, HIDDEN, assigned="candidate", answered=answered, body={**body, "store": False}))
    assert told.baseline.asked == baseline_asked
    if answered == 2 or body is REASONING:
        assert (told.response.status_code, told.outcome.outcome) == (500, "error")
        assert (told.outcome.error_type, told.outcome.served_by) == ("provider_5xx", "candidate")


@pytest.mark.parametrize("says", [HIDDEN, answer(429, b"{}"), answer(403, b"{}")])
def test_a_conversation_that_carries_no_state_is_covered(run: Run, says: bytes) -> None:
    plain = {"input": "and then?"}
    told = run(asked(TAKES, says, assigned="candidate", answered=2, body=plain))
    assert (told.response.status_code, told.outcome.outcome, told.baseline.asked) == (200, "fallback", 1)


def test_a_refusal_that_is_longer_than_what_is_held_goes_out_whole(run: Run) -> None:
    long = openai(
        f"The encrypted content could not be verified. {'x' * 200_000}", "invalid_encrypted_content"
    )
    told = run(asked(answer(400, long), REFUSES))
    assert (told.response.status_code, told.response.content) == (400, long)


def test_an_unrelated_refusal_of_the_baseline_asks_nobody_else(run: Run) -> None:
    told = run(asked(answer(400, openai("Unknown parameter: 'x'.")), TAKES))
    assert (told.response.status_code, told.candidate.asked) == (400, 0)
    assert (told.outcome.outcome, told.outcome.reason) == ("caller_error", "stopped")


def test_an_unrelated_refusal_of_the_candidate_is_its_failure(run: Run) -> None:
    told = run(asked(TAKES, answer(400, openai("Unknown parameter: 'x'.")), assigned="candidate"))
    assert (told.outcome.outcome, told.outcome.error_type) == ("fallback", "candidate_rejects")
    assert told.outcome.reason == "cohort"


def test_a_candidate_at_the_same_entry_that_refuses_the_state_has_failed(run: Run) -> None:
    told = run(asked(REFUSES, TAKES, assigned="candidate", one_entry=True))
    assert (told.outcome.outcome, told.outcome.reason) == ("caller_error", "cohort")
    assert (told.baseline.asked, told.candidate.asked) == (2, 0)


@pytest.mark.parametrize(
    "state",
    [
        State(state="rolled_back", highest_share=1.0, hard=True),
        State(state="rolled_back", highest_share=0.0),
        State(state="ended", highest_share=1.0),
    ],
)
def test_the_candidate_is_not_asked_where_it_began_nothing_or_after_a_hard_rollback(
    run: Run, state: State
) -> None:
    told = run(asked(REFUSES, TAKES, state=state))
    assert (told.response.status_code, told.response.content, told.candidate.asked) == (400, UNVERIFIED, 0)
    assert (told.outcome.outcome, told.outcome.reason) == ("caller_error", "stopped")


def test_an_open_breaker_keeps_nothing_from_the_candidate_that_only_it_can_read(run: Run) -> None:
    told = run(asked(REFUSES, TAKES, broken=True))
    assert (told.response.status_code, told.baseline.asked, told.candidate.asked) == (200, 1, 1)
    assert (told.outcome.outcome, told.outcome.served_by) == ("ok", "candidate")
    told = run(asked(REFUSES, TAKES, assigned="candidate", answered=2, broken=True))
    assert (told.response.status_code, told.baseline.asked, told.candidate.asked) == (200, 0, 1)
    assert (told.outcome.outcome, told.outcome.reason) == ("ok", "cohort")


def test_what_the_baseline_turns_out_not_to_read_while_the_breaker_is_open_may_be_tried_again(
    run: Run,
) -> None:
    told = run(asked(REFUSES, TAKES, assigned="candidate", broken=True))
    answered = told.response
    assert (answered.status_code, answered.headers["retry-after"], told.candidate.asked) == (503, "1", 0)
    assert (told.outcome.outcome, told.outcome.error_type) == ("error", "breaker_open")


def roll_back_hard(traffic: Traffic) -> None:
    traffic.state = replace(traffic.state, hard=True)


def open_the_breaker(traffic: Traffic) -> None:
    for _ in range(IN_A_ROW):
        traffic.trial.breaker.failed(time.monotonic())


def let_the_patience_run_out(traffic: Traffic) -> None:
    traffic.ticker.tick(time.monotonic() + 60.0)


def test_who_waits_for_the_candidates_part_of_a_conversation_gets_the_refusal_after_a_hard_rollback(
    run: Run,
) -> None:
    told = run(asked(REFUSES, b"", meanwhile=roll_back_hard))
    assert (told.response.status_code, told.response.content, told.candidate.asked) == (400, UNVERIFIED, 1)
    assert (told.outcome.outcome, told.outcome.served_by) == ("caller_error", "baseline")
    assert [each.reason for each in told.in_flight] == ["foreign_state"]  # no evidence while it waits


@pytest.mark.parametrize(("act", "status"), [(open_the_breaker, 502), (let_the_patience_run_out, 504)])
def test_who_waits_for_the_candidates_part_of_a_conversation_may_ask_again_when_the_wait_ends(
    run: Run, act: Act, status: int
) -> None:
    told = run(asked(REFUSES, b"", meanwhile=act))
    assert (told.response.status_code, told.candidate.asked) == (status, 1)
    assert (told.outcome.outcome, told.outcome.served_by) == ("error", "candidate")


def test_refusals_about_state_do_not_open_the_breaker(run: Run) -> None:
    open_after: list[bool] = []

    def look(traffic: Traffic) -> None:
        open_after.append(traffic.trial.breaker.open)

    told = run(asked(TAKES, REFUSES, assigned="candidate", times=2 * IN_A_ROW, meanwhile=look))
    assert (told.response.status_code, told.candidate.asked, open_after) == (200, 2 * IN_A_ROW, [False])
