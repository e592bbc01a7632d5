"""promptfoo's prompts: texts and messages, and the templates in them (Nunjucks, read as sandboxed Jinja)."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from jinja2 import Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from bench.imported import SourcePlace

Prompt = str | list[dict[str, str]]

_PROGRAM = re.compile(r"\A\S+\.(?:py|[cm]?js|ts|rb|sh|bash|pl)(?::\w+)?\Z")
PATH = re.compile(r"[^\s{}:]+\.[A-Za-z0-9]{1,5}")
"""promptfoo reads such a prompt from a file, also without file://."""

TEXT_FILES = (".txt", ".md", ".j2")


class _MissingVariable(Undefined):
    """False in a condition, as in promptfoo; an error where its text is asked for."""

    __slots__ = ()

    def __str__(self) -> str:
        self._fail_with_undefined_error()


def _as_promptfoo(value: Any) -> Any:
    """A value's text in a template: nothing for null, else JSON of all but texts."""
    match value:
        case None:
            return ""
        case bool() | dict() | list():
            return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        case float() if value.is_integer():
            return int(value)
        case _:
            return value


_TEMPLATES = ImmutableSandboxedEnvironment(
    undefined=_MissingVariable, keep_trailing_newline=True, finalize=_as_promptfoo
)


class BadTemplate(Exception):
    """A template that cannot be filled with its variables. The message says why."""


def rendered(template: str, variables: Mapping[str, Any]) -> str:
    """The template with these variables. Raises BadTemplate."""
    try:
        return _TEMPLATES.from_string(template).render(variables)
    except Exception as problem:  # an expression in a template can raise any
        raise BadTemplate(str(problem) or type(problem).__name__) from problem


def filled(place: SourcePlace, value: Any, variables: Mapping[str, Any]) -> Any:
    """A value of an assertion with the test's variables."""
    match value:
        case str():
            try:
                return rendered(value, variables) if "{{" in value else value
            except BadTemplate as problem:
                raise place.problem(
                    f"cannot be filled ({problem}); use variables of the test, such as {{{{name}}}}"
                ) from problem
        case list():
            return [filled(place.at(f"[{number}]"), each, variables) for number, each in enumerate(value)]
        case dict():
            return {name: filled(place.at(f".{name}"), each, variables) for name, each in value.items()}
        case _:
            return value


def texts_in(value: Any) -> Iterator[str]:
    """Every text in a value of lists and mappings."""
    match value:
        case str():
            yield value
        case list() | dict():
            for each in value.values() if isinstance(value, dict) else value:
                yield from texts_in(each)


def prompt_of(place: SourcePlace, text: str) -> Prompt:
    """A prompt's text, or its messages if it is JSON of such."""
    if text.lstrip().startswith("["):
        try:
            return messages_of(place, json.loads(text))
        except (ValueError, RecursionError):
            return text
    return text


def messages_of(place: SourcePlace, given: Any) -> list[dict[str, str]]:
    if not isinstance(given, list) or not all(
        isinstance(each, dict) and isinstance(each.get("role"), str) and isinstance(each.get("content"), str)
        for each in given
    ):
        raise place.problem('must be messages with texts: [{"role": "user", "content": "{{question}}"}]')
    return [{"role": each["role"], "content": each["content"]} for each in given]


def is_program(text: str) -> bool:
    """True for what promptfoo would run or fetch: `exec:…`, `file://x.py:f`, `langfuse://…`."""
    if text.startswith("exec:") or _PROGRAM.search(text):
        return True
    scheme, found, _ = text.partition("://")
    return bool(found) and scheme.isalnum() and scheme != "file"
