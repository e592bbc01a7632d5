"""Imports promptfoo's tests: each prompt with each test's variables, and the assertions that a task scores.

Nothing is run: a prompt, a test or an assertion that needs code or a model is left out, and counted with why.
Templates are Nunjucks, read as sandboxed Jinja.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from jinja2 import Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from bench.dataset.imports.found import BadImport, ImportedExamples, SourcePlace, texts_in
from bench.dataset.imports.promptfoo_asserts import (
    SCORED,
    Assertion,
    LeftOutAssertion,
    expectations,
    left_out,
)
from bench.dataset.imports.promptfoo_files import TOO_DEEP, LinedMapping, beside, load, text_of, yaml_of

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


_DEFAULT_PROMPT = "{{prompt}}"
"""What promptfoo asks where no prompt is given."""

_RUNS = "its text comes from a program or another service; write it into the config"


@dataclass(frozen=True, slots=True, kw_only=True)
class _PromptfooTest:
    """One test with its config's defaults."""

    place: SourcePlace
    variables: Mapping[str, Any]
    assertions: Sequence[tuple[SourcePlace, Mapping[str, Any]]]
    metadata: Mapping[str, Any]
    options: Mapping[str, Any]
    partial: bool
    limited: bool


def promptfoo(file: Path) -> ImportedExamples:
    """The examples of a config, or of a file of tests. Raises BadImport with every bad test, and OSError."""
    content, place = load(file), SourcePlace(file=str(file), line=None)
    config = content if isinstance(content, dict) else {"tests": content}
    if "tests" not in config and "scenarios" not in config:
        raise place.problem(
            "has no `tests`; name a promptfoo config, or a list of tests with `vars` and `assert`"
        )
    reader = _Reader(file.parent, place, ImportedExamples(), config)
    return reader.read()


@dataclass(slots=True)
class _Reader:
    folder: Path
    place: SourcePlace
    found: ImportedExamples
    config: Mapping[str, Any]
    problems: list[str] = field(default_factory=list)

    def read(self) -> ImportedExamples:
        """All examples, or BadImport."""
        if self.config.get("scenarios"):
            self.found.left_out["scenarios", "write them as tests"] += 1
        prompts = self._prompts()
        for number, (place, test) in enumerate(self._tests(), start=1):
            with self._listing(place):
                self._add(self._test(place, test), prompts, f"{Path(self.place.file).stem}-{number}")
        if self.problems:
            raise BadImport(list(dict.fromkeys(self.problems)))
        return self.found

    @contextmanager
    def _listing(self, place: SourcePlace) -> Iterator[None]:
        """Lists a problem with what is read at this place, so that the rest is read as well."""
        try:
            yield
        except BadImport as problem:
            self.problems += problem.problems
        except RecursionError:
            self.problems += place.problem(TOO_DEEP).problems

    def _prompts(self) -> list[tuple[SourcePlace, Prompt]]:
        found: list[tuple[SourcePlace, Prompt]] = []
        for at, each in self._listed("prompts", _DEFAULT_PROMPT):
            with self._listing(at):
                found += [(at, prompt) for prompt in self._of_prompt(at, each)]
        if not found and not self.problems:
            problem = "has no prompt that can be imported; write its text into the config"
            self.problems += self.place.at("prompts").problem(problem).problems
        return found

    def _listed(self, key: str, default: Any) -> Iterator[tuple[SourcePlace, Any]]:
        """The elements of a member of the config; one that is no list is its only element."""
        given, place = self.config.get(key, default), self.place.at(key)
        if not isinstance(given, list):
            return iter([(place, given)])
        return ((place.at(f"[{number}]"), each) for number, each in enumerate(given))

    def _of_prompt(self, place: SourcePlace, given: Any) -> list[Prompt]:
        text = given.get("raw", given.get("id")) if isinstance(given, dict) else given
        if isinstance(text, list):
            return [messages_of(place, text)]
        if not isinstance(text, str) or not text.strip():
            raise place.problem("must be a text, a file://… or messages")
        if is_program(text):
            self.found.left_out["prompt", _RUNS] += 1
            return []
        if not text.startswith("file://") and not PATH.fullmatch(text):
            return [prompt_of(place, text)]
        file = beside(place, self.folder, text)
        if file.suffix.lower() not in TEXT_FILES:
            return [messages_of(SourcePlace(file=str(file), line=None), load(file))]
        parts = text_of(file).split("\n---\n")
        return [prompt_of(place, part.strip()) for part in parts if part.strip()]

    def _tests(self) -> Iterator[tuple[SourcePlace, Any]]:
        for at, each in self._listed("tests", []):
            reference = each.get("path") if isinstance(each, dict) and "path" in each else each
            if not isinstance(reference, str):
                yield at, each
            elif is_program(reference):
                self.found.left_out["tests", _RUNS] += 1
            else:
                with self._listing(at):
                    yield from self._of_file(at, reference)

    def _of_file(self, place: SourcePlace, reference: str) -> list[tuple[SourcePlace, Any]]:
        file = beside(place, self.folder, reference)
        content, at = load(file), SourcePlace(file=str(file), line=None)
        if not isinstance(content, list):
            raise at.problem("must be a list of tests")
        return [(at.at(f"[{number}]"), each) for number, each in enumerate(content)]

    def _test(self, place: SourcePlace, given: Any) -> _PromptfooTest:
        default = self.config.get("defaultTest") or {}
        if isinstance(default, str):
            default = load(beside(self.place.at("defaultTest"), self.folder, default))
        default = _mapping(self.place.at("defaultTest"), default)
        test = _mapping(place, given)
        place = place.at("", test)
        both = [(self.place.at("defaultTest", default), default), (place, test)]
        return _PromptfooTest(
            place=place,
            variables=_merged(both, "vars"),
            assertions=[pair for at, each in both for pair in _assertions(at, each)],
            metadata=_merged(both, "metadata"),
            options=_merged(both, "options"),
            partial="threshold" in test or "threshold" in default,
            limited=any(each.get(name) for each in (default, test) for name in ("prompts", "providers")),
        )

    def _add(self, test: _PromptfooTest, prompts: Sequence[tuple[SourcePlace, Prompt]], id_: str) -> None:
        why = _unusable(test)
        if why is not None:
            self.found.left_out["test", why] += 1
            return
        scored, out = 0, dict[SourcePlace, LeftOutAssertion]()
        for variables in _expanded(test):
            pairs = list(expectations(_scorable(test, variables, out)))
            scored += len(pairs)
            for (at, prompt), (task, expected) in product(prompts, pairs):
                asked = _asked(at, test, prompt, variables)
                category, tags = _labels(test.metadata)
                self.found.add(
                    test.place,
                    id=id_,
                    task=task,
                    input=asked,
                    expected=expected,
                    category=category,
                    tags=tags,
                )
        self.found.left_out.update((each.what, each.why) for each in out.values())
        if not scored:
            self.found.left_out["test", "none of its assertions can be imported"] += 1


def _scorable(
    test: _PromptfooTest, variables: Mapping[str, Any], out: dict[SourcePlace, LeftOutAssertion]
) -> list[Assertion]:
    """The assertions that a task can score; the others are added to `out`."""
    usable = []
    for place, given in test.assertions:
        assertion = _assertion(place, given, variables)
        why = left_out(assertion, transformed=bool(given.get("transform")))
        if why is None:
            usable.append(assertion)
        else:
            out[place] = why
    return usable


def _assertion(place: SourcePlace, given: Mapping[str, Any], variables: Mapping[str, Any]) -> Assertion:
    """The assertion with the test's variables; a schema that is a text is YAML, as in promptfoo."""
    at, kind = place.at(".value"), given["type"]
    value = given.get("value")
    if kind.removeprefix("not-") not in SCORED:
        return Assertion(place, kind, value)
    value = filled(at, value, variables)
    if kind == "is-json" and isinstance(value, str) and not value.startswith("file://"):
        value = yaml_of(value, at)
    return Assertion(place, kind, value)


def _mapping(place: SourcePlace, given: Any) -> Mapping[str, Any]:
    if not isinstance(given, dict):
        raise place.problem(
            "must be a mapping such as {vars: {question: …}, assert: [{type: contains, value: …}]}"
        )
    return given


def _merged(both: Sequence[tuple[SourcePlace, Mapping[str, Any]]], key: str) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for place, each in both:
        part = each.get(key) or {}
        if not isinstance(part, dict):
            raise place.at(f".{key}").problem("must be a mapping of names to values")
        merged |= part
    return merged


def _assertions(
    place: SourcePlace, test: Mapping[str, Any]
) -> Iterator[tuple[SourcePlace, Mapping[str, Any]]]:
    given = test.get("assert") or []
    if not isinstance(given, list):
        raise place.at(".assert").problem("must be a list, such as [{type: contains, value: Paris}]")
    for number, each in enumerate(given):
        at = place.at(f".assert[{number}]", each)
        if isinstance(each, dict) and "$ref" in each:
            each = LinedMapping({"type": "$ref"})
        if not isinstance(each, dict) or not isinstance(each.get("type"), str):
            raise at.at(".type").problem("is missing; for example {type: contains, value: Paris}")
        yield at, each


def _unusable(test: _PromptfooTest) -> str | None:
    """Why no example can be made of a test; None if some can."""
    if not test.assertions:
        return "it has no assertion, so no answer is known to be right"
    if any(str(name).startswith("transform") for name, value in test.options.items() if value):
        return "it transforms the answer first"
    if test.partial:
        return "it passes from a threshold over several assertions on"
    if test.limited:
        return "it is for some of the prompts or providers only"
    texts = list(texts_in(test.variables))
    if any(each.startswith("file://") for each in texts):
        return "a variable is the content of a file"
    if any("{{" in each or "{%" in each for each in texts):
        return "a variable is a template itself"
    return None


def _expanded(test: _PromptfooTest) -> Iterator[dict[str, Any]]:
    """One set of variables for each combination of those that are lists."""
    whole = test.options.get("disableVarExpansion")
    lists = [value if isinstance(value, list) and not whole else [value] for value in test.variables.values()]
    for values in product(*lists):
        yield dict(zip(test.variables, values, strict=True))


def _asked(at: SourcePlace, test: _PromptfooTest, prompt: Prompt, variables: Mapping[str, Any]) -> Prompt:
    if isinstance(prompt, list) and any(test.options.get(name) for name in ("prefix", "suffix")):
        raise test.place.at(".options").problem("cannot be put around messages; write it into the prompt")
    prefix, suffix = (str(test.options.get(name) or "") for name in ("prefix", "suffix"))
    try:
        if isinstance(prompt, list):
            return [{**each, "content": rendered(each["content"], variables)} for each in prompt]
        return rendered(f"{prefix}{prompt}{suffix}", variables)
    except BadTemplate as problem:
        raise test.place.at(".vars").problem(
            f"do not fill {at.key} ({problem}); every {{{{name}}}} of a prompt is a variable of each test. "
            "Without `prompts` the prompt is {{prompt}}"
        ) from problem


def _labels(metadata: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """The category, and the other texts of the metadata as tags."""
    texts = {str(name): value for name, value in metadata.items() if isinstance(value, str) and value}
    return texts.pop("category", ""), texts
