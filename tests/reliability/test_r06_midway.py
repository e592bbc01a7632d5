"""R6: an answer that its provider cuts or stalls never ends cleanly, and never holds two models' bytes.

Every case is a way to break (FIN, RST, stall) at a place (between events, inside one, inside the chunk's
framing, before the final chunk) under a framing (chunks, a length, the connection's end).
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest

from routing.canary import ArmName
from tests.e2e.stage import Stage, chat
from tests.reliability.answers import JSON, SSE, answer, chunk, document, events, head, streams
from tests.reliability.callers import Answer, ask
from tests.reliability.fault_provider import Seen
from tests.reliability.rig import rigged
from tests.serving import eventually

CONFIG = """
providers:
  openai: {api: openai, base_url: "<only>/v1", timeout: {idle: 500ms, total: 20s}}
canaries:
"""
CANARY = """
  - name: NAME
    match: {models: [NAME]}
    baseline: {provider: openai, model: NAME-baseline}
    candidate: {provider: openai, model: NAME-candidate}
    share: 50%
    guardrails: []
"""
ARMS: tuple[ArmName, ...] = ("baseline", "candidate")
HTTP_10_END = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\nconnection: close\r\n\r\n"
SPARE = "spare the baseline"
ERRORS = {"fin": "provider_truncated", "rst": "provider_reset", "stall": "provider_timeout"}


@dataclass(frozen=True)
class Break:
    """How an answer breaks. `place` is where its bytes stop."""

    how: str
    place: str
    framing: str

    @property
    def name(self) -> str:
        """As the model is called that breaks so."""
        return f"{self.how}-{self.place}-{self.framing}"


PLACES = {"chunks": ("between", "inside", "size", "crlf", "last"), "length": ("between", "inside", "last")}
STREAMS = [
    Break(how, place, framing) for framing in PLACES for how, place in product(ERRORS, PLACES[framing])
]
STREAMS += [
    Break(how, place, "end") for how, place in product(("rst", "stall"), ("between", "inside", "last"))
]
UNTOLD = [Break("fin", place, "end") for place in ("between", "inside")]
DOCUMENTS = [
    Break(how, "inside", f"document-{framing}") for how in ERRORS for framing in ("chunks", "length")
]


def begun(case: Break, model: str) -> bytes:
    """What goes out before the break."""
    if case.framing.startswith("document"):
        body, kind, stops = [document(model)], JSON, 0
    else:
        body, kind, stops = events(model), SSE, 4
    if case.place == "last":
        kept, piece = body, b""
    else:
        kept, piece = body[:stops], body[stops]
    half = piece[: len(piece) // 2] if case.place == "inside" else b""
    if case.framing == "end":
        return HTTP_10_END % b"text/event-stream" + b"".join(kept) + half
    if case.framing.endswith("length"):
        length = sum(map(len, body)) + (case.place == "last")
        return head(200, kind, length=length) + b"".join(kept) + half
    tail = {"size": b"%x" % len(piece), "crlf": chunk(piece)[:-1], "inside": b"%x\r\n" % len(piece) + half}
    return head(200, kind) + b"".join(map(chunk, kept)) + tail.get(case.place, b"")


async def play(seen: Seen) -> None:
    """Break as the model's name says."""
    name, _, _ = seen.model.rpartition("-")
    case = next((each for each in [*STREAMS, *UNTOLD, *DOCUMENTS] if each.name == name), None)
    if case is None:
        await answer(seen)
        return
    if case in DOCUMENTS and seen.model.endswith("-baseline") and SPARE.encode() in seen.message.body:
        await answer(seen)
        return
    assert streams(seen) == (case not in DOCUMENTS)
    seen.write(begun(case, seen.model))
    if case.how == "rst":
        await seen.flushed()
        seen.reset()
    elif case.how == "fin":
        seen.finish()
    else:
        await seen.left.wait()


@dataclass(frozen=True)
class Ended:
    """One case as its caller, its provider and its record saw it."""

    told: Answer
    seen: list[Seen]
    row: dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """A request that meets one case. `text` tells the provider apart which."""

    case: Break
    arm: ArmName
    text: str = "hello"
    version: str = "1.1"


PLAIN = [Asked(case, arm) for case in [*STREAMS, *UNTOLD, *DOCUMENTS] for arm in ARMS]
OLD = [Asked(case, "baseline", "old", "1.0") for case in STREAMS]
SPARED = [Asked(case, "candidate", SPARE) for case in DOCUMENTS]
AT_ONCE = 40


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[Asked, Ended]:
    """Every case, gone through many at once: half of them wait for a deadline."""
    names = [case.name for case in [*STREAMS, *UNTOLD, *DOCUMENTS]]
    config = CONFIG + "".join(CANARY.replace("NAME", name) for name in names)
    asked = [*PLAIN, *OLD, *SPARED]
    with rigged(tmp_path_factory.mktemp("r06"), config, {"only": play}) as stage:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            answers = list(pool.map(lambda each: tell(stage, each), asked))
        rows = eventually(lambda: found if len(found := stage.outcomes()) == len(asked) else None)
        eventually(lambda: all(seen.over for seen in stage.provider.log))
        by_id = {row["exchange_id"]: row for row in rows}
        log = list(stage.provider.log)
    return {
        each: Ended(
            told,
            [seen for seen in log if marked(each) in seen.message.body],
            by_id[told.first("x-canary-exchange")],
        )
        for each, told in zip(asked, answers, strict=True)
    }


def marked(asked: Asked) -> bytes:
    """What stands in the body of this request and no other."""
    return f"{asked.text} of {asked.case.name} by {asked.arm}.".encode()


def tell(stage: Stage, asked: Asked) -> Answer:
    user = next(stage.users(asked.arm, asked.case.name, 0.5))
    stream = asked.case not in DOCUMENTS
    body = chat(asked.case.name, user, stream=stream, text=marked(asked).decode())
    return ask(stage.server.traffic, body, version=asked.version)


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("case", STREAMS, ids=lambda case: case.name)
def test_a_broken_stream_ends_broken_and_is_one_models(
    ended: dict[Asked, Ended], case: Break, arm: ArmName
) -> None:
    end, whole = ended[Asked(case, arm)], events(f"{case.name}-{arm}")
    assert (end.told.status, end.told.ending) == (200, "cut")
    assert b"".join(whole).startswith(end.told.body)
    assert end.told.body.count(b"\n\n") == {"last": len(whole), "crlf": 5}.get(case.place, 4)
    assert [seen.model for seen in end.seen] == [f"{case.name}-{arm}"]
    assert (end.row["outcome"], end.row["error_type"]) == ("error", ERRORS[case.how])
    assert (end.row["arm"], end.row["served_by"]) == (arm, arm)


@pytest.mark.parametrize("case", STREAMS, ids=lambda case: case.name)
def test_a_broken_stream_is_a_reset_to_a_caller_of_http_1_0(ended: dict[Asked, Ended], case: Break) -> None:
    told = ended[Asked(case, "baseline", "old", "1.0")].told
    assert told.ending == "reset"


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("case", UNTOLD, ids=lambda case: case.name)
def test_a_stream_whose_closing_event_alone_is_missing_is_recorded_as_truncated(
    ended: dict[Asked, Ended], case: Break, arm: ArmName
) -> None:
    end = ended[Asked(case, arm)]
    assert b"".join(events(f"{case.name}-{arm}")).startswith(end.told.body)
    assert (end.row["outcome"], end.row["error_type"]) == ("error", "provider_truncated")


@pytest.mark.parametrize("case", UNTOLD, ids=lambda case: case.name)
def test_a_stream_whose_closing_event_alone_is_missing_ends_broken(
    ended: dict[Asked, Ended], case: Break
) -> None:
    assert {ended[Asked(case, arm)].told.ending for arm in ARMS} == {"cut"}


@pytest.mark.parametrize("case", DOCUMENTS, ids=lambda case: case.name)
def test_a_broken_document_is_the_baselines_whole_or_ends_broken(
    ended: dict[Asked, Ended], case: Break
) -> None:
    baseline = document(f"{case.name}-baseline")
    broken = ended[Asked(case, "baseline")].told
    assert (broken.status, broken.ending) == (200, "cut")
    assert baseline.startswith(broken.body)
    covered = ended[Asked(case, "candidate", SPARE)].told
    assert (covered.status, covered.ending, covered.body) == (200, "clean", baseline)
    both = ended[Asked(case, "candidate")].told
    assert both.ending == "cut"
    assert baseline.startswith(both.body)


def test_the_numbers(ended: dict[Asked, Ended]) -> None:
    broken = [end for asked, end in ended.items() if asked.text != SPARE and asked.case not in UNTOLD]
    clean = sum(end.told.ending == "clean" for end in broken)
    mixed = sum(b"-baseline" in end.told.body and b"-candidate" in end.told.body for end in ended.values())
    stalls = [
        seen.left_at - seen.at
        for asked, end in ended.items()
        for seen in end.seen
        if asked.case.how == "stall" and seen.left_at is not None
    ]
    assert (clean, mixed) == (0, 0)
    assert len(stalls) >= sum(asked.case.how == "stall" for asked in ended)
    print(
        f"\nR6: {len(broken)} broken answers, {clean} ended cleanly, "
        f"{mixed} of {len(ended)} held two models' bytes; "
        f"{len(stalls)} stalls closed after {min(stalls):.2f} to {max(stalls):.2f} s (idle 0.5 s)"
    )
