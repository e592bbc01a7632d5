"""Parses YAML text into mappings, lists and text, each with its line. The schema gives values their types.

Every scalar except null stays text, so a model named 2024-08-06 is not a date and a tag `on` is not a
boolean. Only what an arm's `request:` sends has the types of YAML 1.2, since no schema knows it. YAML tags
cannot construct objects. `${NAME}` and `${NAME:-default}` are expanded in values; `$${` is a literal `${`.
"""

import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, replace

import yaml

from canary.config.errors import ConfigError, ConfigProblem, Path, dotted
from canary.config.yaml_words import words_of

_NULL = "tag:yaml.org,2002:null"
_IMPLICIT = frozenset(
    "tag:yaml.org,2002:" + kind
    for kind in ("str", "null", "bool", "int", "float", "timestamp", "map", "seq", "merge", "value")
)
"""The tags that YAML gives to untagged values. Any other tag was written by a person."""

_ARM_REQUEST = (("request", "set"), ("request", "default"))
_INTEGER = re.compile(r"[-+]?[0-9]+")
_NUMBER = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NOT_JSON = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")

Scalar = str | bool | int | float


def is_typed(path: Path) -> bool:
    """True inside what an arm's request sends, in the config or in a file of one arm alone."""
    return path[3:5] in _ARM_REQUEST or path[:2] in _ARM_REQUEST


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentEntry:
    """One value of the file. `line` is the line of its key, or of the value itself in a list. `refers`: it
    names a variable."""

    path: Path
    line: int
    value: "Scalar | dict[str, DocumentEntry] | list[DocumentEntry] | None"
    refers: bool = False

    @property
    def children(self) -> "dict[str, DocumentEntry]":
        """The values by their keys; none unless this is a mapping."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def rows(self) -> "list[DocumentEntry]":
        """The values of a list; none unless this is one."""
        return self.value if isinstance(self.value, list) else []

    def text(self, key: str) -> str:
        """The text at a key; "" where there is none."""
        found = self.children.get(key)
        return found.value if found is not None and isinstance(found.value, str) else ""

    def with_children(self, **children: "DocumentEntry") -> "DocumentEntry":
        """The mapping with other values of these keys."""
        return replace(self, value={**self.children, **children})

    def plain(self, without: Set[Path], places: dict[Path, Path], at: Path = ()) -> object:
        """Plain mappings, lists and text, without the values at the paths in `without`.

        Fills `places`: path in the plain value → path in the file. They differ after a list loses an item.
        """
        places[at] = self.path
        if isinstance(self.value, dict):
            children = {key: child for key, child in self.value.items() if child.path not in without}
            return {key: child.plain(without, places, (*at, key)) for key, child in children.items()}
        if isinstance(self.value, list):
            rows = [child for child in self.value if child.path not in without]
            return [child.plain(without, places, (*at, index)) for index, child in enumerate(rows)]
        return self.value

    def walk(self) -> "Iterator[DocumentEntry]":
        """This entry and all entries below it."""
        yield self
        for child in (*self.children.values(), *self.rows):
            yield from child.walk()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigDocument:
    """A parsed file: its root, the line of each path, its problems, and the paths without a usable value."""

    name: str
    root: DocumentEntry
    lines: Mapping[Path, int]
    problems: tuple[ConfigProblem, ...]
    spoilt: frozenset[Path]

    @property
    def canaries(self) -> list[DocumentEntry]:
        """The entries of `canaries`; none where that is no list."""
        listed = self.root.children.get("canaries")
        return [] if listed is None else listed.rows

    def with_canaries(self, canaries: list[DocumentEntry]) -> "ConfigDocument":
        """The document with these entries of `canaries` instead."""
        listed = replace(self.root.children["canaries"], value=canaries)
        return replace(self, root=self.root.with_children(canaries=listed))

    def problem(self, path: Path, message: str) -> ConfigProblem:
        """A problem at this path, with the line of the nearest path that the file has."""
        known = path
        while known not in self.lines:
            known = known[:-1]
        return ConfigProblem(file=self.name, path=dotted(path), line=self.lines[known], message=message)


def read(text: str, name: str, environment: Mapping[str, str]) -> ConfigDocument:
    """Parse one YAML document. Raises ConfigError if the text is not YAML, or not a mapping."""
    reader = _Reader(name, environment)
    root = reader.entry(_compose(text, name), (), 1, ())
    if root.value is None:
        root = DocumentEntry(path=(), line=1, value={})
    if not isinstance(root.value, dict):
        message = "the file must be a mapping, such as `providers: …`"
        raise ConfigError([ConfigProblem(file=name, path="", line=1, message=message)])
    lines = {entry.path: entry.line for entry in root.walk()}
    return ConfigDocument(
        name=name,
        root=root,
        lines=lines,
        problems=tuple(reader.problems),
        spoilt=frozenset(reader.spoilt),
    )


def _compose(text: str, name: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        line, message = words_of(error, text)
    raise ConfigError([ConfigProblem(file=name, path="", line=line, message=message)])


class _Reader:
    """Turns YAML nodes into entries and collects their problems."""

    def __init__(self, name: str, environment: Mapping[str, str]) -> None:
        self.name = name
        self.environment = environment
        self.problems: list[ConfigProblem] = []
        self.spoilt: set[Path] = set()

    def complain(self, path: Path, line: int, message: str) -> None:
        self.problems.append(ConfigProblem(file=self.name, path=dotted(path), line=line, message=message))

    def entry(
        self, node: yaml.Node | None, path: Path, line: int, above: tuple[yaml.Node, ...]
    ) -> DocumentEntry:
        if node is None:
            return DocumentEntry(path=path, line=line, value=None)
        if node in above:  # endless recursion otherwise
            self.complain(path, line, "this alias is inside its own anchor")
            self.spoilt.add(path)
            return DocumentEntry(path=path, line=line, value=None)
        if node.tag not in _IMPLICIT:
            self.complain(path, line, f"YAML tags such as {node.tag} are not supported")
        inside = (*above, node)
        if isinstance(node, yaml.MappingNode):
            return DocumentEntry(path=path, line=line, value=self.mapping(node, path, inside))
        if isinstance(node, yaml.SequenceNode):
            rows = [
                self.entry(item, (*path, index), item.start_mark.line + 1, inside)
                for index, item in enumerate(node.value)
            ]
            return DocumentEntry(path=path, line=line, value=rows)
        value = self.scalar(node, path, line)
        return DocumentEntry(path=path, line=line, value=value, refers=bool(_REFERENCE.search(node.value)))

    def mapping(
        self, node: yaml.MappingNode, path: Path, inside: tuple[yaml.Node, ...]
    ) -> dict[str, DocumentEntry]:
        entries: dict[str, DocumentEntry] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                self.complain(path, line, "a key must be plain text")
            elif key.value in entries:
                first = entries[key.value].line
                self.complain((*path, key.value), line, f"duplicate key; the first is in line {first}")
            else:
                entries[key.value] = self.entry(value, (*path, key.value), line, inside)
        return entries

    def scalar(self, node: yaml.Node, path: Path, line: int) -> Scalar | None:
        if node.tag == _NULL:
            return None
        plain = isinstance(node, yaml.ScalarNode) and node.style is None
        if plain and is_typed(path):
            return self.typed(node.value, path, line)
        return self.expanded(node.value, path, line)

    def typed(self, text: str, path: Path, line: int) -> Scalar | None:
        """A value without quotes, by the core schema of YAML 1.2. What a variable holds is text."""
        if _NOT_JSON.fullmatch(text):
            self.complain(path, line, "must be a finite number; JSON has no other")
            return None
        if _INTEGER.fullmatch(text):
            return int(text)
        if _NUMBER.fullmatch(text):
            return float(text)
        return _BOOLEANS[text] if text in _BOOLEANS else self.expanded(text, path, line)

    def expanded(self, text: str, path: Path, line: int) -> str | None:
        try:
            return expand(text, self.environment)
        except BadReference as error:
            self.complain(path, line, str(error))
            self.spoilt.add(path)
            return None


_REFERENCE = re.compile(
    r"(?P<escaped>\$\$\{)|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<fallback>:-(?:[^}$]|\$(?!\{))*)?\}|(?P<broken>\$\{)"
)


class BadReference(ValueError):
    """A malformed reference, or one to an unset variable without a default."""


def expand(text: str, environment: Mapping[str, str]) -> str:
    """Replace the references in a text. As in a shell, `:-` applies to unset and empty variables.

    Raises BadReference; its message never contains a variable's value.
    """

    def value(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "${"
        if match["broken"]:
            raise BadReference("cannot read this ${…}; write ${NAME} or ${NAME:-default}")
        name, fallback = match["name"], match["fallback"]
        found = environment.get(name)
        if fallback is not None:
            return found or fallback.removeprefix(":-")
        if found is None:
            raise BadReference(f"the variable {name} is not set; set it, or write ${{{name}:-default}}")
        return found

    return _REFERENCE.sub(value, text)
