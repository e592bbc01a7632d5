"""A session between two streams: every byte goes across, and its end is told once and in time."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Close, Frame, Opcode

from proxy.attempts.realtime_session import GREETING_BOUND, RealtimeSession, SessionTexts
from proxy.network.upstream.response import UpstreamError
from proxy.network.websocket import PIECE_BOUND, MessageCutter
from proxy.providers.arm_texts import ArmTexts
from records.outcome import ErrorType, Usage
from tests.proxy.raw_provider import turns

Run = Callable[[Coroutine[Any, Any, Any]], Any]


class Side:
    """One end in memory: what it will say, what it was told, and how it was left."""

    def __init__(self) -> None:
        self.told = b""
        self.left = ""
        self.stuck = False
        self._said: asyncio.Queue[bytes | UpstreamError] = asyncio.Queue()
        self._free = asyncio.Event()

    def say(self, *pieces: bytes | UpstreamError) -> None:
        for piece in pieces:
            self._said.put_nowait(piece)

    async def read(self) -> bytes:
        said = await self._said.get()
        if isinstance(said, UpstreamError):
            raise said
        return said

    def write(self, data: bytes) -> None:
        self.told += data

    async def drain(self) -> None:
        if self.stuck:
            await self._free.wait()

    def go_on(self) -> None:
        self.stuck = False
        self._free.set()

    def close(self) -> None:
        self.left = self.left or "closed"

    def abort(self) -> None:
        self.left = self.left or "aborted"


class Both:
    """A running session and its two ends. `told`: what was told of its end, and what each side had then."""

    def __init__(self, *, idle_s: float = 30.0, handshake: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        self.caller, self.provider = Side(), Side()
        self.session = RealtimeSession(self.provider, handshake, idle_s=idle_s)
        self.told: list[tuple[ErrorType | None, bytes, bytes]] = []

    async def run(self) -> None:
        await self.session.run(self.caller, self._tell)

    def _tell(self, failure: ErrorType | None) -> None:
        self.told.append((failure, self.caller.told, self.provider.told))


def said(kind: str, *, mask: bool = False, **members: Any) -> bytes:
    return Frame(Opcode.TEXT, json.dumps({"type": kind, **members}).encode()).serialize(mask=mask)


def bye(code: int, *, mask: bool = False) -> bytes:
    return Frame(Opcode.CLOSE, Close(code, "").serialize()).serialize(mask=mask)


DONE = said(
    "response.done", response={"status": "completed", "usage": {"input_tokens": 5, "output_tokens": 3}}
)
CREATED = said("session.created")
FIN = b""


def test_bytes_go_across_as_they_are_and_usage_is_read_from_a_copy(run: Run) -> None:
    async def scene() -> None:
        both = Both()
        asked = said("response.create", mask=True)
        both.caller.say(asked[:3], asked[3:], b"\x89\x80abcd")
        both.provider.say(CREATED + DONE[:10], DONE[10:], b"\x8a\x00", bye(1000), FIN)
        await both.run()
        assert both.provider.told == asked + b"\x89\x80abcd"
        assert both.caller.told == CREATED + DONE + b"\x8a\x00" + bye(1000)
        assert both.session.usage == Usage(input_tokens=5, output_tokens=3)
        assert (both.caller.left, both.provider.left) == ("closed", "closed")

    run(scene())


def test_the_end_is_told_before_the_caller_is_told_of_it(run: Run) -> None:
    async def scene() -> None:
        both = Both()
        both.provider.say(DONE, bye(1000), FIN)
        await both.run()
        assert both.told == [(None, DONE, b"")]

    run(scene())


def test_a_closing_handshake_that_the_caller_began_is_the_caller_s_will(run: Run) -> None:
    async def scene() -> None:
        both = Both()
        both.caller.say(bye(1000, mask=True))
        running = asyncio.ensure_future(both.run())
        await turns(20)
        assert both.provider.told
        both.provider.say(bye(1000), FIN)
        await running
        assert [failure for failure, _, _ in both.told] == [None]
        assert both.caller.told == bye(1000)

    run(scene())


@pytest.mark.parametrize(
    ("provider", "caller", "failure"),
    [
        ([DONE, FIN], [], "provider_truncated"),
        ([DONE, UpstreamError("provider_reset", "cut")], [], "provider_truncated"),
        ([DONE, UpstreamError("provider_timeout", "stuck")], [], "provider_timeout"),
        ([b"HTTP/1.1 no", FIN], [], "provider_malformed"),
        ([CREATED, bye(1011), FIN], [], "provider_stream_error"),
        ([], [FIN], "aborted"),
        ([said("response.created", response={})], [bye(1000, mask=True), FIN], "aborted"),
    ],
)
def test_each_end_is_told_once_and_both_sides_are_let_go(
    run: Run, provider: list[Any], caller: list[bytes], failure: ErrorType
) -> None:
    async def scene() -> None:
        both = Both()
        both.provider.say(*provider)
        both.caller.say(*caller)
        await both.run()
        assert [failure for failure, _, _ in both.told] == [failure]
        assert (both.caller.left, both.provider.left) == ("closed", "closed")
        assert both.caller.told == b"".join(piece for piece in provider if isinstance(piece, bytes))

    run(scene())


def test_a_caller_that_leaves_after_an_answer_was_served(run: Run) -> None:
    async def scene() -> None:
        both = Both()
        both.provider.say(DONE)
        running = asyncio.ensure_future(both.run())
        await turns(20)
        assert both.caller.told
        both.caller.say(FIN)
        await running
        assert [failure for failure, _, _ in both.told] == [None]

    run(scene())


@pytest.mark.parametrize(("under_way", "failure"), [(True, "provider_timeout"), (False, None)])
def test_silence_on_both_sides_ends_it(run: Run, under_way: bool, failure: ErrorType | None) -> None:
    async def scene() -> None:
        both = Both(idle_s=0.1)
        both.provider.say(DONE, *([said("response.created", response={})] if under_way else []))
        await both.run()
        assert [failure for failure, _, _ in both.told] == [failure]
        assert (both.caller.left, both.provider.left) == ("closed", "closed")

    run(scene())


@pytest.mark.parametrize("who", ["caller", "provider"])
def test_either_side_keeps_it_alive(run: Run, who: str) -> None:
    async def scene() -> None:
        both = Both(idle_s=0.3)
        running = asyncio.ensure_future(both.run())
        side = both.caller if who == "caller" else both.provider
        started = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() - started < 0.6:
            side.say(b"\x8a\x80abcd" if who == "caller" else b"\x8a\x00")
            await asyncio.sleep(0.02)
        assert not running.done()
        await running

    run(scene())


def test_neither_side_is_read_faster_than_the_other_takes(run: Run) -> None:
    async def scene() -> None:
        both = Both()
        both.provider.stuck = both.caller.stuck = True
        both.caller.say(*[b"\x82\x81abcdx"] * 5)
        both.provider.say(*[b"\x82\x01x"] * 5)
        running = asyncio.ensure_future(both.run())
        await turns(20)
        assert (both.provider.told, both.caller.told) == (b"\x82\x81abcdx", b"\x82\x01x")
        both.provider.go_on()
        both.caller.go_on()
        both.provider.say(FIN)
        await running
        assert both.caller.told == b"\x82\x01x" * 5

    run(scene())


def test_one_that_we_stop_was_served_if_an_answer_was(run: Run) -> None:
    async def scene() -> None:
        for answers, failure in (([DONE], None), ([CREATED], "aborted")):
            both = Both()
            both.provider.say(*answers)
            running = asyncio.ensure_future(both.run())
            await turns(20)
            assert both.caller.told
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert [failure for failure, _, _ in both.told] == [failure]
            assert (both.caller.left, both.provider.left) == ("aborted", "aborted")

    run(scene())


def test_usage_that_may_lack_some_is_estimated(run: Run) -> None:
    async def scene() -> None:
        for more in (said("response.created", response={}), b"\xc1\x02hi", b"\x83\x00"):
            both = Both()
            both.provider.say(DONE + more, FIN)
            await both.run()
            assert both.session.usage == Usage(input_tokens=5, output_tokens=3, estimated=True)

    run(scene())


def test_compressed_events_are_read_and_pass_compressed(run: Run) -> None:
    async def scene() -> None:
        both = Both(handshake=((b"sec-websocket-extensions", b"permessage-deflate"),))
        text = json.dumps({"type": "response.done", "response": {"usage": {"input_tokens": 5}}}).encode()
        zipped = PerMessageDeflate(False, False, 15, 15)
        sent = [Frame(Opcode.TEXT, text).serialize(mask=False, extensions=[zipped]) for _ in range(3)]
        both.provider.say(*sent, bye(1000), FIN)
        await both.run()
        assert both.caller.told == b"".join(sent) + bye(1000)
        assert both.session.usage == Usage(input_tokens=15)

    run(scene())


REFUSED = said("error", error={"type": "invalid_request_error", "code": "model_not_found"})


@pytest.mark.parametrize(
    ("greeting", "failure"),
    [
        ([CREATED], None),
        ([CREATED[:9], CREATED[9:]], None),
        ([b"\x89\x00", CREATED], None),
        ([b"\x82\x01x"], None),
        ([REFUSED], "caller_not_found"),
        ([REFUSED, bye(4004), FIN], "caller_not_found"),
        ([bye(1011)], "provider_stream_error"),
        ([bye(1000)], "provider_truncated"),
        ([FIN], "provider_truncated"),
        ([UpstreamError("provider_reset", "cut")], "provider_reset"),
        ([b"\x83\x00"], "provider_malformed"),
        ([b"\x81\x7e\xff\xff" + b"x" * 65_000, b"x" * 535], None),
    ],
)
def test_a_greeting_tells_whether_there_is_a_session(
    run: Run, greeting: list[bytes], failure: ErrorType | None
) -> None:
    async def scene() -> None:
        both = Both()
        both.provider.say(*greeting)
        assert await both.session.greeted() == failure
        assert both.caller.told == b""
        if failure is None:
            both.provider.say(bye(1000), FIN)
            await both.run()
            assert both.caller.told == b"".join(greeting) + bye(1000)
            assert both.told[0][0] is None

    run(scene())


def test_a_greeting_is_held_within_bounds(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        both = Both()
        both.provider.say(b"\x81\x7f" + (1 << 30).to_bytes(8, "big"), *[b"x" * 10_000] * 10)
        assert await both.session.greeted() is None
        both.provider.say(FIN)
        await both.run()
        assert len(both.caller.told) == 10 + 100_000
        assert GREETING_BOUND == 65_536
        monkeypatch.setattr("proxy.attempts.realtime_session.GREETING_S", 0.05)
        silent = Both()
        silent.provider.say(b"\x81\x05he")
        assert await silent.session.greeted() is None
        silent.provider.say(b"llo", bye(1000), FIN)
        await silent.run()
        assert silent.caller.told == b"\x81\x05hello" + bye(1000)

    run(scene())


def sent(data: bytes) -> list[bytes]:
    """The messages in a caller's bytes."""
    return [piece.data for piece in MessageCutter().feed(data)]


def test_an_arm_s_prompt_stands_in_settings_however_they_are_cut() -> None:
    update = (
        b'{"type":"session\\u002eupdate","x":{"session":"FIND"},"session":{"instructions":"a F\\u0049ND"}}'
    )
    once = b'{"type":"response.create","response":{"instructions":"FIND","input":"FIND"}}'
    said = b"""{"type":"conversation.item.create","item":{"role":"system","content":[{"text":"FIND"}]}}"""
    others = [said.replace(b"system", b"user"), said.replace(b'item"', b'session"'), b"FIND", b"{}"]
    parts = [Frame(Opcode.TEXT, update[:9], fin=False), Frame(Opcode.CONT, update[9:])]
    parts += [Frame(Opcode.TEXT, each) for each in (once, said, *others)] + [Frame(Opcode.BINARY, once)]
    data = b"".join(each.serialize(mask=True) for each in parts)
    texts = SessionTexts(ArmTexts("FIND", "PUT"), [ArmTexts("FIND", "PUT"), ArmTexts("no", "")])
    written = b"".join(texts.written(data[at : at + 7]) for at in range(0, len(data), 7))
    put = [
        update.replace(b"F\\u0049ND", b"PUT"),
        once.replace(b'"FIND",', b'"PUT",'),
        said.replace(b"FIND", b"PUT"),
    ]
    assert sent(written) == [*put, *others, once]
    assert (texts.changed, texts.instructed, texts.misses_prompt) == (True, True, True)


def test_a_message_that_is_too_large_to_search_ends_the_session(run: Run) -> None:
    async def scene() -> None:
        both = Both()
        both.caller.say(b"\x81\xff" + (PIECE_BOUND + 1).to_bytes(8, "big") + b"mask")
        await both.session.run(both.caller, both._tell, SessionTexts(None, [ArmTexts("FIND", "PUT")]))
        assert [failure for failure, *_ in both.told] == ["aborted"]
        assert both.caller.told == bye(1009)
        assert (both.provider.told, both.caller.left, both.provider.left) == (b"", "closed", "closed")

    run(scene())
