"""Fills a store, rolls and expires, and dies of it as often as it is told to: a program of its own.

    python -m tests.reliability.roller FOLDER STORE-URL OUTCOMES KILLS SEED

Each life is a forked process with a step to die at, with SIGKILL. Every fifth life has another one beside it,
which lives on and may leave it nothing to die of. The last life lives to the end. Prints how many were killed
at which step, as JSON.
"""

import json
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from records.outcome import Outcome
from records.shared.segment_folder import SegmentFolder
from records.spool.reader import SpoolBatch, SpoolChunk, WriterProcess
from records.store import Store, segment_writer

STEPS = ("begin", "commit", "committed", "write", "half", "written", "delete", "deleted")
"""Before a transaction, before and after its commit, before a file, with half of it, when it has its name,
before and after its end."""

OF_STORE = STEPS[:3]
LATEST = 3
PAIRED = 5
HOUR_S = 3600.0
NOW = 500_000 * HOUR_S
BEFORE = NOW - 100 * HOUR_S
HOURS, EACH = 3, 4


class Death:
    """Kills this process the so-and-so-many-th time that it comes to the step."""

    def __init__(self, step: str, after: int) -> None:
        self._step, self._after = step, after

    def at(self, step: str) -> None:
        if step == self._step:
            self._after -= 1
            if self._after < 0:
                os.kill(os.getpid(), signal.SIGKILL)


class MortalFolder(SegmentFolder):
    """A folder at whose work the process dies."""

    death = Death("", 0)

    def write(self, path: str, content: Any) -> None:
        self.death.at("write")
        half = Path(self.place, f"{path}.1.tmp")
        half.parent.mkdir(parents=True, exist_ok=True)
        half.write_bytes(content[: len(content) // 2])
        self.death.at("half")
        half.unlink()
        super().write(path, content)
        self.death.at("written")

    def delete(self, path: str) -> None:
        self.death.at("delete")
        super().delete(path)
        self.death.at("deleted")


class MortalStore(Store):
    """A store at whose transactions the process dies."""

    death = Death("", 0)

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        self.death.at("begin")
        with super().writing() as connection:
            yield connection
            self.death.at("commit")
        self.death.at("committed")


def live(url: str, data: Path, outcomes: str, death: Death) -> None:
    """Roll and expire what is due."""
    store = MortalStore.at(url, data, segment_writer.TIMEOUTS, outcomes=outcomes)
    MortalStore.death = MortalFolder.death = death
    if store.folder is not None:
        store.folder.__class__ = MortalFolder
    segment_writer.roll(store, NOW)
    segment_writer.expire(store, BEFORE)
    store.close()


def begun(url: str, data: Path, outcomes: str, death: Death) -> int:
    """The pid of a life."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            live(url, data, outcomes, death)
            code = 0
        finally:
            os._exit(code)
    return pid


def outcomes_of(life: int) -> list[Outcome]:
    """What a life finds: a few outcomes of some hours, and as many that have expired."""
    first = NOW - (HOURS + 1) * HOUR_S
    times = [first + hour * HOUR_S + n for hour in range(HOURS) for n in range(EACH)]
    times += [BEFORE - 2 * HOUR_S + n for n in range(EACH)]
    return [
        Outcome(exchange_id=f"exchange-{life}-{n}", at=at, mono=0.0, outcome="ok", canary="c", unit="u")
        for n, at in enumerate(times)
    ]


def fill(url: str, data: Path, outcomes: str, life: int) -> None:
    """Ship them in batches of one spool."""
    found = outcomes_of(life)
    with closing(Store.open(url, data, outcomes=outcomes)) as store:
        for start in range(0, len(found), 5):
            chunk = SpoolChunk("f", WriterProcess("w", 0, "b", 1), list(found[start : start + 5]))
            store.ship(SpoolBatch(chunks=[chunk], cursors={"f": 1000 * life + start}))


def was_killed(pid: int) -> bool:
    """True for a life that was killed; AssertionError for one that failed."""
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, -signal.SIGKILL), code
    return code < 0


def main() -> None:
    url, data, outcomes, kills = sys.argv[2], Path(sys.argv[1]), sys.argv[3], int(sys.argv[4])
    dice, steps = random.Random(sys.argv[5]), OF_STORE if outcomes == "store" else STEPS
    killed = Counter[str]()
    for life in range(kills):
        fill(url, data, outcomes, life)
        step = steps[life % len(steps)]
        after = 0 if step.startswith("delete") else dice.randrange(LATEST)
        lives = [begun(url, data, outcomes, Death(step, after))]
        lives += [begun(url, data, outcomes, Death("", 0))] if life % PAIRED == PAIRED - 1 else []
        killed[step] += sum(map(was_killed, lives))
    assert not was_killed(begun(url, data, outcomes, Death("", 0)))
    print(json.dumps(killed))


if __name__ == "__main__":
    main()
