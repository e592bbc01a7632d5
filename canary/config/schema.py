"""The JSON Schema of `canary.yaml`, and a document's errors by it: all at once, with its valid part for the
later checks.

pydantic discards a mapping that has one bad value. `salvage` removes each bad value and validates the rest
again until it passes, so a mistyped key does not hide an unknown provider two lines below.

    bad value, unknown key      record it, remove it
    missing key                 record it (unless it was removed), remove the mapping that lacks it
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from canary.config.errors import ConfigProblem, Path
from canary.config.quantity import nearest, suggestion
from canary.config.sections import FileSection
from canary.config.yaml_document import ConfigDocument

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Node = Mapping[str, Any]

_REFERENCE = {"type": "string", "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}"}
_SCALARS = ("boolean", "integer", "number")


def json_schema() -> dict[str, Any]:
    """The JSON Schema, draft 2020-12. Every value may also be `${NAME}`."""
    schema = _with_references(_schema())
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "canary.yaml"}


def known_keys(path: Path) -> Sequence[str]:
    """The keys allowed in the mapping at this path; empty if any key is allowed."""
    root, nodes = _schema(), [_schema()]
    for part in path:
        nodes = [below for node in _alternatives(nodes, root) for below in _below(node, part)]
    return [key for node in _alternatives(nodes, root) for key in node.get("properties", {})]


@cache
def _schema() -> Node:
    return FileSection.model_json_schema(by_alias=True)


def _alternatives(nodes: Sequence[Node], root: Node) -> list[Node]:
    """The nodes with references resolved and unions expanded."""
    found: list[Node] = []
    for node in nodes:
        if "$ref" in node:
            found += _alternatives([root["$defs"][node["$ref"].rpartition("/")[2]]], root)
        elif "anyOf" in node:
            found += _alternatives(node["anyOf"], root)
        else:
            found.append(node)
    return found


def _below(node: Node, part: str | int) -> list[Node]:
    if isinstance(part, int):
        return [node["items"]] if "items" in node else []
    if part in node.get("properties", {}):
        return [node["properties"][part]]
    more = node.get("additionalProperties")
    return [more] if isinstance(more, Mapping) else []


def _with_references(node: Any) -> Any:
    """The schema with `${NAME}` allowed for every value that is not already free text.

    Drops pydantic's titles, which repeat the keys, and null defaults.
    """
    if isinstance(node, list):
        return [_with_references(child) for child in node]
    if not isinstance(node, dict):
        return node
    wanted = {
        key: child for key, child in node.items() if key != "title" and (key, child) != ("default", None)
    }
    if _is_narrow(wanted):
        about = {key: wanted[key] for key in ("description", "default") if key in wanted}
        value = {key: child for key, child in wanted.items() if key not in about}
        return {**about, "anyOf": [value, _REFERENCE]}
    return {
        key: child if key in ("default", "examples", "required") else _with_references(child)
        for key, child in wanted.items()
    }


def _is_narrow(node: Mapping[str, object]) -> bool:
    return (
        node.get("type") in _SCALARS or "enum" in node or (node.get("type") == "string" and "pattern" in node)
    )


_MESSAGES = {
    "bool_parsing": "must be true or false",
    "float_parsing": "must be a number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "finite_number": "must be a finite number",
    "string_too_short": "must not be empty",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must not be empty",
}
_SHAPES = {
    "dict_type": "must be a mapping, such as {{{named}}}",
    "model_type": "must be a mapping, such as {{{named}}}",
    "model_attributes_type": "must be a mapping, such as {{{named}}}",
    "tuple_type": "must be a list, such as [one, two]",
    "string_type": "must be a single value",
    "bool_type": "must be true or false",
    "float_type": "must be a number",
    "int_type": "must be a whole number",
}


@dataclass(slots=True, kw_only=True)
class CheckedDocument:
    """A document under validation, or what is below a path `at` of its salvaged file. `cut` has the paths of
    bad values; no second problem is recorded there.

    `places` maps each path of the salvaged file to its path in the document.
    """

    document: ConfigDocument
    problems: list[ConfigProblem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    cut: set[Path] = field(default_factory=set)
    places: dict[Path, Path] = field(default_factory=dict)
    at: Path = ()

    @property
    def root(self) -> "CheckedDocument":
        """The whole document."""
        return replace(self, at=())

    def below(self, *keys: str | int) -> "CheckedDocument":
        """What is below these keys: its problems are the document's."""
        return replace(self, at=(*self.at, *keys))

    def complain(self, message: str, *keys: str | int) -> None:
        """Record a problem below these keys, unless the value there is already known as bad."""
        if not self.was_cut(*keys):
            self.complain_of_name(message, *keys)

    def complain_of_name(self, message: str, *keys: str | int) -> None:
        """Record a problem with the name of an entry, even if the entry has other problems."""
        self.problems.append(self.document.problem(self.origin(*keys), message))

    def must_know_provider(self, name: str, *keys: str | int) -> None:
        """Record that the document declares no provider of this name, if so."""
        names = self.names("providers")
        if name not in names:
            self.complain(f'there is no provider "{name}"{suggestion(name, names)}', *keys)

    def warn(self, message: str, *keys: str | int) -> None:
        """Record a warning: the value is allowed but probably a mistake."""
        self.warnings.append(str(self.document.problem(self.origin(*keys), message)))

    def origin(self, *keys: str | int) -> Path:
        """The path in the document of what is below these keys of the salvaged file."""
        path = known = (*self.at, *keys)
        while known not in self.places:
            known = known[:-1]
        return self.places[known] + path[len(known) :]

    def was_cut(self, *keys: str | int) -> bool:
        """True if the document's value below these keys was bad."""
        return self.origin(*keys) in self.cut

    def cut_below(self, *keys: str | int) -> bool:
        """True if the document's value below these keys, or one inside it, was bad."""
        origin = self.origin(*keys)
        return any(bad[: len(origin)] == origin for bad in self.cut)

    def names(self, section: str) -> list[str]:
        """The names that the document declares in a section, including entries with mistakes."""
        found = self.document.root.children.get(section)
        return list(found.children) if found is not None else []


def salvage(document: ConfigDocument) -> tuple[FileSection, CheckedDocument]:
    """Validate the document. Returns its valid part, and the problems of the rest."""
    found = CheckedDocument(document=document, problems=list(document.problems), cut=set(document.spoilt))
    while True:
        found.places.clear()
        data = document.root.plain(found.cut, found.places)
        try:
            return FileSection.model_validate(data), found
        except ValidationError as error:
            details = error.errors(include_url=False)
            for detail in sorted(details, key=lambda detail: detail["type"] != "extra_forbidden"):
                _note(found, detail)


def _note(found: CheckedDocument, detail: "ErrorDetails") -> None:
    path = tuple(part for part in detail["loc"] if part != "[key]")
    origin = found.origin(*path)
    emptied = detail["type"] == "too_short" and found.cut_below(*path)  # the list had items, all of them bad
    if not emptied:
        found.complain(_message(detail, origin), *path)
    found.cut.add(origin)
    if detail["type"] == "missing":
        found.cut.add(origin[:-1])
    elif detail["type"] == "extra_forbidden":
        _meant_instead(found, origin)


def _meant_instead(found: CheckedDocument, origin: Path) -> None:
    """Treat the correct name of a mistyped key as removed, so the key is not reported as missing too."""
    meant = nearest(str(origin[-1]), known_keys(origin[:-1]))
    if meant is not None and (*origin[:-1], meant) not in found.document.lines:
        found.cut.add((*origin[:-1], meant))


def _message(detail: "ErrorDetails", origin: Path) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown key{suggestion(str(origin[-1]), known_keys(origin[:-1]))}"
    if kind == "missing":
        return "is missing"
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        right = re.findall(r"'([^']*)'", context["expected"])
        meant = nearest(str(detail["input"]), right)
        return f"must be {' or '.join(right)}" + (f'; did you mean "{meant}"?' if meant else "")
    if kind in _SHAPES:
        named = ", ".join(f"{key}: …" for key in known_keys(origin)[:2]) or "key: value"
        return "needs a value" if detail["input"] is None else _SHAPES[kind].format(named=named)
    if kind in _MESSAGES:
        return _MESSAGES[kind].format(
            **{name: f"{value:g}" for name, value in context.items() if _is_number(value)}
        )
    return detail["msg"]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)
