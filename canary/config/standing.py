"""Standing canaries in the file: each begun trial becomes an entry of its own, before anything is checked.

A trial's entry is the standing one, under its own name, with the arms and the TERMS with which it began. The
standing entry has the baseline in force, and its candidate what the next one takes over.
Problems of both are told at the standing entry's lines.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from canary.config.errors import Path
from canary.config.yaml_document import ConfigDocument, DocumentEntry, is_typed
from control.settings import CanarySettings, StandingCanary
from records.facts.standing import TERMS, ArmDocument, Standing, taken_over

NOTHING = Standing()
_ARMS = ("baseline", "candidate")


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingEntries:
    """The standing entries of a document, by name. False when there are none."""

    document: ConfigDocument
    entries: Mapping[str, DocumentEntry]

    @classmethod
    def of(cls, document: ConfigDocument) -> "StandingEntries":
        """Find them. What has no name, or arms of another shape, is left to the schema."""
        found = {each.text("name"): each for each in document.canaries if each.text("standing") == "true"}
        whole = {name: each for name, each in found.items() if name and all(_arm(each, arm) for arm in _ARMS)}
        return cls(document=document, entries=whole)

    def __bool__(self) -> bool:
        return bool(self.entries)

    @property
    def store(self) -> str:
        """The URL of the store."""
        return self.document.root.text("store") or "sqlite:///canary.db"

    @property
    def data(self) -> str:
        """The data folder as the file has it; "" where it has none."""
        return self.document.root.text("data")

    def expanded(self, begun: Mapping[str, Standing]) -> ConfigDocument:
        """The document with an entry for each trial, and the baselines that were promoted."""
        if not self:
            return self.document
        canaries = []
        for each in self.document.canaries:
            name = each.text("name")
            if self.entries.get(name) is not each:
                canaries.append(each)
                continue
            known = begun.get(name, NOTHING)
            canaries.append(_next_terms(each, known))
            for trial, one in known.open.items():
                by_hand = {"start": "manual"} if one.by_hand else {}
                arms = {"baseline": one.baseline, "candidate": one.candidate}
                entry = _with(each, **arms, **by_hand, **one.terms, name=trial)
                gone = {"standing", *(TERMS if one.terms else ())} - one.terms.keys()
                value = {key: child for key, child in entry.children.items() if key not in gone}
                canaries.append(replace(entry, value=value))
        return self.document.with_canaries(canaries)

    def settings(
        self, terms: Mapping[str, CanarySettings], begun: Mapping[str, Standing]
    ) -> Mapping[str, StandingCanary]:
        """Each standing canary, by its terms from the config."""
        return {
            name: StandingCanary(
                terms=each,
                begun=begun.get(name, NOTHING),
                entry=_plain(self.entries[name]),
            )
            for name, each in terms.items()
        }


def _next_terms(entry: DocumentEntry, begun: Standing) -> DocumentEntry:
    """The standing entry with the baseline in force, and the candidate that the next order gets."""
    if (baseline := begun.arm) is not None:
        entry = _with(entry, baseline=baseline)
    arms = entry.children
    taken = taken_over(*(_plain(arms[each]) for each in _ARMS))
    return entry.with_children(candidate=_with(arms["candidate"], **taken)) if taken else entry


def _arm(entry: DocumentEntry, key: str) -> ArmDocument:
    """The arm as a mapping of plain values; empty if it has another shape."""
    found = entry.children.get(key)
    return _plain(found) if found is not None else {}


def _plain(entry: DocumentEntry) -> dict[str, Any]:
    plain = entry.plain(frozenset(), {})
    return plain if isinstance(plain, dict) else {}


def _with(entry: DocumentEntry, **values: Any) -> DocumentEntry:
    """The entry with other values of these keys."""
    fresh = {key: _entry(value, (*entry.path, key), entry.line) for key, value in values.items()}
    return entry.with_children(**fresh)


def _entry(value: Any, path: Path, line: int) -> DocumentEntry:
    """A plain value as the file would have it: outside an arm's request every scalar is text."""
    made: Any = value
    if isinstance(value, Mapping):
        made = {key: _entry(child, (*path, key), line) for key, child in value.items()}
    elif isinstance(value, list | tuple):
        made = [_entry(child, (*path, index), line) for index, child in enumerate(value)]
    elif not is_typed(path) and value is not None and not isinstance(value, str):
        made = (
            str(value).lower()
            if isinstance(value, bool)
            else f"{value:g}"
            if isinstance(value, float)
            else str(value)
        )
    return DocumentEntry(path=path, line=line, value=made)
