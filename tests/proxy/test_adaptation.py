"""An adapted request has the changes, and not one other byte differs."""

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.providers.json_edit import MOST_WALKED, adapted
from routing.canary import RequestChanges

REASONING = RequestChanges(
    rename=(("max_tokens", "max_completion_tokens"),),
    remove=("temperature", "logit_bias"),
    set=(("reasoning_effort", '"low"'), ("text.verbosity", '"low"')),
    default=(("max_completion_tokens", "4096"),),
)


def rename(*pairs: tuple[str, str]) -> RequestChanges:
    return RequestChanges(rename=pairs)


def remove(*names: str) -> RequestChanges:
    return RequestChanges(remove=names)


def put(**members: object) -> RequestChanges:
    return RequestChanges(set=tuple((name.replace("__", "."), json.dumps(v)) for name, v in members.items()))


def default(**members: object) -> RequestChanges:
    return RequestChanges(default=put(**members).set)


def test_a_request_for_one_model_becomes_one_for_another() -> None:
    body = (
        b'{ "model": "m",\n "max_tokens" : 5, "temperature":0.20, "n":1.0,"logit_bias":{"1":-100},'
        b' "z": "\xc3\xa9"\n}'
    )
    assert adapted(body, REASONING) == (
        b'{ "model": "m",\n "max_completion_tokens" : 5, "n":1.0, "z": "\xc3\xa9",'
        b'"reasoning_effort":"low","text":{"verbosity":"low"}\n}'
    )


@pytest.mark.parametrize(
    ("changes", "body", "expected"),
    [
        (rename(("a", "b")), b'{"a" : 1, "b":2}', b'{ "b":2}'),
        (rename(("a", "b")), b'{"b":2,"a":1}', b'{"b":2}'),
        (rename(("a", "b")), b'{"x":{"a":1},"a":[1, 2]}', b'{"x":{"a":1},"b":[1, 2]}'),
        (rename(("a", "b"), ("b", "c")), b'{"a":1}', b'{"c":1}'),
        (rename(("g.a", "g.b")), b'{"a":1,"g":{ "a":1 , "c":2}}', b'{"a":1,"g":{ "b":1 , "c":2}}'),
        (rename(("g.a", "g.b")), b'{"g":{"a":1,"b":2}}', b'{"g":{"b":2}}'),
        (rename(("a", "g.a")), b'{"a":1,"n":2}', b'{"n":2,"g":{"a":1}}'),
        (rename(("a", "g.a")), b'{"a":1,"g":{"a":2}}', b'{"g":{"a":2}}'),
        (rename(("g.a", "a")), b'{"g":{"a":{"b": 1}}}', b'{"g":{},"a":{"b": 1}}'),
        (rename(("g.a", "h.b")), b'{"g":{"a":1},"h":{}}', b'{"g":{},"h":{"b":1}}'),
        (remove("a"), b'{"a":1}', b"{}"),
        (remove("a"), b'{ "a":1 }', b"{ }"),
        (remove("a"), b'{"a":1 ,\n"b":2}', b'{\n"b":2}'),
        (remove("b"), b'{"a":1,"b":2}', b'{"a":1}'),
        (remove("b"), b'{"a":1, "b":[{"c":","}] ,"c":"}"}', b'{"a":1,"c":"}"}'),
        (remove("a", "b", "c"), b'{"a":1,"b":2,"c":3}', b"{}"),
        (remove("g.a"), b'{"g": {"a":1}}', b'{"g": {}}'),
        (put(a=1), b"{}", b'{"a":1}'),
        (put(a=None), b'{"a" : {"x":1} }', b'{"a" : null }'),
        (put(g__a=1), b'{"b":1}', b'{"b":1,"g":{"a":1}}'),
        (put(g__a=1), b'{"g": { "a":0, "b":1}}', b'{"g": { "a":1, "b":1}}'),
        (put(g__a=1, g__b=2), b'{"g":{}}', b'{"g":{"a":1,"b":2}}'),
        (default(a=1), b'{"b":1}', b'{"b":1,"a":1}'),
        (default(g__a=1), b'{"g":{"b":1}}', b'{"g":{"b":1,"a":1}}'),
        (RequestChanges(remove=["a"], default=(("a", "2"),)), b'{"a":1,"b":1}', b'{"b":1,"a":2}'),
    ],
)
def test_members_are_renamed_removed_set_and_given_defaults(
    changes: RequestChanges, body: bytes, expected: bytes
) -> None:
    assert adapted(body, changes) == expected


@pytest.mark.parametrize(
    ("changes", "body"),
    [
        (rename(("a", "b")), b'{"b":1}'),
        (rename(("g.a", "h.a")), b'{"g":1}'),
        (remove("a"), b'{"b":{"a":1},"c":"\\"a\\":1"}'),
        (remove("g.a"), b'{"g":null}'),
        (put(a=1), b'{"a":1}'),
        (default(a=1), b'{"a":null}'),
        (default(g__a=1), b'{"g":{"a":2}}'),
    ],
)
def test_a_request_without_such_members_goes_as_it_came(changes: RequestChanges, body: bytes) -> None:
    assert adapted(body, changes) is None


@pytest.mark.parametrize("outer", [b"null", b"[]", b'"{"', b"1"])
@pytest.mark.parametrize("changes", [put(b=1, g__a=1), default(g__a=1), rename(("c", "g.a"))])
def test_a_request_whose_outer_member_is_not_an_object_goes_as_it_came(
    changes: RequestChanges, outer: bytes
) -> None:
    assert adapted(b'{"c":1,"g":' + outer + b"}", changes) is None


@pytest.mark.parametrize(
    ("changes", "body", "expected"),
    [
        (rename(("a", "b")), b'{"a":1,"c":0,"a":2}', b'{"c":0,"b":2}'),
        (rename(("a", "b")), b'{"b":1,"a":3,"b":2}', b'{"b":2}'),
        (remove("a"), b'{"a":1,"c":0,"a":2}', b'{"c":0}'),
        (put(a=3), b'{"a":1,"c":0,"a":2}', b'{"c":0,"a":3}'),
        (put(g__a=3), b'{"g":{"a":1},"g":{"a":1,"a":2}}', b'{"g":{"a":3}}'),
        (rename(("a", "b")), rb'{"\u0061":1,"b":2}', b'{"b":2}'),
        (remove("temperature"), rb'{"temper\u0061ture":1,"n":2}', b'{"n":2}'),
        (put(a=3), rb'{"\u0061":1}', rb'{"\u0061":3}'),
        (default(a=3), rb'{"x":1,"\u0061":1}', None),
        (rename(("a", 'q"é')), b'{"a":1}', '{"q\\"é":1}'.encode()),
        (remove("a"), b'{"a":1,"\xff":2}', b'{"\xff":2}'),
    ],
)
def test_a_member_stands_once_however_it_is_written(
    changes: RequestChanges, body: bytes, expected: bytes | None
) -> None:
    assert adapted(body, changes) == expected


def test_a_long_body_with_a_repeated_member_goes_as_it_came() -> None:
    body = b'{"a":1,"a":2,"text":"' + b"x" * MOST_WALKED + b'"}'
    assert adapted(body, remove("a")) is None


def test_an_image_is_passed_over_and_copied_once() -> None:
    image = b"A" * (5 << 20)
    body = b'{"messages":[{"image":"' + image + b'"}],"max_tokens":5,"temperature":1}'
    tracemalloc.start()
    try:
        changed = adapted(body, REASONING)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert changed is not None
    assert changed.startswith(b'{"messages":[{"image":"' + image + b'"}],"max_completion_tokens":5,')
    assert peak < 3 * len(body)


NAMES = ["a", "b", "c", "g", "h", "é", 'x"y']
WHOLE_NAMES = [*NAMES, "g.a", "g.b", "h.a"]
SPACE = st.sampled_from(["", " ", "\n\t"])
SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.just('"a":1,}')


@st.composite
def texts(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    """An object as a caller may write it: white space, escaped names, repeated members."""
    return "{" + ",".join(draw(st.lists(members(values), max_size=5))) + draw(SPACE) + "}"


@st.composite
def members(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    name = json.dumps(draw(st.sampled_from(NAMES)), ensure_ascii=draw(st.booleans()))
    if draw(st.booleans()):
        name = name.replace("a", "\\u0061")
    return draw(SPACE) + name + draw(SPACE) + ":" + draw(SPACE) + draw(values) + draw(SPACE)


VALUES = SCALARS.map(json.dumps)
BODIES = texts(VALUES | texts(VALUES) | st.lists(SCALARS, max_size=2).map(json.dumps))
NAME = st.sampled_from(WHOLE_NAMES)
GIVEN = st.lists(st.tuples(NAME, VALUES), max_size=2)
CHANGES = st.builds(
    RequestChanges,
    rename=st.lists(st.tuples(NAME, NAME), max_size=2),
    remove=st.lists(NAME, max_size=2),
    set=GIVEN,
    default=GIVEN,
)


@given(body=BODIES, changes=CHANGES)
def test_any_request_is_changed_as_a_dictionary_would_be(body: str, changes: RequestChanges) -> None:
    result = adapted(body.encode(), changes)
    said = json.loads(body)
    expected = _expected(said, changes)
    assert json.loads(result or body) == (said if expected is None else expected)
    if result is not None:
        names = [name for name, _ in json.loads(result, object_pairs_hook=list)]
        assert len(names) == len(set(names))


@given(
    before=st.lists(members(VALUES), max_size=3), after=st.lists(members(VALUES), max_size=3), changes=CHANGES
)
def test_members_without_changes_keep_every_byte(
    before: list[str], after: list[str], changes: RequestChanges
) -> None:
    untouched = ' "messages" : [ {"a": 1.0, "a":"\\u00e9"} ]\n'
    result = adapted(("{" + ",".join([*before, untouched, *after]) + "}").encode(), changes)
    assert result is None or untouched.strip().encode() in result


def _expected(said: dict[str, Any], changes: RequestChanges) -> dict[str, Any] | None:
    """What the changes make of a plain dictionary; None when they cannot be made."""
    request = json.loads(json.dumps(said))
    try:
        for name, new_name in changes.rename:
            if _last(name) in _holder(request, name) and name != new_name:
                value = _holder(request, name).pop(_last(name))
                _made(request, new_name).setdefault(_last(new_name), value)
        for name in changes.remove:
            _holder(request, name).pop(_last(name), None)
        for name, text in changes.set:
            _made(request, name)[_last(name)] = json.loads(text)
        for name, text in changes.default:
            _made(request, name).setdefault(_last(name), json.loads(text))
    except _NoObject:
        return None
    return request


class _NoObject(Exception):
    pass


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _holder(request: dict[str, Any], name: str) -> dict[str, Any]:
    """The object that a member is in; an empty one where there is none."""
    outer, dot, _ = name.partition(".")
    inner = request.get(outer) if dot else request
    return inner if isinstance(inner, dict) else {}


def _made(request: dict[str, Any], name: str) -> dict[str, Any]:
    outer, dot, _ = name.partition(".")
    inner = request.setdefault(outer, {}) if dot else request
    if not isinstance(inner, dict):
        raise _NoObject
    return inner
