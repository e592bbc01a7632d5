"""Measures what it costs to know which arm each session has: memory, the file, and how soon others know.

.venv/bin/python -m benchmarks.known_sessions [--redis redis://127.0.0.1:6379/0]
"""

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import median
from uuid import uuid4

from control.feed.sessions import SessionsPublisher
from records.shared import states_channel
from records.shared.session_arms import MOST_KNOWN, NAME, SessionArms, SessionsFile
from records.shared.session_news import KEPT, SessionNews, encoded, open_news
from records.shared.stream import SessionsStream
from records.store import Store
from routing.sessions import SessionArm

REPEATS = 2_000
TIMES = 40


def an_arm() -> SessionArm:
    session, unit, now = uuid4().hex, uuid4().hex, time.time()
    return SessionArm("coders", session, unit, 2**31 + 7, "candidate", "cohort", 1, 2, 0.05, now, now, 2)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def microseconds(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    for _ in range(REPEATS):
        act()
    return (time.perf_counter() - began) / REPEATS * 1e6


def memory() -> None:
    """What a process holds of MOST_KNOWN sessions."""
    before, known = resident_bytes(), SessionArms()
    known.hear(an_arm() for _ in range(MOST_KNOWN))
    held = resident_bytes() - before
    arms = [*known.lines()]
    print(f"{MOST_KNOWN:,} sessions in memory: {held / 1e6:.1f} MB a process")
    with tempfile.TemporaryDirectory() as folder:
        file = SessionsFile(Path(folder) / NAME)
        for _ in range(2):
            file.write(arms, known)
        size = (Path(folder) / NAME).stat().st_size
    print(
        f"the file, {2 * MOST_KNOWN:,} lines: {size / 1e6:.1f} MB; {size / 2 / MOST_KNOWN:.0f} bytes a line"
    )
    print(f"what a machine's processes tell: at most {(KEPT + (2 << 20)) / 1e6:.1f} MB in all")


def news() -> None:
    """What a line costs its writer and its readers."""
    fd = open_news()
    ours, theirs = SessionNews(fd), SessionArms(news=SessionNews(fd))
    arm = an_arm()
    print(f"to tell a session: {microseconds(lambda: ours.tell([arm])):.1f} us")
    began = time.perf_counter()
    theirs.look()
    print(f"to learn a session: {(time.perf_counter() - began) / REPEATS * 1e6:.1f} us")
    print(f"to look for an unknown one in vain: {microseconds(lambda: theirs.find('coders', '')):.1f} us")
    many = [an_arm() for _ in range(MOST_KNOWN)]
    began = time.perf_counter()
    encoded(many)
    print(f"to encode {MOST_KNOWN:,}: {(time.perf_counter() - began) * 1e3:.0f} ms")
    os.close(fd)


async def replicas(url: str) -> None:
    """How soon a worker of another replica knows a session."""
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(Store.open("sqlite:///canary.db", Path(folder))) as store,
    ):
        told, known, loops = [], [], []
        for name in ("one", "other"):
            fd, home = open_news(), Path(folder) / name
            home.mkdir()
            stream = SessionsStream(states_channel.connect(url))
            publisher = SessionsPublisher(home, store, SessionNews(fd), stream=stream)
            told.append(SessionNews(fd))
            known.append(SessionArms(news=SessionNews(fd)))
            loops += [asyncio.ensure_future(each) for each in publisher.loops()]
        found = []
        for _ in range(TIMES):
            arm, began = an_arm(), time.perf_counter()
            told[0].tell([arm])
            while known[1].find(arm.canary, arm.session) is None:  # noqa: ASYNC110 - a worker is not told
                await asyncio.sleep(0.001)
            found.append(time.perf_counter() - began)
            await asyncio.sleep(0.037)
        print(f"known in another replica: {median(found) * 1e3:.0f} ms, at most {max(found) * 1e3:.0f} ms")
        for each in loops:
            each.cancel()
        await asyncio.gather(*loops, return_exceptions=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--redis", default="")
    args = parser.parse_args()
    memory()
    news()
    if args.redis:
        asyncio.run(replicas(args.redis))


if __name__ == "__main__":
    main()
