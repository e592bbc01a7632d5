"""promptfoo's prompts: texts and messages, and the templates in them (Nunjucks, read as sandboxed Jinja)."""

import json
import re
from collections.abc import Mapping
from typing import Any

from jinja2 import TemplateError, Undefined
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


_TEMPLATES = ImmutableSandboxedEnvironment(undefined=_MissingVariable, keep_trailing_newline=True)


def rendered(template: str, variables: Mapping[str, Any]) -> str:
    """The template with these variables. Raises TemplateError."""
    return _TEMPLATES.from_string(template).render(variables)


def filled(place: SourcePlace, value: Any, variables: Mapping[str, Any]) -> Any:
    """A value of an assertion with the test's variables."""
    match value:
        case str():
            try:
                return rendered(value, variables) if "{{" in value else value
            except TemplateError as problem:
                raise place.problem(f"cannot be filled: {problem}") from problem
        case list():
            return [filled(place, each, variables) for each in value]
        case _:
            return value


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
