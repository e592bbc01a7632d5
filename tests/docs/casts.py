"""`make cast`: records the demo, its verdict and the first hour in a terminal, and draws them for the site.

The recordings themselves (asciicast v2, for any player) go to build/casts.
"""

import json
import os
import re
import select
import signal
import subprocess
import sys
import termios
import time
from codecs import getincrementaldecoder
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.docs.cast_svg import Recording, animated_svg

ROOT = Path(__file__).parents[2]
DRAWN, KEPT = ROOT / "docs/casts", ROOT / "build/casts"
COLUMNS, ROWS = 90, 30
SILENT_S = 120
NEXT_CHAPTER, DETAILS = "a candidate whose status", "Layers of evidence"
ROLLBACK = "A terminal runs canary demo: a candidate begins to fail, is rolled back, and on-call is paged"
FIRST_HOUR = "A terminal runs canary init, check and serve, sends a request by curl, and reads canary status"
ASK = (
    "curl -s -D - -o answer.json http://127.0.0.1:8080/v1/chat/completions -H 'authorization: Bearer any' "
    """-H "x-canary-unit: {}" --json '{{"model": "gpt-5.6-terra", "messages": [{{"role": "user", """
    """"content": "Hello"}}]}}' | grep {}"""
)
BEGIN = (
    "canary begin app --model gpt-6.1-terra",
    "canary start app-gpt-6.1-terra --reason 'a first try'",
)
ANSWERS = ("", "http://127.0.0.1:8082/v1", "gpt-5.6-terra", "", "9000", "", "20%", "", "", "")
VERDICT = "A terminal runs canary status and canary report: two candidates rolled back, one to ship"

Event = tuple[float, str]


def main() -> None:
    """Record all in folders of their own, and write them."""
    record_demo()
    record_first_hour()


def record_first_hour() -> None:
    """From `canary init` to a candidate's first request. Takes the ports 8080 to 8082."""
    with (
        TemporaryDirectory() as folder,
        closing(play("canary demo --provider", Path(folder))) as provider,
        closing(play("canary serve", Path(folder))) as server,
    ):
        events = until(provider, "listening on")
        events += play("canary init --share 50%", Path(folder), answers=ANSWERS)
        events += play("canary check", Path(folder))
        events += until(server, "tries another")
        asking = f"for user in 1 2 3 4; do {ASK.format('$user', 'x-canary-arm')}; done"
        for command in (ASK.format("ann", "x-canary"), *BEGIN, asking, "canary status"):
            events += play(command, Path(folder))
    write("first-hour", events, FIRST_HOUR)


def record_demo() -> None:
    """The demo, and what it leaves."""
    with TemporaryDirectory() as folder, closing(play("canary demo --keep", Path(folder))) as demo:
        rollback = until(demo, NEXT_CHAPTER)
        token = re.search(r"token\s+(\w{64})", "".join(text for _, text in until(demo, "press Ctrl-C")))
        assert token, "the demo did not tell its token"
        own = {"CANARY_ADMIN_TOKEN": token[1], "CANARY_DATA": "data-0"}
        verdict = [
            event
            for command in ("canary status", "canary report passes")
            for event in play(command, Path(folder, "canary-demo"), own)
        ]
    write("rollback", before_line(rollback, NEXT_CHAPTER), ROLLBACK)
    write("verdict", before_line(verdict, DETAILS), VERDICT)


def play(
    command: str, folder: Path, own: Mapping[str, str] | None = None, *, answers: Sequence[str] = ()
) -> Generator[Event]:
    """Run a shell command in a terminal: its prompt, then its output as it comes, and the answers that a
    person types. Closed, it ends."""
    yield time.monotonic(), f"\x1b[1;32m$\x1b[0m \x1b[1m{command}\x1b[0m\r\n"
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (ROWS, COLUMNS))
    process = subprocess.Popen(
        ["sh", "-c", command], cwd=folder, env=environment() | dict(own or {}),
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    try:
        yield from answered(ours, answers)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        os.close(ours)


def environment() -> dict[str, str]:
    """This environment without what would colour or address otherwise, and this Python's `canary` first."""
    rest = {name: value for name, value in os.environ.items() if not name.startswith(("CANARY_", "NO_COLOR"))}
    return rest | {"TERM": "xterm-256color", "PATH": f"{Path(sys.executable).parent}:{rest['PATH']}"}


def output(terminal: int) -> Iterator[Event]:
    """What a terminal's programs print, until the last of them has ended. Raises TimeoutError."""
    decoder = getincrementaldecoder("utf-8")()
    while True:
        if not select.select([terminal], [], [], SILENT_S)[0]:
            raise TimeoutError(f"it said nothing for {SILENT_S} s")
        try:
            some = os.read(terminal, 65536)
        except OSError:  # EIO: nobody holds the other side
            return
        yield time.monotonic(), decoder.decode(some)


def answered(terminal: int, answers: Sequence[str]) -> Iterator[Event]:
    """The output; whenever its last line ends as a question, the next answer is typed."""
    left, line = deque(answers), ""
    for second, text in output(terminal):
        yield second, text
        line = (line + text).rpartition("\n")[2]
        if left and line.endswith(": "):
            os.write(terminal, f"{left.popleft()}\n".encode())


def until(events: Iterable[Event], phrase: str) -> list[Event]:
    """The events up to the one that completes the phrase. Raises EOFError if it never comes."""
    seen: list[Event] = []
    for event in events:
        seen.append(event)
        if phrase in "".join(text for _, text in seen):
            return seen
    raise EOFError(f"it ended before {phrase!r}: {''.join(text for _, text in seen)}")


def before_line(events: Sequence[Event], phrase: str) -> list[Event]:
    """The events before the line that has the phrase."""
    text = "".join(text for _, text in events)
    left = text.rindex("\n", 0, text.index(phrase)) + 1
    kept = []
    for second, part in events:
        kept.append((second, part[:left]))
        left = max(0, left - len(part))
    return [event for event in kept if event[1]]


def write(name: str, events: Sequence[Event], title: str) -> None:
    """The recording as an asciicast, and drawn."""
    began = events[0][0]
    recording = Recording(COLUMNS, ROWS, [(second - began, text) for second, text in events])
    KEPT.mkdir(parents=True, exist_ok=True)
    (KEPT / f"{name}.cast").write_text(
        "".join(f"{json.dumps(line)}\n" for line in asciicast(recording, title))
    )
    DRAWN.mkdir(exist_ok=True)
    (DRAWN / f"{name}.svg").write_text(animated_svg(recording, title))
    print(f"docs/casts/{name}.svg; the recording: build/casts/{name}.cast")


def asciicast(recording: Recording, title: str) -> list[object]:
    """https://docs.asciinema.org/manual/asciicast/v2/: a header, then the events, one a line."""
    header = {"version": 2, "width": recording.columns, "height": recording.rows, "title": title}
    return [header, *([round(second, 3), "o", text] for second, text in recording.events)]


if __name__ == "__main__":
    main()
