"""Imports promptfoo's tests: each prompt with each test's variables, and the assertions that a task scores.

Nothing is run: a prompt, a test or an assertion that needs code or a model is left out, and counted with why.
Files are YAML, JSON, JSON lines or CSV. Templates are Nunjucks, read as sandboxed Jinja.
"""

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import StringIO
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from bench.dataset.imports.imported import BadImport, ImportedExamples, SourcePlace, texts_in
from bench.dataset.imports.promptfoo_asserts import (
    SCORED,
    TYPES,
    Assertion,
    LeftOutAssertion,
    expectations,
    left_out,
)

# Reads promptfoo's files: configs and tests in YAML, JSON, JSON lines and CSV; mappings have their line.


ENDINGS = (".yaml", ".yml", ".json", ".jsonl", ".csv")
TOO_DEEP = "is nested too deeply; write it with fewer levels"
_TYPED = re.compile(r"([a-z0-9-]+)(?:\(([\d.]+)\))?(?::(.*))?", re.DOTALL)
_SHORT = {"fn": "javascript", "eval": "javascript", "grade": "llm-rubric"}
_COLUMN = re.compile(r"__expected\d*")


class LinedMapping(dict[str, Any]):
    """A mapping with the line on which it begins (None: not known)."""

    line: int | None = None


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, with each mapping's line. As in YAML 1.2, `yes`, `12:30` and dates are texts."""


def _lined_mapping(loader: _Loader, node: yaml.MappingNode) -> LinedMapping:
    loader.flatten_mapping(node)
    found = {str(name): value for name, value in loader.construct_mapping(node, deep=True).items()}
    return _lined(found, node.start_mark.line + 1)


def _not_in_json(loader: _Loader, node: yaml.Node) -> Any:
    raise yaml.constructor.ConstructorError(
        None, None, f"{node.tag} is not of JSON; write a text, a number, a list or a mapping", node.start_mark
    )


_TAG = "tag:yaml.org,2002:"
_OF_1_1 = {f"{_TAG}{name}" for name in ("bool", "int", "timestamp")}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _OF_1_1]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(f"{_TAG}bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), [*"tTfF"])
_Loader.add_implicit_resolver(
    f"{_TAG}int", re.compile(r"[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F]+)\Z"), [*"-+0123456789"]
)
_Loader.add_constructor(f"{_TAG}map", _lined_mapping)
for _not_json in ("binary", "set", "timestamp"):
    _Loader.add_constructor(f"{_TAG}{_not_json}", _not_in_json)


def load(file: Path) -> Any:
    """A file's content; of a CSV file the tests. Raises BadImport, OSError."""
    if file.suffix.lower() not in ENDINGS:
        raise SourcePlace(file=str(file), line=None).problem(
            f"cannot be imported; name a {', '.join(ENDINGS)} file"
        )
    text = text_of(file)
    match file.suffix.lower():
        case ".json":
            return _json(text, SourcePlace(file=str(file), line=None))
        case ".jsonl":
            return list(_json_lines(text, str(file)))
        case ".csv":
            return list(_csv(text, str(file)))
        case _:
            return yaml_of(text, SourcePlace(file=str(file), line=None))


def text_of(file: Path) -> str:
    """A file's text. Raises BadImport if it is not UTF-8, OSError."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as problem:
        raise SourcePlace(file=str(file), line=None).problem("is not UTF-8; save it so") from problem


def beside(place: SourcePlace, folder: Path, reference: str) -> Path:
    """The file that `file://…` names; it must be in the config's folder. Raises BadImport."""
    name = reference.removeprefix("file://")
    file = (folder / name).resolve()
    if not file.is_relative_to(folder.resolve()):
        raise place.problem(f"names {name}, which is outside the config's folder; copy it there")
    if not file.is_file():
        raise place.problem(f"names {name}, which is not a file in {folder}")
    return file


def _json(text: str, place: SourcePlace) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as problem:
        raise place.problem(f"is not JSON: {problem}") from problem


def _json_lines(text: str, name: str) -> Iterator[Any]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            found = _json(line, SourcePlace(file=name, line=number))
            yield _lined(found, number) if isinstance(found, dict) else found


def yaml_of(text: str, place: SourcePlace) -> Any:
    """A text's content in JSON types; a date is the text that stands there. Raises BadImport."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  # a safe loader
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark
        at = place if mark is None or place.key else replace(place, line=mark.line + 1)
        why = ", ".join(part for part in (problem.context, problem.problem) if part)
        raise at.problem(f"is not YAML: {why}; quote a text with ? or :") from problem
    except (yaml.YAMLError, ValueError) as problem:
        raise place.problem(f"is not YAML: {problem}") from problem
    except RecursionError as problem:
        raise place.problem(TOO_DEEP) from problem


def _csv(text: str, name: str) -> Iterator[LinedMapping]:
    rows = csv.DictReader(StringIO(text, newline=""), restval="", strict=True)
    number = 1
    try:
        for row in rows:
            if None in row:
                raise SourcePlace(file=name, line=rows.line_num).problem(
                    "has more cells than the header has names"
                )
            yield _lined(_test(row), number + 1)
            number = rows.line_num
    except csv.Error as problem:
        raise SourcePlace(file=name, line=rows.line_num).problem(f"is not CSV: {problem}") from problem


def _test(row: dict[str, str]) -> dict[str, Any]:
    """A row of a CSV file as a test."""
    test: dict[str, Any] = {"vars": {}, "assert": [], "metadata": {}}
    for name, cell in row.items():
        if _COLUMN.fullmatch(name):
            test["assert"] += [_cell_assertion(cell)] if cell.strip() else []
        elif name.startswith("__metadata:"):
            test["metadata"][name.removeprefix("__metadata:")] = cell
        elif name in ("__prefix", "__suffix"):
            test.setdefault("options", {})[name.removeprefix("__")] = cell
        elif name.startswith("__config:") or name == "__threshold":
            test |= {"threshold": cell} if cell else {}
        elif not name.startswith("__"):
            test["vars"][name] = cell
    return test


def _cell_assertion(cell: str) -> dict[str, Any]:
    """An assertion in a cell: `TYPE: VALUE`, `TYPE(THRESHOLD): VALUE`, or the text that the answer equals."""
    found = _TYPED.fullmatch(cell.strip())
    kind = "" if found is None else _SHORT.get(found[1], found[1])
    if found is None or kind.removeprefix("not-") not in TYPES:
        return {"type": "equals", "value": cell.strip()}
    value = {} if found[3] is None else {"value": found[3].strip()}
    return {"type": kind, **value, **({"threshold": found[2]} if found[2] else {})}


def _lined(found: dict[str, Any], line: int) -> LinedMapping:
    lined = LinedMapping(found)
    lined.line = line
    return lined


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
