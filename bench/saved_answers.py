"""Saves a run's answers on disk, so that after an interruption none is paid for twice. Removed at the end."""

import time
from pathlib import Path
from typing import Protocol

import msgspec

from bench.answer import Answer

FRESH_S = 86400.0
"""Older answers are asked again, because the model may have changed."""


class SavedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the file: model, question, answer, and time (UTC seconds)."""

    model: str
    question: str
    answer: Answer
    at: float


class AnswerStore(Protocol):
    """Saves answers during a run."""

    def get(self, model: str, question: str) -> Answer | None: ...
    def put(self, model: str, question: str, answer: Answer) -> None: ...


class NoSavedAnswers:
    """Saves nothing, for a few questions."""

    def get(self, model: str, question: str) -> Answer | None:
        return None

    def put(self, model: str, question: str, answer: Answer) -> None:
        return None


class SavedAnswers:
    """The answers in one file, by model and question. Failures are not saved, so they are tried again."""

    def __init__(self, path: Path, *, now: float) -> None:
        self._path = path
        self._known: dict[tuple[str, str], Answer] = {}
        for row in _rows(path):
            if now - row.at < FRESH_S:
                self._known[row.model, row.question] = row.answer
        self.found = len(self._known)

    def get(self, model: str, question: str) -> Answer | None:
        """A saved answer, without its latency, which is not of this run."""
        known = self._known.get((model, question))
        return None if known is None else msgspec.structs.replace(known, latency_s=None)

    def put(self, model: str, question: str, answer: Answer) -> None:
        """Save an answer. It is in the file when this returns."""
        if answer.text is None:
            return
        row = SavedAnswer(model=model, question=question, answer=answer, at=time.time())
        with self._path.open("ab") as file:
            file.write(msgspec.json.encode(row) + b"\n")

    def delete(self) -> None:
        """Delete the file, after a complete run."""
        self._path.unlink(missing_ok=True)


def _rows(path: Path) -> list[SavedAnswer]:
    """The readable rows. The last line may be incomplete."""
    found = []
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    for line in lines:
        try:
            found.append(msgspec.json.decode(line, type=SavedAnswer))
        except msgspec.DecodeError:
            continue
    return found
