"""The files of arms' prompts and tool descriptions: their texts take their places in the document, before
anything is checked.

A canary that has started keeps the texts of its start (`records.facts.arm_texts`). A text is the file's, in
UTF-8, without its last line end.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from canary.config.errors import Path as Place
from canary.config.yaml_document import ConfigDocument, DocumentEntry
from records.facts.arm_texts import NOTHING_KEPT, KeptTexts

_ARMS: tuple[str, ...] = ("baseline", "candidate")
_TEXTS: tuple[str, ...] = ("prompt", "tools")
LARGEST = 16 << 20
"""Bytes of one text."""


class BadText(ValueError):
    """A file is no text of an arm. The message says why."""


@dataclass(slots=True, kw_only=True)
class ArmFiles:
    """Puts texts in the places of files. `read`: the files; `changed`: by canary, those with another text
    than at its start."""

    folder: Path
    kept: KeptTexts = NOTHING_KEPT
    read: list[Path] = field(default_factory=list)
    changed: dict[str, list[str]] = field(default_factory=dict)
    _problems: list[tuple[Place, str]] = field(default_factory=list)

    def in_config(self, document: ConfigDocument, kept: Callable[[], KeptTexts]) -> ConfigDocument:
        """The document with the texts of all canaries' arms. `kept` is asked if there are any."""
        listed = _children(document.root).get("canaries")
        if listed is None or not isinstance(listed.value, list) or not any(map(_has_texts, listed.value)):
            return document
        self.kept = kept()
        canaries = [self._canary(each) for each in listed.value]
        root = {**_children(document.root), "canaries": replace(listed, value=canaries)}
        return self._told(document, root)

    def in_arm(self, document: ConfigDocument) -> ConfigDocument:
        """The document of one arm with its texts."""
        return self._told(document, _children(self._arm("", document.root)))

    def _told(self, document: ConfigDocument, root: dict[str, DocumentEntry]) -> ConfigDocument:
        problems = [document.problem(place, message) for place, message in self._problems]
        return replace(
            document,
            root=replace(document.root, value=root),
            problems=(*document.problems, *problems),
            spoilt=document.spoilt | {place for place, _ in self._problems},
        )

    def _canary(self, entry: DocumentEntry) -> DocumentEntry:
        if not _has_texts(entry):
            return entry
        children = _children(entry)
        named = children.get("name")
        name = named.value if named is not None and isinstance(named.value, str) else ""
        arms = {key: self._arm(name, children[key]) for key in _ARMS if key in children}
        return replace(entry, value={**children, **arms})

    def _arm(self, canary: str, entry: DocumentEntry) -> DocumentEntry:
        children = _children(entry)
        filled = {key: self._texts(canary, children[key]) for key in _TEXTS if key in children}
        return replace(entry, value={**children, **filled}) if filled else entry

    def _texts(self, canary: str, entry: DocumentEntry) -> DocumentEntry:
        if not isinstance(entry.value, dict):
            return entry
        return replace(entry, value={key: self._text(canary, each) for key, each in entry.value.items()})

    def _text(self, canary: str, entry: DocumentEntry) -> DocumentEntry:
        """The file with its text; unchanged where the text stands there already."""
        file = entry.value
        if not isinstance(file, str):
            return entry
        kept = self.kept.text(canary, file)
        self.read.append((self.folder / file).absolute())
        try:
            text = text_of(self.folder / file)
        except BadText as problem:
            if kept is None:
                self._problems.append((entry.path, str(problem)))
                return entry
            text = None
        if kept is not None and text != kept:
            self.changed.setdefault(canary, []).append(file)
        found = {"file": file, "text": text if kept is None else kept}
        places = {key: (*entry.path, key) for key in found}
        return replace(
            entry,
            value={key: DocumentEntry(path=places[key], line=entry.line, value=found[key]) for key in found},
        )


def text_of(file: Path) -> str:
    """A file's text without its last line end. Raises BadText."""
    try:
        if file.stat().st_size > LARGEST:
            raise BadText(f"{file} is over {LARGEST >> 20} MiB")
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise BadText(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadText(f"{file} is not UTF-8") from error
    if "\0" in text:
        raise BadText(f"{file} is no text: it has a byte 0")
    return text.removesuffix("\n").removesuffix("\r") if text.endswith("\r\n") else text.removesuffix("\n")


def _has_texts(entry: DocumentEntry) -> bool:
    arms = (_children(entry).get(key) for key in _ARMS)
    return any(key in _children(arm) for arm in arms if arm is not None for key in _TEXTS)


def _children(entry: DocumentEntry) -> dict[str, DocumentEntry]:
    return entry.value if isinstance(entry.value, dict) else {}
