"""Every way in which a provider may answer arrives byte for byte, as it comes, and is recorded rightly.

The provider and the caller are raw sockets in this one thread: the provider's next write happens only when
the caller has what it must have of the previous one, so that anything held back or coalesced fails its test.
What may be held, and what may be missing, is the contract's: see `shapes.Due` and `relayed`.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from tests.e2e.catalogue import CODED, DOCUMENTS, STREAMS
from tests.e2e.catalogue_broken import BROKEN, FRAMES, NO_ANSWERS
from tests.e2e.catalogue_heads import HEADS, STATUSES, status
from tests.e2e.fidelity import BARE, BASELINE, CANDIDATE, INJECTED, NAMED, Stage, Way, asking, raised, ways_of
from tests.e2e.shapes import Due, Shape, sized
from tests.e2e.wires import Caller, Field, Wire, fields

SHAPES = (*DOCUMENTS, *CODED, *STREAMS, *HEADS, *STATUSES, *FRAMES, *BROKEN)
CASES = [
    pytest.param(
        shape,
        way,
        id=f"{shape.name}-{way.name}",
        marks=() if number % len(ways_of(shape)) == turn else pytest.mark.more,
    )
    for number, shape in enumerate(SHAPES)
    for turn, way in enumerate(ways_of(shape))
]
"""`make test` plays each shape by one of its ways, by turns; `make test-more` by all others."""

HOP_BY_HOP = {
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-connection", b"te", b"trailer",
    b"transfer-encoding", b"upgrade",
}  # fmt: skip
DROPPED = HOP_BY_HOP | {b"set-cookie", b"alt-svc", b"strict-transport-security"}
FRAMING = {b"connection", b"content-length", b"transfer-encoding"}
REFUSALS = {400, 401, 403, 404, 422}
COVERED = REFUSALS | {408, 424, 429}
"""What of a candidate the baseline covers, besides 5xx."""
BY_STATUS = {
    401: ("caller_error", "caller_unauthorized"),
    403: ("caller_error", "caller_unauthorized"),
    404: ("caller_error", "caller_not_found"),
    408: ("error", "provider_timeout"),
    413: ("caller_error", "caller_too_large"),
    424: ("error", "provider_5xx"),
    429: ("error", "provider_throttled"),
}
BY_NAME = {shape.name: shape for shape in SHAPES}
OLD_CALLERS = [
    BY_NAME[name]
    for name in (
        "json-length", "json-chunked", "json-close-delimited", "json-gzip", "sse-lf", "sse-lf-byte-by-byte",
        "status-204", "status-200-empty", "head-duplicates", "head-request", "broken-mid-chunk",
        "broken-by-reset",
    )
]  # fmt: skip
COVERING = [
    pytest.param(code, BY_NAME[name], way, id=f"{code}-{name}-{way.name}")
    for code, name in (
        (500, "json-chunked"), (400, "sse-crlf"), (429, "sse-lf"), (401, "sse-comments"),
        (503, "json-length"), (403, "json-gzip"), (404, "head-duplicates"), (529, "sse-tool-calls"),
        (422, "sse-10-mb"),
    )
    for way in (CANDIDATE, INJECTED)
    if not (way.stripped and BY_NAME[name].ask == "chat")
]  # fmt: skip


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with raised(tmp_path_factory.mktemp("fidelity")) as up:
        yield up


def relayed(provided: list[Field]) -> list[Field]:
    """The provider's headers as the contract lets them through, but for the fields that frame the message."""
    listed = {
        token.strip().lower()
        for name, value in provided
        if name.lower() == b"connection"
        for token in value.split(b",")
    }
    gone = DROPPED | FRAMING | listed
    return [
        (name.lower(), value)
        for name, value in provided
        if name.lower() not in gone and not name.lower().startswith(b"x-canary-")
    ]


def check_head(
    caller: Caller, shape: Shape, way: Way, *, once: bool = False, served_by: Field | None = None
) -> None:
    line, _, rest = shape.head.partition(b"\r\n")
    provided = fields(rest.removesuffix(b"\r\n"))
    assert caller.line.startswith(b"HTTP/1.1 " + line.split(b" ")[1] + b" ")
    (exchange,) = caller.values(b"x-canary-exchange")
    ours = [(b"x-canary-exchange", exchange)]
    if way.canary:
        api = caller.values(b"x-canary-name")[0].rpartition(b"-")[2]
        ours += [(b"x-canary-arm", way.arm.encode()), (b"x-canary-name", way.canary.encode() + b"-" + api)]
    ours += [served_by] if served_by else []
    got = [(name.lower(), value) for name, value in caller.headers if name.lower() not in FRAMING]
    assert got == relayed(provided) + ours
    lengths = [value for name, value in provided if name.lower() == b"content-length"]
    assert caller.values(b"content-length") == ([] if way.stripped else lengths)
    assert caller.values(b"connection") == ([b"close"] if once else [])


def play(wire: Wire, caller: Caller, shape: Shape, due: Due) -> None:
    """Write the answer, each piece when the caller has what it must have of those before."""
    written = seen = 0
    for write in shape.writes:
        wire.write(b"".join(data for data, _ in write), caller)
        written += sum(len(data) for data, is_body in write if is_body)
        size = due.size(written)
        if size is not None:
            caller.until(size)
            assert caller.size == size, f"{written} bytes written, {size} due, {caller.size} came"
            assert caller.part(seen) == due.whole[seen:size]
            seen = size
    if shape.end == "closes":
        wire.close()
    elif shape.end == "resets":
        wire.reset()
    caller.until_over()


def declare(stage: Stage, caller: Caller, case: str, way: Way, shape: Shape, **more: Any) -> None:
    """Remember what the store must say of this exchange; it is asked once, in the last test."""
    (exchange,) = caller.values(b"x-canary-exchange")
    wanted = {
        "outcome": shape.outcome,
        "error_type": shape.error_type,
        "usage is known": shape.usage,
        "a first token came": shape.first_token,
        "arm": way.arm,
        "in a canary": bool(way.canary),
        "status": caller.status,
    }
    stage.declared[exchange.decode()] = (case, wanted | more if shape.outcome else {})


def still_serves(caller: Caller) -> None:
    """Nothing follows the response, and the connection is good for the next."""
    assert caller.closed is None
    assert caller.after == b""
    caller.send(b"GET /healthz HTTP/1.1\r\nHost: canary\r\n\r\n")
    caller.until_over()
    assert (caller.status, caller.complete) == (200, True)


@pytest.mark.parametrize(("shape", "way"), CASES)
def test_an_answer_arrives_byte_for_byte_and_as_it_comes(
    stage: Stage, shape: Shape, way: Way, request: pytest.FixtureRequest
) -> None:
    due = Due(shape, held=way.held, stripped=way.stripped)
    with stage.caller() as caller:
        caller.send(asking(shape.ask, way))
        play(stage.provider.request().wire, caller, shape, due)
        check_head(caller, shape, way)
        declare(stage, caller, request.node.name, way, shape)
        assert caller.body == due.whole
        assert caller.complete != shape.broken
        if not shape.broken:
            still_serves(caller)


@pytest.mark.parametrize("shape", OLD_CALLERS, ids=lambda shape: shape.name)
def test_a_caller_of_http_1_0_gets_the_same_bytes_until_the_connection_ends(
    stage: Stage, shape: Shape, request: pytest.FixtureRequest
) -> None:
    with stage.caller() as caller:
        caller.send(asking(shape.ask, NAMED, version="1.0"))
        play(stage.provider.request().wire, caller, shape, Due(shape, held=False, stripped=False))
        check_head(caller, shape, NAMED, once=True)
        declare(stage, caller, request.node.name, NAMED, shape)
        assert caller.values(b"transfer-encoding") == []
        assert caller.body == shape.body
        assert (caller.complete, caller.closed == "reset") == (not shape.broken, shape.broken)


def failed(code: int) -> Shape:
    """An answer with this status, whose bytes are its own."""
    kind, error_type = BY_STATUS.get(code, ("caller_error", "caller_rejected"))
    if code >= 500:
        kind, error_type = "error", "provider_5xx"
    body = b'{"error": {"message": "Nr. %d, caf\\u00e9", "type":"x"} }\n' % code
    fields = (b"Content-Type: application/json", b"x-request-id: req_%d" % code, b"retry-after: 1")
    return sized(f"status-{code}", "chat", status(code, *fields), body, outcome=kind, error_type=error_type)


@pytest.mark.parametrize("way", [BASELINE, CANDIDATE, BARE, NAMED], ids=lambda way: way.name)
def test_every_error_status_arrives_as_the_provider_sent_it(stage: Stage, way: Way) -> None:
    for code in range(400, 600):
        if way.held and (code in COVERED or code >= 500):
            continue  # the baseline is asked instead
        shape = failed(code)
        with stage.caller() as caller:
            caller.send(asking("chat", way))
            play(stage.provider.request().wire, caller, shape, Due(shape, held=way.held, stripped=False))
            check_head(caller, shape, way)
            declare(stage, caller, f"{shape.name} {way.name}", way, shape)
            assert caller.body == shape.body
            still_serves(caller)


@pytest.mark.parametrize(("code", "shape", "way"), COVERING)
def test_the_answer_that_covers_a_candidates_failure_is_the_baselines_to_the_byte(
    stage: Stage, code: int, shape: Shape, way: Way, request: pytest.FixtureRequest
) -> None:
    refusal, refused = failed(code), code in REFUSALS
    with stage.caller() as caller:
        caller.send(asking(shape.ask, way))
        stage.provider.request().wire.write(b"".join(data for write in refusal.writes for data, _ in write))
        due = Due(shape, held=False, stripped=way.stripped)
        play(stage.provider.request().wire, caller, shape, due)
        check_head(caller, shape, way, served_by=(b"x-canary-served-by", b"baseline"))
        error_type = "candidate_rejects" if refused else refusal.error_type
        declare(stage, caller, request.node.name, way, shape, outcome="fallback", error_type=error_type)
        assert caller.body == due.whole
        still_serves(caller)
    keep_the_breaker_closed(stage, request.node.name)


def keep_the_breaker_closed(stage: Stage, name: str) -> None:
    """Two good answers of the candidate to each failure."""
    shape = BY_NAME["json-length"]
    for number in range(2):
        with stage.caller() as caller:
            caller.send(asking(shape.ask, CANDIDATE))
            play(stage.provider.request().wire, caller, shape, Due(shape, held=True, stripped=False))
            declare(stage, caller, f"{name}, good {number}", CANDIDATE, shape)


@pytest.mark.parametrize("way", [BASELINE, NAMED], ids=lambda way: way.name)
@pytest.mark.parametrize("name", NO_ANSWERS)
def test_what_is_no_answer_at_all_is_a_502_and_nothing_of_it_is_relayed(
    stage: Stage, name: str, way: Way, request: pytest.FixtureRequest
) -> None:
    with stage.caller() as caller:
        caller.send(asking("chat", way))
        wire = stage.provider.request().wire
        wire.write(NO_ANSWERS[name], caller)
        caller.until_over()
        assert caller.status == 502
        assert msgspec.json.decode(caller.body)["error"]["code"] == "provider_malformed"
        names = {name.lower() for name, _ in caller.headers} - FRAMING
        assert names == {b"content-type", *(name for name in names if name.startswith(b"x-canary-"))}
        shape = BY_NAME["html-for-a-chat"]  # as it is recorded
        declare(stage, caller, request.node.name, way, shape, status=None)
        still_serves(caller)
        assert wire.is_closed()


def test_the_record_says_of_every_answer_above_what_it_was(stage: Stage) -> None:
    assert len(stage.declared) >= 60, (
        "this test judges what the others of this file leave behind; run them all"
    )
    rows = stage.outcomes()
    wrong = {}
    for exchange, (case, wanted) in stage.declared.items():
        row = rows[exchange]
        said = {
            "outcome": row["outcome"],
            "error_type": row["error_type"],
            "usage is known": row["input_tokens"] is not None,
            "a first token came": row["ttft_s"] is not None,
            "arm": row["arm"],
            "in a canary": row["canary"] != "",
            "status": row["status"],
        }
        if differences := {
            name: (value, said[name]) for name, value in wanted.items() if said[name] != value
        }:
            wrong[case] = differences
    assert wrong == {}
