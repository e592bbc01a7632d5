"""Copies of the baseline's exchanges for the candidate: which, how, what becomes of them, what they take."""

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from proxy.attempts.attempt import Attempt
from proxy.attempts.dispatch import upstream_request
from proxy.attempts.mirror import MirrorLimits, Mirrors
from proxy.attempts.record import ExchangeRecorder
from proxy.calls.call import Call
from proxy.network.upstream.pool import Upstreams
from proxy.network.upstream.response import UpstreamResponse
from proxy.providers.credentials import Credentials
from proxy.providers.json_edit import MOST_WALKED
from proxy.providers.provider import Provider, Timeout
from records.facts.exchange_id import verify
from records.outcome import ErrorType, Outcome, Usage
from routing.assign import Assignment, Reason
from routing.canary import ArmName
from routing.states import State, StateName, States
from tests.proxy.calls import Header, Script, call, routes, trial
from tests.proxy.raw_provider import OK, Play, RawProvider, Request, Wire, playing, pool, turns

Run = Callable[[Coroutine[Any, Any, Any]], Any]

KEY = b"k" * 32
CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": [], "user": "user-7"}


def assigned(arm: ArmName = "baseline", reason: Reason = "cohort") -> Assignment:
    return Assignment(arm=arm, reason=reason, run=2, phase=7, share=0.05)


BASELINE = assigned()
ANSWER = b'{"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":20}}'
TOKEN = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}\n\n'
ENDED = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


def response(status: int = 200, body: bytes = ANSWER, kind: bytes = b"application/json") -> bytes:
    head = b"HTTP/1.1 %d X\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n"
    return head % (status, kind, len(body)) + body


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until it is so; the scene's own time limit ends what never comes."""
    while not condition():
        await turns(1)


@dataclass
class Worker:
    """One worker's mirrors, and what they recorded. `state` is how the canary stands in the plan."""

    upstreams: Upstreams
    candidate: Provider
    timeout: Timeout = field(default_factory=Timeout)
    room: MirrorLimits = field(default_factory=MirrorLimits)
    draw: float = 0.0
    share: float = 1.0
    state: State | None = None
    outcomes: list[Outcome] = field(default_factory=list)

    def __post_init__(self) -> None:
        plain = trial()
        target = replace(plain.candidate, provider=self.candidate, timeout=self.timeout)
        self.trial = replace(plain, candidate=target, mirror=self.share)
        self.state = State(state="running", share=0.05, definition=plain.definition)
        self.recorder = ExchangeRecorder(
            append=self._append, price=lambda api, model, usage: 0.25, ids_key=KEY
        )
        self.mirrors = Mirrors(
            upstreams=self.upstreams,
            recorder=self.recorder,
            states=self.states,
            credentials=Credentials(),
            room=self.room,
            draw=lambda: self.draw,
        )

    def states(self) -> States:
        return States(version=1, states={} if self.state is None else {"support": self.state})

    def offer(self, asked: Call, assignment: Assignment = BASELINE, *, answer: Script | None = None) -> None:
        """Offer an exchange whose real answer has come so far."""
        if asked.trial is not None:
            asked.trial = self.trial
        self.mirrors.offer(asked, assignment, real_attempt(asked, answer or Script(ANSWER)))

    async def settled(self) -> None:
        """Wait until every copy has ended."""
        await until(lambda: self.mirrors.in_flight == 0)

    def _append(self, outcome: Outcome) -> bool:
        self.outcomes.append(outcome)
        return True


def real_attempt(asked: Call, answer: Script) -> Attempt:
    """The baseline's attempt, its head in."""
    target = trial().baseline
    attempt = Attempt(target)
    attempt.request = upstream_request(asked, target, Credentials())
    attempt.opened(cast(UpstreamResponse, answer), asked, covered=False)
    return attempt


def mirrored(
    run: Run,
    play: Play,
    *asked: Call,
    api_key: str | None = None,
    timeout: Timeout | None = None,
) -> Worker:
    """Offer the calls, one after the other's end, with the candidate played so."""

    async def scene() -> Worker:
        async with RawProvider(play) as provider, pool() as upstreams:
            entry = replace(provider.entry(), api_key=api_key)
            worker = Worker(upstreams, entry, timeout=timeout or Timeout())
            for each in asked:
                worker.offer(each)
                await worker.settled()
            return worker

    return cast(Worker, run(scene()))


# What a copy is.


def test_a_copy_is_the_same_request_with_the_candidates_model_and_its_own_credential(run: Run) -> None:
    seen: list[Request] = []

    async def play(wire: Wire) -> None:
        seen.append(await wire.request())
        await wire.send(response())

    headers: list[Header] = [
        (b"authorization", b"Bearer sk-caller"),
        (b"x-canary-unit", b"user-7"),
        (b"x-trace", b"kept"),
        (b"idempotency-key", b"real-1"),
    ]
    mirrored(run, play, call(CHAT, *headers), api_key="sk-candidate")
    (request,) = seen
    assert request.line == b"POST /chat/completions HTTP/1.1"
    assert json.loads(request.body) == {**CHAT, "model": "gpt-4o-2024-11-20"}
    sent = dict(request.headers)
    assert sent[b"authorization"] == b"Bearer sk-candidate"
    assert sent[b"x-trace"] == b"kept"
    assert not {b"x-canary-unit", b"idempotency-key"} & set(sent)


def test_a_copy_is_recorded_once_and_apart(run: Run) -> None:
    asked = call(CHAT, (b"x-canary-category", b"billing"))
    asked.at -= 60.0
    asked.mono -= 60.0
    worker = mirrored(run, playing(response()), asked)
    (outcome,) = worker.outcomes
    assert outcome.mirror
    assert verify([KEY], outcome.exchange_id, now=outcome.at).arm == "candidate"
    assert (outcome.outcome, outcome.error_type, outcome.status) == ("ok", None, 200)
    assert (outcome.arm, outcome.served_by, outcome.reason) == ("candidate", "candidate", "cohort")
    assert (outcome.canary, outcome.run, outcome.phase, outcome.share) == ("support", 2, 7, 0.05)
    assert (outcome.model, outcome.category) == ("gpt-4o-2024-11-20", "billing")
    assert outcome.unit
    assert outcome.usage == Usage(input_tokens=100, output_tokens=20)
    assert outcome.cost_usd == 0.25
    assert outcome.latency_s is not None
    assert outcome.latency_s < 30.0  # its own clock, not the real request's
    assert outcome.at > asked.at + 30.0
    assert not outcome.evidence


def test_copies_are_in_neither_count_of_the_real_exchanges(run: Run) -> None:
    worker = mirrored(run, playing(response(), response()), call(CHAT), call(CHAT))
    assert len({outcome.exchange_id for outcome in worker.outcomes}) == 2
    assert (worker.recorder.started, worker.recorder.finished) == (0, 0)


def test_a_streamed_copy_is_read_to_its_end(run: Run) -> None:
    answer = response(body=TOKEN + ENDED, kind=b"text/event-stream")
    worker = mirrored(run, playing(answer), call({**CHAT, "stream": True}))
    (outcome,) = worker.outcomes
    assert (outcome.outcome, outcome.stream) == ("ok", True)
    assert outcome.ttft_s is not None


# Which exchanges are copied.


@pytest.mark.parametrize(
    ("share", "draw", "copied"),
    [(0.1, 0.0999, True), (0.1, 0.1, False), (1.0, 0.9999, True), (0.0, 0.0, False)],
)
def test_the_draw_decides(run: Run, share: float, draw: float, copied: bool) -> None:
    async def scene() -> None:
        async with RawProvider(playing(response())) as provider, pool() as upstreams:
            worker = Worker(upstreams, provider.entry(), share=share, draw=draw)
            worker.offer(asked)
            await worker.settled()
            assert len(worker.outcomes) == copied

    asked = call(CHAT)
    run(scene())


def offered_nowhere(
    run: Run,
    asked: Call,
    assignment: Assignment = BASELINE,
    *,
    answer: Script | None = None,
    state: State | StateName | None = "running",
    broken: bool = False,
) -> None:
    """Offer one exchange, and see that no copy reaches the candidate, is recorded or counted as dropped."""

    async def scene() -> None:
        async with RawProvider(playing(response())) as provider, pool() as upstreams:
            worker = Worker(upstreams, provider.entry())
            if worker.state is not None:
                known = replace(worker.state, state=state) if isinstance(state, str) else state
                worker.state = known
            for _ in range(5 if broken else 0):
                worker.trial.breaker.failed(time.monotonic())
            worker.offer(asked, assignment, answer=answer)
            await worker.settled()
            assert provider.wires == []
            assert worker.outcomes == []
            assert worker.mirrors.dropped == {}

    run(scene())


@pytest.mark.parametrize("reason", ["random", "stateful", "pinned", "no_plan", "stopped", "foreign_state"])
def test_what_the_baseline_serves_for_another_reason_is_not_copied(run: Run, reason: Reason) -> None:
    offered_nowhere(run, call(CHAT), assigned(reason=reason))


def test_what_the_candidate_serves_is_not_copied(run: Run) -> None:
    offered_nowhere(run, call(CHAT), assigned("candidate"))


def test_what_has_no_unit_is_copied(run: Run) -> None:
    async def scene() -> None:
        async with RawProvider(playing(response())) as provider, pool() as upstreams:
            worker = Worker(upstreams, provider.entry())
            worker.offer(asked, assigned(reason="no_unit"))
            await worker.settled()
            assert [outcome.reason for outcome in worker.outcomes] == ["no_unit"]

    asked = call(CHAT)
    run(scene())


@pytest.mark.parametrize("state", ["waiting", "rolled_back", "promoted", "ended"])
def test_a_canary_that_is_not_running_is_not_mirrored(run: Run, state: StateName) -> None:
    offered_nowhere(run, call(CHAT), state=state)


def test_a_paused_canary_is_mirrored(run: Run) -> None:
    async def scene() -> None:
        async with RawProvider(playing(response())) as provider, pool() as upstreams:
            worker = Worker(upstreams, provider.entry())
            assert worker.state is not None
            worker.state = replace(worker.state, state="paused")
            worker.offer(asked)
            await worker.settled()
            assert len(worker.outcomes) == 1

    asked = call(CHAT)
    run(scene())


@pytest.mark.parametrize(
    "state",
    [
        pytest.param(None, id="no plan"),
        pytest.param(State(state="running", share=0.0, definition=trial().definition), id="stale plan"),
        pytest.param(State(state="running", share=0.05, definition="another"), id="another definition"),
    ],
)
def test_without_a_fresh_plan_of_this_canary_nothing_is_copied(run: Run, state: State | None) -> None:
    offered_nowhere(run, call(CHAT), state=state)


def test_a_candidate_that_its_breaker_keeps_requests_from_gets_no_copies(run: Run) -> None:
    offered_nowhere(run, call(CHAT), broken=True)


@pytest.mark.parametrize("status", [400, 401, 404, 413, 429, 500, 503])
def test_what_the_baseline_refuses_or_fails_is_not_copied(run: Run, status: int) -> None:
    offered_nowhere(run, call(CHAT), answer=Script(b"{}", status=status))


def test_where_the_baseline_gave_no_answer_nothing_is_copied(run: Run) -> None:
    offered_nowhere(run, call(CHAT), answer=Script(b"", status=600))


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/v1/responses", {"input": "hello"}),
        ("/v1/responses", {"input": "hello", "store": False, "previous_response_id": "resp_1"}),
        ("/v1/responses", {"input": "hello", "store": False, "conversation": "conv_1"}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": [{"file": {"file_id": "f"}}]}]}),
        (
            "/v1/responses",
            {"store": False, "tools": [{"type": "mcp", "server_url": "https://tools.example"}]},
        ),
        ("/v1/chat/completions", {"mcp_servers": [{"url": "https://tools.example"}]}),
    ],
)
def test_what_may_not_be_asked_twice_is_not_copied(run: Run, path: str, more: dict[str, Any]) -> None:
    offered_nowhere(run, call({**CHAT, **more}, path=path))


ONE_ENTRY: list[tuple[str, dict[str, Any], bool]] = [
    ("/v1/responses", {"input": "hello"}, True),
    ("/v1/responses", {"input": "hello", "store": True, "previous_response_id": "resp_1"}, True),
    ("/v1/responses", {"input": "hello", "store": False, "previous_response_id": "resp_1"}, True),
    ("/v1/responses", {"input": [{"type": "item_reference", "id": "msg_1"}], "conversation": None}, True),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": [{"file": {"file_id": "f"}}]}]}, True),
    ("/v1/responses", {"input": "hello", "store": False, "conversation": "conv_1"}, False),
    ("/v1/responses", {"input": "hello", "background": True}, False),
    ("/v1/responses", {"tools": [{"type": "code_interpreter", "container": "cntr_1"}]}, False),
    ("/v1/responses", {"tools": [{"type": "mcp", "server_url": "https://tools.example"}]}, False),
]


@pytest.mark.parametrize(("path", "more", "copied"), ONE_ENTRY)
def test_at_one_entry_what_only_reads_and_stores_is_copied_and_stores_nothing(
    run: Run, path: str, more: dict[str, Any], copied: bool
) -> None:
    sent = []

    async def play(wire: Wire) -> None:
        sent.append(json.loads((await wire.request()).body))
        await wire.send(response())

    async def scene() -> None:
        async with RawProvider(play) as provider, pool() as upstreams:
            worker = Worker(upstreams, replace(provider.entry(), name=trial().baseline.provider.name))
            worker.offer(asked)
            await worker.settled()
            unstored = {"store": False} if path == "/v1/responses" else {}
            model = {"model": "gpt-4o-2024-11-20"}
            assert sent == ([{**CHAT, **more, **unstored, **model}] if copied else [])
            assert len(worker.outcomes) == len(sent)

    asked = call({**CHAT, **more}, path=path)
    run(scene())


SEALED = {"messages": [{"role": "assistant", "content": [{"type": "thinking", "signature": "EqQB"}]}]}


def test_state_sealed_for_the_baselines_account_is_not_copied_to_another(run: Run) -> None:
    offered_nowhere(run, call({**CHAT, **SEALED}))


def test_state_that_both_arms_read_is_copied(run: Run) -> None:
    async def scene() -> None:
        async with RawProvider(playing(response())) as provider, pool() as upstreams:
            worker = Worker(upstreams, replace(provider.entry(), name=trial().baseline.provider.name))
            worker.offer(asked)
            await worker.settled()
            assert len(worker.outcomes) == 1

    asked = call({**CHAT, **SEALED})
    run(scene())


def test_what_no_canary_takes_is_not_copied(run: Run) -> None:
    offered_nowhere(run, call({**CHAT, "model": "another"}))


# What becomes of it.


BROKEN = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"
STREAM_ERROR = b'data: {"error": {"message": "overloaded"}}\n\n'


@pytest.mark.parametrize(
    ("play", "outcome", "error_type"),
    [
        (playing(response(500, b"{}")), "error", "provider_5xx"),
        (playing(response(429, b"{}")), "error", "provider_429"),
        (playing(response(400, b"{}")), "error", "candidate_rejects"),
        (playing(response(413, b"{}")), "caller_error", "caller_too_large"),
        (playing(response(body=b"<html>")), "error", "provider_malformed"),
        (playing(response(600)), "error", "provider_malformed"),
        (playing(BROKEN, then_close=True), "error", "provider_truncated"),
        (playing(b"", then_close=True), "error", "provider_reset"),
        (playing(BROKEN), "error", "provider_timeout"),
    ],
)
def test_a_copy_that_fails_says_how(run: Run, play: Play, outcome: str, error_type: ErrorType) -> None:
    worker = mirrored(run, play, call(CHAT), timeout=Timeout(total_s=0.1))
    assert [(each.outcome, each.error_type) for each in worker.outcomes] == [(outcome, error_type)]


def test_an_error_inside_a_copys_stream_is_an_error(run: Run) -> None:
    answer = response(body=STREAM_ERROR, kind=b"text/event-stream")
    worker = mirrored(run, playing(answer), call({**CHAT, "stream": True}))
    assert [each.error_type for each in worker.outcomes] == ["provider_stream_error"]


def test_copies_do_not_feed_the_breaker(run: Run) -> None:
    answers = [response(500, b"{}")] * 8
    worker = mirrored(run, playing(*answers), *(call(CHAT) for _ in answers))
    assert len(worker.outcomes) == 8
    assert not worker.trial.breaker.open


def test_a_candidate_that_is_down_costs_an_outcome_and_nothing_else(run: Run) -> None:
    async def scene() -> None:
        async with RawProvider(playing()) as provider:
            entry = provider.entry()
        async with pool() as upstreams:
            worker = Worker(upstreams, entry)
            worker.offer(asked)
            await worker.settled()
            (outcome,) = worker.outcomes
            assert (outcome.outcome, outcome.error_type) == ("error", "provider_connect")
            assert (outcome.cost_usd, outcome.usage) == (None, Usage())

    asked = call(CHAT)
    run(scene())


def test_a_defect_of_ours_is_recorded_and_stays_in_the_copy(run: Run) -> None:
    worker = mirrored(run, playing(response()), call(CHAT, (b"x-odd", b"a\r\nb")))
    assert [(each.outcome, each.error_type) for each in worker.outcomes] == [("error", "proxy_error")]


def test_a_body_that_cannot_be_changed_is_refused_in_the_copy_alone(run: Run) -> None:
    model = "gpt-4o-2024-08-06"  # the baseline's
    body = f'{{"model":"{model}","model":"{model}","messages":["{"x" * MOST_WALKED}"]}}'.encode()
    worker = mirrored(run, playing(response()), call(body, table=routes(trial(models=[model]))))
    assert [(each.outcome, each.error_type) for each in worker.outcomes] == [
        ("caller_error", "caller_rejected")
    ]


# What it may take.


async def hang(wire: Wire) -> None:
    await wire.request()
    await wire.closed()


def test_a_hanging_candidate_holds_so_many_copies_and_what_finds_no_room_is_counted(run: Run) -> None:
    async def scene() -> None:
        async with RawProvider(hang) as provider, pool() as upstreams:
            worker = Worker(upstreams, provider.entry(), room=MirrorLimits(copies=3))
            for each in asked:
                worker.offer(each)
            await until(lambda: len(provider.wires) == 3)
            await turns()
            assert worker.mirrors.in_flight == len(provider.wires) == 3
            assert worker.mirrors.dropped == {"support": 2}
            assert worker.outcomes == []
            provider.wires[0].writer.close()  # one ends: there is room for another
            await until(lambda: worker.mirrors.in_flight == 2)
            worker.offer(asked[0])
            assert worker.mirrors.in_flight == 3
            assert worker.mirrors.dropped == {"support": 2}

    asked = [call(CHAT) for _ in range(5)]
    run(scene())


def test_the_copies_request_bodies_are_bounded_together(run: Run) -> None:
    async def scene() -> None:
        async with RawProvider(hang) as provider, pool() as upstreams:
            worker = Worker(upstreams, provider.entry(), room=MirrorLimits(body_bytes=25_000))
            for each in asked:
                worker.offer(each)
            assert worker.mirrors.in_flight == 2
            assert worker.mirrors.dropped == {"support": 1}

    asked = [call({**CHAT, "messages": "x" * 10_000}) for _ in range(3)]
    run(scene())


def test_a_busy_worker_copies_nothing(run: Run) -> None:
    async def scene() -> None:
        async with RawProvider(playing(response(), response())) as provider, pool() as upstreams:
            worker = Worker(upstreams, provider.entry(), room=MirrorLimits(exchanges=2))
            real = [worker.recorder.open() for _ in range(3)]
            worker.offer(asked)
            assert worker.mirrors.dropped == {"support": 1}
            real[0].refuse("caller_rejected")
            worker.offer(asked)
            await worker.settled()
            assert worker.mirrors.dropped == {"support": 1}
            assert [outcome.mirror for outcome in worker.outcomes] == [False, True]

    asked = call(CHAT)
    run(scene())


def test_a_copy_begins_in_a_later_turn_than_its_offer(run: Run) -> None:
    async def scene() -> None:
        async with RawProvider(playing(OK)) as provider, pool() as upstreams:
            worker = Worker(upstreams, provider.entry())
            worker.offer(asked)
            assert upstreams.free_slots(worker.trial.candidate.key) == 2048
            await asyncio.sleep(0)
            assert upstreams.free_slots(worker.trial.candidate.key) == 2047
            await worker.settled()

    asked = call(CHAT)
    run(scene())


def test_the_end_aborts_the_copies_and_records_those_that_had_begun(run: Run) -> None:
    async def scene() -> None:
        async with RawProvider(hang) as provider, pool() as upstreams:
            worker = Worker(upstreams, provider.entry())
            worker.offer(asked[0])
            worker.offer(asked[1])
            await until(lambda: len(provider.wires) == 2)
            worker.offer(asked[2])  # its task has had no turn yet
            await worker.mirrors.close()
            assert [(each.outcome, each.mirror) for each in worker.outcomes] == [("aborted", True)] * 2
            assert worker.mirrors.in_flight == 0
            for wire in provider.wires:
                await wire.ended.wait()

    asked = [call(CHAT) for _ in range(3)]
    run(scene())


def test_a_copy_is_sent_again_without_stream_options_where_they_are_refused(run: Run) -> None:
    asked_usage: list[bool] = []
    refusal = b'{"detail":[{"loc":["body","stream_options"],"msg":"Extra inputs are not permitted"}]}'

    async def play(wire: Wire) -> None:
        while True:
            asked_usage.append(b"stream_options" in (await wire.request()).body)
            good = response(200, TOKEN + ENDED, b"text/event-stream")
            await wire.send(response(422, refusal) if asked_usage[-1] else good)

    worker = mirrored(run, play, *(call({**CHAT, "stream": True}) for _ in range(2)))
    assert asked_usage == [True, False, False]
    assert [(outcome.outcome, outcome.error_type) for outcome in worker.outcomes] == [("ok", None)] * 2
