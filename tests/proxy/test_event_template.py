"""An event passes for "the same but for its text" only where decoding it would have changed nothing."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.answers.sse import EventTemplate, SseReader, template_of
from proxy.dialects.anthropic import MessageEvents
from proxy.dialects.openai import ChatEvents
from proxy.dialects.operation import text_members

TEXTS = text_members("content", "obfuscation")
PLAIN = b'data: {"index":0,"delta":{"content":"%s"},"finish_reason":null}\n\n'
PADDED = b'data: {"index":0,"delta":{"content":"%s"},"finish_reason":null,"obfuscation":"%s"}\n\n'


def form(event: bytes) -> EventTemplate:
    found = template_of(event, TEXTS)
    assert found is not None
    return found


def test_what_stands_around_the_texts_is_the_form() -> None:
    assert form(b'data: {"content": "x"}\n\n') == EventTemplate(b'data: {"content": "', b"", b'"}\n\n')
    assert form(PLAIN % b" wor") == EventTemplate(
        b'data: {"index":0,"delta":{"content":"', b"", b'"},"finish_reason":null}\n\n'
    )
    assert form(PADDED % (b" wor", b"x")) == EventTemplate(
        b'data: {"index":0,"delta":{"content":"', b'"},"finish_reason":null,"obfuscation":"', b'"}\n\n'
    )


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"delta":{}}\n\n',
        b'data: {"content":7}\n\n',
        b'data: {"content":  "spaced"}\n\n',
        PLAIN % b"back\\\\slash",
        b'data: {"content":"a","x":{"content":"b"},"obfuscation":"c"}\n\n',
        b'data: {"x\\"content":"a"}\n\n',
    ],
)
def test_what_has_no_text_or_more_than_two_or_a_backslash_has_no_form(event: bytes) -> None:
    assert template_of(event, TEXTS) is None


@pytest.mark.parametrize("text", [b"", b" wor", b"a, b: {c} [d]", "größer 🐤".encode(), b"\xff", b"'"])
def test_any_simple_text_fits(text: bytes) -> None:
    assert form(PLAIN % b"x").fits(PLAIN % text)
    assert form(PADDED % (b"x", b"y")).fits(PADDED % (text, b"abc"))
    assert form(PADDED % (b"x", b"y")).fits(PADDED % (b"abc", text))


@pytest.mark.parametrize(
    "text",
    [
        b'"',
        b"\\",
        b'\\"',
        b"\\u0022",
        b"\n",
        b"x\n\ndata: [DONE]\n\n",
        b'"},"finish_reason":"stop","x":{"y":"',
    ],
)
def test_a_text_that_may_end_the_string_or_the_event_does_not_fit(text: bytes) -> None:
    assert not form(PLAIN % b"x").fits(PLAIN % text)
    assert not form(PADDED % (b"x", b"y")).fits(PADDED % (text, b"y"))
    assert not form(PADDED % (b"x", b"y")).fits(PADDED % (b"x", text))


@pytest.mark.parametrize(
    "event",
    [
        b"",
        (PLAIN % b"x")[:-1],
        (PLAIN % b"x")[1:],
        PLAIN % b"x" + b"d",
        (PLAIN % b"x").replace(b"null", b'"stop"'),
        (PLAIN % b"x").replace(b'"index":0', b'"index":1'),
        PADDED % (b"x", b"y"),
        b'data: {"index":0,"delta":{"content":"},"finish_reason":null}\n\n',
    ],
)
def test_another_form_does_not_fit(event: bytes) -> None:
    assert not form(PLAIN % b"x").fits(event)


def test_several_events_fit_where_each_does() -> None:
    plain, padded = form(PLAIN % b"x"), form(PADDED % (b"x", b"y"))
    assert plain.fits(b"".join(PLAIN % text for text in (b"a", b"", b"c")))
    assert padded.fits(b"".join(PADDED % texts for texts in ((b"a", b"b"), (b"", b""), (b"c", b"d"))))
    assert not plain.fits(PLAIN % b"a" + PADDED % (b"a", b"b"))
    assert not plain.fits(PLAIN % b"a" + PLAIN % b"\\" + PLAIN % b"c")
    assert not plain.fits(PLAIN % b"a" + b"data: [DONE]\n\n" + PLAIN % b"c")
    assert not padded.fits(PADDED % (b"a", b"b") + PLAIN % b"c" + PADDED % (b"a", padded.middle))


class UnhurriedChat(ChatEvents):
    """Decodes every event."""

    texts = None


class UnhurriedMessages(MessageEvents):
    """Decodes every event."""

    texts = None


def chat(index: int = 0, finish: str | None = None, **more: object) -> bytes:
    choice = {"index": index, "delta": {"content": "TEXT"}, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice], **more}, separators=(",", ":")).encode() + b"\n\n"


def message(kind: str = "content_block_delta", **more: object) -> bytes:
    document = {"type": kind, "index": 0, "delta": {"type": "text_delta", "text": "TEXT"}, **more}
    return f"event: {kind}\n".encode() + b"data: " + json.dumps(document).encode() + b"\n\n"


CHAT_EVENTS = [
    *[chat()] * 4,
    chat(index=1),
    chat(usage=None, obfuscation="TEXT"),
    chat(usage={"prompt_tokens": 1, "completion_tokens": 2}),
    chat(error={"content": "TEXT"}),
    chat(x_groq={"content": "TEXT"}),
    chat(finish="stop"),
    chat(index=1, finish="stop"),
    chat().replace(b"\n", b"\r\n"),
    b"data: [DONE]\n\n",
]
MESSAGE_EVENTS = [
    *[message().replace(b'": ', b'":')] * 4,
    message("message_delta", usage={"output_tokens": 3}),
    message("content_block_delta", usage={"output_tokens": 4}),
    message(error={"text": "TEXT"}),
    message("error"),
    message("message_stop"),
]
SAID = st.sampled_from(
    [
        b"x",
        b"",
        b'"',
        b"\\",
        b"\n",
        b"\r",
        b"\n\n",
        b"\n\r\n",
        b'\\"',
        b"\xff",
        b'","finish_reason":"stop',
        b'"},"finish_reason":"stop","x":{"content":"',
        b'x\n\ndata: {"error":{"message":"',
        b"x\n\ndata: [DONE]\n\n",
        b"\n\nevent: error\ndata: {}\n\n",
    ]
)


def seen(reader: SseReader) -> tuple[object, ...]:
    events = reader._events
    assert events.seen.answer is not None
    return (
        *(events.seen.token, events.seen.done, events.seen.failed, events.seen.finished, events.seen.usage),
        *(events.seen.answer.finish, events.seen.answer.faults(), events.seen.answer.silent),
        *(reader.seen.first_token_at, reader.seen.has_event, bytes(reader._begun)),
    )


@pytest.mark.parametrize(
    ("quick", "unhurried", "events"),
    [(ChatEvents, UnhurriedChat, CHAT_EVENTS), (MessageEvents, UnhurriedMessages, MESSAGE_EVENTS)],
)
@given(data=st.data(), strip=st.booleans())
def test_whatever_comes_a_reader_with_forms_says_what_one_that_decodes_all_says(
    quick: type[ChatEvents],
    unhurried: type[ChatEvents],
    events: list[bytes],
    data: st.DataObject,
    strip: bool,
) -> None:
    reader, other = SseReader(quick(), strip=strip), SseReader(unhurried(), strip=strip)
    beginning = [events[0].replace(b"TEXT", b"Hi")] * 2
    drawn = data.draw(st.lists(st.tuples(st.sampled_from(events), SAID, st.integers(0, 3)), max_size=12))
    for place, part in enumerate(
        [*beginning, *(cut(event.replace(b"TEXT", said), n) for event, said, n in drawn)]
    ):
        assert reader.feed(part, float(place)) == other.feed(part, float(place))
        assert seen(reader) == seen(other)
    assert reader.finish() == other.finish()


@pytest.mark.parametrize(
    ("quick", "unhurried", "events"),
    [(ChatEvents, UnhurriedChat, CHAT_EVENTS), (MessageEvents, UnhurriedMessages, MESSAGE_EVENTS)],
)
@given(data=st.data(), strip=st.booleans())
def test_however_many_events_come_at_once_and_wherever_they_are_cut_forms_change_nothing(
    quick: type[ChatEvents],
    unhurried: type[ChatEvents],
    events: list[bytes],
    data: st.DataObject,
    strip: bool,
) -> None:
    reader, other = SseReader(quick(), strip=strip), SseReader(unhurried(), strip=strip)
    common = st.tuples(st.sampled_from(events[:4]), st.just(b"x"))
    anything = st.tuples(st.sampled_from(events), SAID)
    drawn = data.draw(st.lists(common | common | common | anything, min_size=4, max_size=30))
    stream = b"".join(event.replace(b"TEXT", said) for event, said in drawn)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    for place, (start, end) in enumerate(pairwise([0, *cuts, len(stream)])):
        part = stream[start:end]
        assert reader.feed(part, float(place)) == other.feed(part, float(place))
        assert seen(reader) == seen(other)
    assert reader.finish() == other.finish()


def test_events_that_come_together_are_decoded_no_more_than_it_takes_to_see_their_form() -> None:
    class Counting(ChatEvents):
        taken = 0

        def take(self, name: bytes, data: bytes) -> bool:
            self.taken += 1
            return super().take(name, data)

    for event in (chat(), chat(obfuscation="TEXT")):
        events = Counting()
        reader = SseReader(events)
        begun = event.replace(b"TEXT", b"a") * 2
        assert reader.feed(begun, 0.0) == begun
        stream = b"".join(event.replace(b"TEXT", word) for word in [b"b", b"c", b"d", b""] * 10)
        for start in range(0, len(stream), 777):
            assert reader.feed(stream[start : start + 777], 0.0) == stream[start : start + 777]
        assert events.taken == 2


def cut(event: bytes, places: int) -> bytes:
    """Mostly whole; 1: without its last byte, 2: without its first, 3: twice."""
    return (event, event[:-1], event[1:], event * 2)[places]


def test_a_stream_of_one_form_is_decoded_no_more_than_it_takes_to_see_the_form() -> None:
    class Counting(ChatEvents):
        taken = 0

        def take(self, name: bytes, data: bytes) -> bool:
            self.taken += 1
            return super().take(name, data)

    for strip in (False, True):
        events = Counting()
        reader = SseReader(events, strip=strip)
        for word in [b"a", b"b", b"c", b"d"] * 10:
            event = chat().replace(b"TEXT", word)
            assert reader.feed(event, 0.0) == event
        assert events.taken == 2


def test_a_stream_of_ever_new_forms_is_searched_for_them_a_few_times_only() -> None:
    reader = SseReader(ChatEvents())
    for number in range(40):
        reader.feed(chat(created=number), 0.0)
    assert reader._templates == 8
