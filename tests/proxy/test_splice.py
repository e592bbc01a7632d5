"""The splice changes one value and not one byte more."""

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.providers.json_edit import (
    MOST_MEMBERS,
    MOST_WALKED,
    TooIntricateJson,
    insert_first,
    members_of,
    replace_value,
)

NEW = b'"candidate"'


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model":"a","n":1}', b'{"model":"candidate","n":1}'),
        (b'{ "n" : 1 ,\n "model" :  "a" }', b'{ "n" : 1 ,\n "model" :  "candidate" }'),
        (b'{"tools":[{"model":"no"}],"model":"a"}', b'{"tools":[{"model":"no"}],"model":"candidate"}'),
        (b'{"model":"a","x":{"model":"no"}}', b'{"model":"candidate","x":{"model":"no"}}'),
        (rb'{"m":"say \"model\": \"b\"","model":"a"}', rb'{"m":"say \"model\": \"b\"","model":"candidate"}'),
        (rb'{"x\"model":"no","model":"a"}', rb'{"x\"model":"no","model":"candidate"}'),
        (b'{"x":"model","model":"a"}', b'{"x":"model","model":"candidate"}'),
        (rb'{"\u006dodel":"a"}', rb'{"\u006dodel":"candidate"}'),
        (b'{"model":"a","model":"b"}', b'{"model":"candidate","model":"candidate"}'),
        (b'{"model":{"a":["}"]},"n":1}', b'{"model":"candidate","n":1}'),
        (b'{"model":null}', b'{"model":"candidate"}'),
        ('{"café":"ü","model":"a"}'.encode(), '{"café":"ü","model":"candidate"}'.encode()),
    ],
)
def test_only_the_top_level_value_changes(body: bytes, expected: bytes) -> None:
    assert replace_value(body, "model", NEW) == expected


def test_a_member_is_put_first() -> None:
    assert insert_first(b' {"a":1}', "b", b"{}") == b' {"b":{},"a":1}'


@pytest.mark.parametrize("text", [b"A" * (1 << 20), rb"\n" * (1 << 19)], ids=["base64", "escapes"])
def test_a_long_string_is_passed_over_in_no_more_room_than_the_new_body_takes(text: bytes) -> None:
    body = b'{"tools":[{"model":"no"}],"image":"' + text + b'","model":"a"}'
    tracemalloc.start()
    try:
        changed = replace_value(body, "model", NEW)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert changed == body.replace(b'"model":"a"', b'"model":"candidate"')
    assert peak < 4 * len(body)


NESTED = b'"tools":[' + b",".join([b'{"model":{"type":"string","description":"m\\u00f6"}}'] * 4000) + b"]"


@pytest.mark.parametrize("value", [b'"a"', b"null", b'{"a":[{"model":"}"}]}'])
def test_a_long_body_with_the_key_in_every_tool_changes_at_its_top_only(value: bytes) -> None:
    body = b'{"a" : 1,\n' + NESTED + b' , "model" :' + value + b', "caf\xc3\xa9": [] }\n'
    assert len(body) > MOST_WALKED
    assert replace_value(body, "model", NEW) == body.replace(b'"model" :' + value, b'"model" :' + NEW)


@pytest.mark.parametrize(
    "members",
    [
        b'"model":"a","model":"b",' + NESTED,
        b'"a":1,"a":1,"model":"a",' + NESTED,
        b'"a":1,"a":12,"model":"a",' + NESTED,
        b'"a\xff":1,"model":"a",' + NESTED,
        b",".join([b'"m%d":1' % number for number in range(MOST_MEMBERS)]) + b',"model":"a",' + NESTED,
    ],
    ids=["key twice", "another twice", "another twice, longer", "no UTF-8", "many"],
)
def test_what_would_have_to_be_walked_for_long_is_not(members: bytes) -> None:
    with pytest.raises(TooIntricateJson):
        replace_value(b"{" + members + b"}", "model", NEW)


def test_what_a_parser_does_not_tell_is_walked_where_it_is_short() -> None:
    body = b'{"a":1,"a":12,"a\xff":1,"x":{"model":1},"model":"a","model":"b"}'
    assert replace_value(body, "model", NEW) == body.replace(b'"a","model":"b"', NEW + b',"model":' + NEW)


KEYS = st.sampled_from(["model", "a", 'x"model', "model\\", "mo", "\\model"]) | st.text(max_size=4)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just('"model":'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


@given(
    before=st.dictionaries(KEYS.filter(lambda key: key != "model"), VALUES, max_size=3),
    value=VALUES,
    after=st.dictionaries(KEYS.filter(lambda key: key != "model"), VALUES, max_size=3),
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, 1]),
)
def test_any_document_keeps_all_else(before, value, after, ascii_only, indent) -> None:
    after = {key: item for key, item in after.items() if key not in before}
    document = {**before, "model": value, **after}
    body = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode()
    expected = json.dumps({**document, "model": "candidate"}, ensure_ascii=ascii_only, indent=indent).encode()
    assert replace_value(body, "model", NEW) == expected


def test_an_object_of_many_members_is_read_up_to_the_first_beyond_the_bound() -> None:
    most = b'{"model":"a",' + b",".join([b'"m%d":1' % number for number in range(MOST_MEMBERS)])
    with pytest.raises(TooIntricateJson, match="it has more than 1000 members"):
        members_of(most + b",what stands behind it is not read")
    with pytest.raises(TooIntricateJson, match="it has more than 1000 members"):
        replace_value(most + b',"x":{"model":1}}', "model", b'"b"')
    few = b'{"model":"a",' + b",".join([b'"m%d":1' % number for number in range(MOST_MEMBERS - 1)]) + b"}"
    assert len(members_of(few)) == MOST_MEMBERS
