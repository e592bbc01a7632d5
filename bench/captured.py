"""What users asked and the current model answered, as datasets take it. Chooses none of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bench import sampling
from bench.example import Task
from records.capture import Capture
from records.capture_store import CaptureStore
from records.labels import Label, Labels
from records.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """An exchange, what somebody found in it, and the candidate's answer to a copy of it."""

    capture: Capture
    label: Label | None
    other: str | None

    def line(self, task: Task) -> dict[str, Any]:
        """The dataset's line that it becomes."""
        return sampling.line(self.capture, task, self.label, self.other)


def captured(store: Store, name: str, *, since: float) -> Iterator[Captured]:
    """All of the canary of this name, or else of the canaries NAME-…, one after the other, from `since` (UTC
    seconds) on. A candidate that was promoted is the current model. Raises StoreDown."""
    states = {each: known.state.state for each, known in store.states().items()}
    line = [each for each in states if each.startswith(f"{name}-")]
    for canary in [name] if name in states or not line else line:
        current = "candidate" if states.get(canary) == "promoted" else "baseline"
        yield from _of(store, canary, current, since)


def _of(store: Store, canary: str, current: str, since: float) -> Iterator[Captured]:
    captures, labels = CaptureStore(store), Labels(store).of(canary)
    pairs = captures.pairs(canary, since=since) if labels else iter(())
    others = {real.about.exchange_id: copy.answer for real, copy in pairs}
    for each in captures.read(canary, since=since):
        if (each.about.served_by or each.about.arm) == current:
            id_ = each.about.exchange_id
            yield Captured(capture=each, label=labels.get(id_), other=others.get(id_))
