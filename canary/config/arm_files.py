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
        if not any(map(_has_texts, document.canaries)):
            return document
        self.kept = kept()
        return self._told(document.with_canaries([self._canary(each) for each in document.canaries]))

    def in_arm(self, document: ConfigDocument) -> ConfigDocument:
        """The document of one arm with its texts."""
        return self._told(replace(document, root=self._arm("", document.root)))

    def _told(self, document: ConfigDocument) -> ConfigDocument:
        problems = [document.problem(place, message) for place, message in self._problems]
        return replace(
            document,
            problems=(*document.problems, *problems),
            spoilt=document.spoilt | {place for place, _ in self._problems},
        )

    def _canary(self, entry: DocumentEntry) -> DocumentEntry:
        if not _has_texts(entry):
            return entry
        name, arms = entry.text("name"), entry.children
        return entry.with_children(**{key: self._arm(name, arms[key]) for key in _ARMS if key in arms})

    def _arm(self, canary: str, entry: DocumentEntry) -> DocumentEntry:
        parts = entry.children
        filled = {key: self._texts(canary, parts[key]) for key in _TEXTS if key in parts}
        return entry.with_children(**filled) if filled else entry

    def _texts(self, canary: str, entry: DocumentEntry) -> DocumentEntry:
        filled = {key: self._text(canary, each) for key, each in entry.children.items()}
        return entry.with_children(**filled) if filled else entry

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
        value = {
            key: DocumentEntry(path=(*entry.path, key), line=entry.line, value=each)
            for key, each in found.items()
        }
        return replace(entry, value=value)


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
    arms = (entry.children.get(key) for key in _ARMS)
    return any(key in arm.children for arm in arms if arm is not None for key in _TEXTS)
