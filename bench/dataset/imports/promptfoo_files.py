"""Reads promptfoo's files: configs and tests in YAML, JSON, JSON lines and CSV; mappings have their line."""

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import yaml

from bench.dataset.imports.found import SourcePlace
from bench.dataset.imports.promptfoo_asserts import TYPES

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


def _mapping(loader: _Loader, node: yaml.MappingNode) -> LinedMapping:
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
_Loader.add_constructor(f"{_TAG}map", _mapping)
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
            test["assert"] += [_assertion(cell)] if cell.strip() else []
        elif name.startswith("__metadata:"):
            test["metadata"][name.removeprefix("__metadata:")] = cell
        elif name in ("__prefix", "__suffix"):
            test.setdefault("options", {})[name.removeprefix("__")] = cell
        elif name.startswith("__config:") or name == "__threshold":
            test |= {"threshold": cell} if cell else {}
        elif not name.startswith("__"):
            test["vars"][name] = cell
    return test


def _assertion(cell: str) -> dict[str, Any]:
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
