"""Replays a spool into a store, and dies of it as often as it is told to: a program of its own.

    python -m tests.reliability.replayer FOLDER STORE-URL KILLS SEED

Each life is a forked process, killed with SIGKILL at a random moment after a random number of batches; the
last one lives to the end. Prints how many were killed at work.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from records.store import Store, shipper
from records.store.shipper import Shipper

A_BATCH = 20
LONGEST_MIDWAY_S = 0.004


def live(data: Path, url: str, told: int) -> None:
    """Ship everything there is; a byte to `told` after each batch."""
    shipper.BATCH = A_BATCH
    store = Store.open(url, data)
    worker = Shipper(data / "spool", store, shipped=lambda batch: os.write(told, b".") and None)
    sys.exit(not worker.drain())


def killed(data: Path, url: str, after: int, midway_s: float) -> bool:
    """One life, killed so many batches and seconds after it began; False when it had ended by itself."""
    heard, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(heard)
        live(data, url, told)
    os.close(told)
    for _ in range(after):
        os.read(heard, 1)
    time.sleep(midway_s)
    os.kill(pid, signal.SIGKILL)
    os.close(heard)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def main() -> None:
    data, url, kills, dice = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), random.Random(sys.argv[4])
    done = sum(
        killed(data, url, dice.randrange(4), dice.uniform(0.0, LONGEST_MIDWAY_S)) for _ in range(kills)
    )
    print(done, flush=True)
    live(data, url, os.open(os.devnull, os.O_WRONLY))


if __name__ == "__main__":
    main()
