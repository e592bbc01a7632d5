"""Answers of a run that was interrupted, on disk, so that none is paid for twice. Gone once it is whole."""

import time
from pathlib import Path
from typing import Protocol

import msgspec

from bench.answer import Answer

FRESH_S = 86400.0
"""What is older is asked again: a model's answers of last week are no part of today's run."""


class SavedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the file: which question of which model, its answer, and when (UTC seconds)."""

    model: str
    question: str
    answer: Answer
    at: float


class AnswerStore(Protocol):
    """Where answers are kept meanwhile."""

    def get(self, model: str, question: str) -> Answer | None: ...
    def put(self, model: str, question: str, answer: Answer) -> None: ...


class NoSavedAnswers:
    """Keeps nothing: for a handful of questions."""

    def get(self, model: str, question: str) -> Answer | None:
        return None

    def put(self, model: str, question: str, answer: Answer) -> None:
        return None


class SavedAnswers:
    """The answers of one file by model and question; failures are not kept, they are worth another try."""

    def __init__(self, path: Path, *, now: float) -> None:
        self._path = path
        self._known: dict[tuple[str, str], Answer] = {}
        for row in _rows(path):
            if now - row.at < FRESH_S:
                self._known[row.model, row.question] = row.answer
        self.found = len(self._known)

    def get(self, model: str, question: str) -> Answer | None:
        """An answer that was kept, without its latency: nobody waited for it now."""
        known = self._known.get((model, question))
        return None if known is None else msgspec.structs.replace(known, latency_s=None)

    def put(self, model: str, question: str, answer: Answer) -> None:
        """Keep an answer; it is in the file when this returns."""
        if answer.text is None:
            return
        row = SavedAnswer(model=model, question=question, answer=answer, at=time.time())
        with self._path.open("ab") as file:
            file.write(msgspec.json.encode(row) + b"\n")

    def forget(self) -> None:
        """The run is whole."""
        self._path.unlink(missing_ok=True)


def _rows(path: Path) -> list[SavedAnswer]:
    """Those that can be read; the last line may be torn."""
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
