"""An arm's texts take the place of the caller's, and every other byte stays."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.providers.arm_texts import ArmTexts
from tests.effort import examples

FIND = 'You are "polite".\nNever promise a refund to {{name}} ☺.'
PUT = "You are brief.\r\n"


def edited(texts: ArmTexts, body: bytes) -> bytes | None:
    return texts.edited(body, texts.places(body))


def dense(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


SHAPES: dict[str, dict[str, Any]] = {
    "chat": {"model": "m", "messages": [{"role": "system", "content": FIND}, {"role": "user"}]},
    "developer": {"messages": [{"role": "developer", "content": [{"type": "text", "text": f"A {FIND} B"}]}]},
    "role last": {"messages": [{"content": FIND, "role": "system"}], "model": "m"},
    "two": {"messages": [{"role": "system", "content": FIND + FIND}, {"role": "developer", "content": FIND}]},
    "responses": {"model": "m", "instructions": FIND, "input": "hi"},
    "input": {"input": [{"role": "system", "content": [{"type": "input_text", "text": FIND}]}]},
    "anthropic": {"messages": [{"role": "user", "content": "hi"}], "system": FIND, "tools": [{"name": "x"}]},
    "blocks": {
        "system": [
            {"type": "text", "text": "other"},
            {"type": "text", "text": FIND, "cache_control": {"type": "ephemeral"}},
        ],
        "messages": [],
    },
    "converse": {"system": [{"text": FIND}, {"cachePoint": {"type": "default"}}], "messages": []},
    "gemini": {"contents": [{"parts": [{"text": "hi"}]}], "systemInstruction": {"parts": [{"text": FIND}]}},
    "gemini part": {"system_instruction": {"role": "user", "parts": {"text": FIND}}, "contents": []},
    "interaction": {"system_instruction": FIND, "input": "hi"},
    "completion": {"model": "m", "prompt": FIND + "Q: hi"},
    "completions": {"model": "m", "prompt": [FIND + "Q: hi", "Q: ho"]},
}  # fmt: skip
ELSEWHERE: dict[str, dict[str, Any]] = {
    "user": {"messages": [{"role": "user", "content": FIND}]},
    "tool": {"messages": [], "tools": [{"function": {"name": "x", "description": FIND}}]},
    "metadata": {"metadata": {"system": FIND}, "messages": [{"role": "system", "content": "other"}]},
    "image": {"messages": [{"role": "system", "content": [{"type": "x", "image_url": {"url": FIND}}]}]},
    "stored prompt": {"prompt": {"id": "pmpt_1", "variables": {"a": FIND}}, "input": "hi"},
    "contents": {"contents": [{"role": "user", "parts": [{"text": FIND}]}]},
    "numbers": {"input": [1, 2, 3], "messages": [], "user": FIND},
}  # fmt: skip


def written(value: Any, escape: Any) -> str:
    """JSON in which `escape` writes each character of a string."""
    if isinstance(value, str):
        return '"' + "".join(map(escape, value)) + '"'
    if isinstance(value, dict):
        return "{" + ",".join(f"{written(k, escape)}:{written(v, escape)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + " , ".join(written(each, escape) for each in value) + "]"
    return json.dumps(value)


def ascii_escape(sign: str) -> str:
    units = sign.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i] << 8 | units[i + 1]:04X}" for i in range(0, len(units), 2))


def shortest(sign: str) -> str:
    return json.dumps(sign, ensure_ascii=False)[1:-1]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_text_is_replaced_in_every_api_however_it_is_escaped(shape: str) -> None:
    texts = ArmTexts(FIND, PUT)
    expected = json.loads(dense(SHAPES[shape]).replace(dense(FIND)[1:-1], dense(PUT)[1:-1]))
    bodies = [
        dense(SHAPES[shape]),
        json.dumps(SHAPES[shape], indent=1).encode(),
        written(SHAPES[shape], ascii_escape).encode(),
        written(SHAPES[shape], lambda sign: "\\/" if sign == "/" else shortest(sign)).encode(),
        dense(SHAPES[shape] | {"padding": "x" * 5000}),
    ]
    for body in bodies:
        found = edited(texts, body)
        assert found is not None
        answer = json.loads(found)
        answer.pop("padding", None)
        assert answer == expected


@pytest.mark.parametrize("shape", ELSEWHERE)
def test_the_text_elsewhere_stays(shape: str) -> None:
    for body in (dense(ELSEWHERE[shape]), written(ELSEWHERE[shape], ascii_escape).encode()):
        assert ArmTexts(FIND, PUT).places(body) == []


def test_every_other_byte_stays() -> None:
    body = b'{ "n":1.50,\t"messages" :[ {"role":"system","content":"a\\u0062 F\\u0049ND \\/ c"} ] }'
    found = edited(ArmTexts("FIND", 'P"T'), body)
    assert found == body.replace(b"F\\u0049ND", b'P\\"T')


def test_the_last_of_a_repeated_member_counts() -> None:
    texts = ArmTexts("FIND", "PUT")
    assert texts.places(b'{"messages":[{"role":"system","content":"FIND","role":"user"}]}') == []
    assert texts.places(b'{"system":"FIND","system":"other"}') == []
    assert texts.places(b'{"messages":[{"role":"system","content":"FIND","content":"x"}]}') == []
    assert texts.places(b'{"system":"other","system":"FIND"}') != []


def test_line_ends_are_part_of_the_text() -> None:
    texts = ArmTexts("a\r\nb", "c")
    assert texts.places(dense({"system": "a\nb"})) == []
    assert edited(texts, dense({"system": "a\r\nb"})) == dense({"system": "c"})


def test_a_text_is_not_found_inside_an_escape() -> None:
    assert ArmTexts("no", "x").places(rb'{"system":"a\noo"}') == []
    assert ArmTexts('"', "x").places(rb'{"system":"a\\"}') == []
    assert edited(ArmTexts("no", "x"), rb'{"system":"a\\no"}') == rb'{"system":"a\\x"}'


def test_eight_mebibytes_are_replaced() -> None:
    text = "".join(f"Rule {number}: be polite é.\n" for number in range(380_000))
    assert len(text) > 8 << 20
    for body in (dense({"system": f"a{text}b", "messages": []}), json.dumps({"system": text}).encode()):
        found = edited(ArmTexts(text, "short"), body)
        assert found is not None and len(found) < 100


@pytest.mark.parametrize(
    "body",
    [
        b'{"system":' + b"[" * 100_000,
        b'{"messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"messages":[' + b"1," * 2_000_000 + b"1]}",
        b'{"system":"' + b"\\\\" * 2_000_000 + b'"}',
        b'{"system":"' + b"\\u0061" * 500_000 + b'FIN"}',
        b'{"system":"\xff FIND \\u0020"}',
        b'{"messages":[' + b'{"role":"system","content":"a"},' * 50_000 + b'{"a":{"b":[{}]}}]}',
        b'{"system":"\\ud83d FIND \\uD83D\\u0041"}',
        b'{"prompt":[' + b'"a",' * 2_000_000 + b'"FIND"]}',
        b'{"system":[' + b'{"text":"a"},' * 400_000 + b'{"text":"FIND"}]}',
        b'{"system":"' + b"\\FIND" * 300_000 + b"\\n" * 1_000_000 + b'"}',
    ],
    ids=range(11),
)
def test_hostile_bodies_are_survived(body: bytes) -> None:
    places = ArmTexts("FIND", "PUT").places(body)
    assert all(body[start:end] == b"FIND" for start, end in places)


def test_tools_get_other_descriptions_in_every_api() -> None:
    texts = ArmTexts(tools={"get": 'Get "it"'})
    other = {"name": "other", "description": "stays"}
    for tools in (
        {"tools": [{"function": {"name": "get", "description": "old"}}, {"function": other}]},
        {"tools": [{"type": "function", "name": "get", "description": "old"}, other]},
        {"tools": [{"name": "get", "input_schema": {"properties": {"description": {"type": "string"}}}}]},
        {"tools": [{"functionDeclarations": [other, {"name": "get", "description": "old"}]}]},
        {"toolConfig": {"tools": [{"toolSpec": {"name": "get", "description": "old"}}]}},
        {"functions": [{"name": "get"}]},
    ):  # fmt: skip
        body = dense({"model": "m", **tools})
        found = edited(texts, body)
        assert found is not None
        assert found.count(b'"description":"Get \\"it\\""') == 1
        assert b'"old"' not in found
        assert found.count(b"stays") == body.count(b"stays")
    assert edited(texts, dense({"tools": [other]})) is None


ESCAPES = st.sampled_from((shortest, ascii_escape, lambda sign: ascii_escape(sign).lower()))
SIGNS = st.text(st.sampled_from('ab/\\"\nu0é☺😀'), max_size=8)


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, str, dict[str, Any], bytes]:
    find = draw(st.text(st.sampled_from('ab/\\"\nu😀é'), min_size=1, max_size=3))
    put = draw(SIGNS)
    text = st.lists(st.one_of(SIGNS, st.just(find)), max_size=4).map("".join)
    content = st.one_of(
        text, st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": text}), max_size=2)
    )
    role = st.sampled_from(("system", "developer", "user", "assistant"))
    messages = st.lists(st.fixed_dictionaries({"role": role, "content": content}), max_size=3)
    body = draw(
        st.fixed_dictionaries(
            {"model": st.just("m"), "messages": messages},
            optional={
                "system": content,
                "instructions": text,
                "metadata": st.fixed_dictionaries({"system": text}),
            },
        )
    )
    signs = draw(st.lists(ESCAPES, min_size=1, max_size=7))
    count = 0

    def escape(sign: str) -> str:
        nonlocal count
        count += 1
        return str(signs[count % len(signs)](sign))

    return find, put, body, written(body, escape).encode()


def replaced(content: Any, find: str, put: str) -> Any:
    if isinstance(content, str):
        return content.replace(find, put)
    return [part | {"text": part["text"].replace(find, put)} for part in content]


@settings(max_examples=examples(600))
@given(requests())
def test_it_does_what_parsing_and_writing_anew_would(case: tuple[str, str, dict[str, Any], bytes]) -> None:
    find, put, request, body = case
    expected = {
        key: replaced(value, find, put) if key in ("system", "instructions") else value
        for key, value in request.items()
    }
    expected["messages"] = [
        row | {"content": replaced(row["content"], find, put)}
        if row["role"] in ("system", "developer")
        else row
        for row in request["messages"]
    ]
    texts = ArmTexts(find, put)
    places = texts.places(body)
    assert json.loads(texts.edited(body, places) or body) == expected
    assert all(json.loads(b'"%b"' % body[start:end]) == find for start, end in places)
