"""Saves a run's answers on disk, so that after an interruption none is paid for twice. Removed at the end."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import msgspec

from bench.models.asker import Answer, Asker
from bench.models.wires import NO_EXTRAS, Extras
from records.captures.capture import CapturedMessage

Row = TypeVar("Row")

FRESH_S = 86400.0
"""Older answers are asked again, because the model may have changed."""

BATCH_FRESH_S = 2 * FRESH_S
"""A batch may itself take a day."""


class SavedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the file: model, question, answer, and time (UTC seconds)."""

    model: str
    question: str
    answer: Answer
    at: float


class SavedBatch(msgspec.Struct, frozen=True, kw_only=True):
    """Another form of line: a batch that the model's provider has taken, by the provider's id."""

    model: str
    batch: str
    at: float


class AnswerStore(Protocol):
    """Saves answers during a run."""

    def get(self, model: str, question: str) -> Answer | None: ...
    def put(self, model: str, question: str, answer: Answer) -> None: ...


async def ask_once(
    asker: Asker,
    question: str,
    messages: Sequence[CapturedMessage],
    saved: AnswerStore,
    extras: Extras = NO_EXTRAS,
    *,
    logprobs: bool = False,
    keeps: Callable[[str], bool] = lambda text: True,
) -> Answer:
    """The saved answer to a question, or a new one, which is saved if it `keeps` its text."""
    known = saved.get(asker.target.name, question)
    if known is not None:
        return known
    answer = await asker.ask(messages, extras, logprobs=logprobs)
    if answer.text is not None and keeps(answer.text):
        saved.put(asker.target.name, question, answer)
    return answer


class NoSavedAnswers:
    """Saves nothing, for a few questions."""

    def get(self, model: str, question: str) -> Answer | None:
        return None

    def put(self, model: str, question: str, answer: Answer) -> None:
        return None


class SavedAnswers:
    """The answers in one file, by model and question, and the batches that were sent.

    Failures are not saved, so they are tried again; nor is what a judge said without a mark. `found` answers
    are of an earlier run, `count` of this one too.
    """

    def __init__(self, path: Path, *, now: float) -> None:
        self.path = path
        self._known: dict[tuple[str, str], Answer] = {}
        for row in _rows(path, SavedAnswer):
            if now - row.at < FRESH_S:
                self._known[row.model, row.question] = row.answer
        self._batches = [row for row in _rows(path, SavedBatch) if now - row.at < BATCH_FRESH_S]
        self.found = len(self._known)
        self.count = self.found

    def get(self, model: str, question: str) -> Answer | None:
        """A saved answer, without its latency, which is not of this run."""
        known = self._known.get((model, question))
        return None if known is None else msgspec.structs.replace(known, latency_s=None)

    def put(self, model: str, question: str, answer: Answer) -> None:
        """Save an answer. It is in the file when this returns."""
        if answer.text is None:
            return
        self._append(SavedAnswer(model=model, question=question, answer=answer, at=time.time()))
        self.count += 1

    def batches(self, model: str) -> list[str]:
        """The ids of the batches that an interrupted run sent to this model, in order."""
        return [row.batch for row in self._batches if row.model == model]

    def put_batch(self, model: str, batch: str) -> None:
        """Save the id of a batch. It is in the file when this returns."""
        self._append(SavedBatch(model=model, batch=batch, at=time.time()))

    def _append(self, row: SavedAnswer | SavedBatch) -> None:
        with self.path.open("ab") as file:
            file.write(msgspec.json.encode(row) + b"\n")

    def delete(self) -> None:
        """Delete the file, after a complete run."""
        self.path.unlink(missing_ok=True)


def _rows(path: Path, form: type[Row]) -> list[Row]:
    """The readable rows of one form. The last line may be incomplete."""
    found: list[Row] = []
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    for line in lines:
        try:
            found.append(msgspec.json.decode(line, type=form))
        except msgspec.DecodeError:
            continue
    return found
