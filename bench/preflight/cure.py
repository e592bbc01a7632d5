"""The `request:` lines that would cure a provider's refusal, where its words name a member. Pure.

OpenAI, Azure    error.param; "'max_tokens' is not supported … Use 'max_completion_tokens' instead."
Anthropic        "`temperature` is deprecated for this model", "top_k: Extra inputs are not permitted"
Gemini           "Unknown name \"topK\" at 'generation_config': Cannot find field."
LiteLLM          "gpt-5 models don't support temperature=0.2. Only temperature=1 is supported."
vLLM, Mistral    `loc: ["body", "stream_options"]`, as JSON or as Python's repr inside a message
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from routing.canary import NO_CHANGES, RequestChanges

_ESSENTIAL = frozenset(
    {"model", "messages", "input", "prompt", "contents", "content", "system", "instructions", "stream"}
) | {"systemInstruction", "system_instruction"}
"""A request without these is another request."""

_MEMBER = r"['\"`]([A-Za-z_][\w.]*)['\"`]"
_RENAMED = re.compile(rf"{_MEMBER}[^'\"`]*?\buse {_MEMBER}", re.IGNORECASE)
_USE = re.compile(rf"\buse {_MEMBER} instead", re.IGNORECASE)
_REFUSES = re.compile(
    r"unsupported|not (?:\w+ )?support|n't support|deprecated|not permitted|not allowed|not accept|"
    r"unknown|unrecogni[sz]ed|unexpected|cannot find field|extra_forbidden|may only be set|"
    r"cannot both|no longer|not available",
    re.IGNORECASE,
)
_VALUE = re.compile(r"value|\btoo \w|at (?:most|least)|maximum|minimum|range|required", re.IGNORECASE)
"""The member is taken, and its value is not."""
_EITHER = re.compile(rf"{_MEMBER} and {_MEMBER} cannot both", re.IGNORECASE)
_GEMINI = re.compile(r"""Unknown name "(\w+)"(?: at '([\w.]+)')?""")
_QUOTED = re.compile(_MEMBER)
_SUPPLIED = re.compile(r"(?:supplied|parameter|argument)s?: ?'?([A-Za-z_][\w.]*)")
_PREFIX = re.compile(r"(?:\A|\s)([A-Za-z_][\w.]*)(?:: |=)")
_LOC = re.compile(r"""["']loc["']\s*:\s*[\[(]([^\])]{0,400})[\])]""")
_IN_LOC = re.compile(r"""["']([^"']+)["']|(\d+)""")


def cure(said: bytes, sent: bytes, arm: RequestChanges) -> RequestChanges:
    """The changes that take the refused member out of the request `sent`, or give it its new name.

    None where the request lacks the member or is nothing without it, or where the arm's own lines set it.
    """
    text = " ".join(_texts(said))
    body = _object(sent)
    own = {name for name, _ in (*arm.set, *arm.default)}
    for old, new in _renames(said, text):
        place = _place(body, old)
        if place is not None and place not in own:
            return RequestChanges(rename=((_as_called(place, arm), new),))
    for name in _named(said, text) if _REFUSES.search(text) else _only_in_param(said, text):
        place = _place(body, name)
        if place is not None and place not in own and place.partition(".")[0] not in _ESSENTIAL:
            return RequestChanges(remove=(place,))
    return NO_CHANGES


def merged(arm: RequestChanges, more: RequestChanges) -> RequestChanges:
    """The arm's changes and more. A new rename of a member replaces the old one."""
    return RequestChanges(
        rename=tuple({**dict(arm.rename), **dict(more.rename)}.items()),
        remove=tuple(dict.fromkeys((*arm.remove, *more.remove))),
        set=arm.set,
        default=arm.default,
    )


def shape(body: str) -> frozenset[str]:
    """The names of a request's members, of the first and the second level."""
    members = _object(body.encode())
    inner = {f"{name}.{each}" for name, value in members.items() if isinstance(value, dict) for each in value}
    return frozenset({*members, *inner})


def located(said: bytes) -> str:
    """The member that an error of FastAPI's form names, for example `stream_options`; "" for none."""
    return next((loc for loc in _locs(said) if loc), "")


def _named(said: bytes, text: str) -> Iterator[str]:
    """The members that the words name, the surest first."""
    for name, outer in _GEMINI.findall(text):
        yield f"{outer}.{name}" if outer else name
    yield from _locs(said)
    yield from _params(_decoded(said))
    for pattern in (_EITHER, _PREFIX):
        yield from (found[found.lastindex or 0] for found in pattern.finditer(text))
    for pattern in (_QUOTED, _SUPPLIED):
        yield from (found[1] for found in pattern.finditer(text))


def _renames(said: bytes, text: str) -> Iterator[tuple[str, str]]:
    """The member that is to have another name, and that name."""
    if found := _RENAMED.search(text):
        yield found[1], found[2]
    elif found := _USE.search(text):
        yield from ((name, found[1]) for name in _params(_decoded(said)))


def _only_in_param(said: bytes, text: str) -> Iterator[str]:
    """The members that `param` names and the words do not: nothing is said of their values."""
    if not _VALUE.search(text):
        yield from (name for name in _params(_decoded(said)) if name not in text)


def _locs(said: bytes) -> Iterator[str]:
    for loc in _LOC.findall(said.decode("utf-8", "replace").replace('\\"', '"')):
        parts = [word or number for word, number in _IN_LOC.findall(loc)]
        yield ".".join(parts[1:] if parts[:1] == ["body"] else parts)


def _place(body: Mapping[str, Any], name: str) -> str | None:
    """Where a member stands in the body, top-level or one level down; None where it does not."""
    outer, _, inner = name.partition(".")
    by_name = {_plain(each): each for each in body}
    found = by_name.get(_plain(outer))
    if not inner:
        return found or _one_level_down(body, outer)
    members = body.get(found) if found is not None else None
    if not isinstance(members, dict):
        return None
    within = {_plain(each): each for each in members}.get(_plain(inner))
    return f"{found}.{within}" if within is not None else None


def _one_level_down(body: Mapping[str, Any], name: str) -> str | None:
    """The only member of this name one level down."""
    places = [
        f"{outer}.{inner}"
        for outer, members in body.items()
        if isinstance(members, dict) and outer not in ("metadata", "labels")
        for inner in members
        if _plain(inner) == _plain(name)
    ]
    return places[0] if len(places) == 1 else None


def _plain(name: str) -> str:
    """A name as `max_tokens` and `maxTokens` alike."""
    return name.replace("_", "").lower()


def _as_called(name: str, arm: RequestChanges) -> str:
    """The caller's name for a member that the arm may have renamed."""
    return {new: old for old, new in arm.rename}.get(name, name)


def _texts(said: bytes) -> Iterator[str]:
    """The messages in an error's body; the body itself where it is not JSON."""
    document = _decoded(said)
    if document is None:
        yield said.decode("utf-8", "replace")
    yield from _values(document, ("message", "msg", "detail", "error", "type", "code"))


def _params(document: Any) -> Iterator[str]:
    return _values(document, ("param",))


def _values(document: Any, names: tuple[str, ...]) -> Iterator[str]:
    """The texts of all members of these names, at any depth."""
    if isinstance(document, list):
        for each in document:
            yield from _values(each, names)
    elif isinstance(document, dict):
        for name, value in document.items():
            if name in names and isinstance(value, str):
                yield value
            yield from _values(value, names)


def _decoded(text: bytes) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _object(body: bytes) -> Mapping[str, Any]:
    found = _decoded(body)
    return found if isinstance(found, dict) else {}
