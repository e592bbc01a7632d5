"""`canary status --watch` against the real server, in a terminal and out of one."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.e2e.stage import Stage, on_stage
from tests.serving import eventually

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
canaries:
  - name: support-nov
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-4o-2024-11-20}}
    ramp: [{{share: 5%, for: 1h}}, {{share: 20%, for: 1h}}]
    settle: 0s
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with on_stage(tmp_path_factory.mktemp("watching"), CONFIG) as up:
        yield up


def command(stage: Stage, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "canary", "status", *arguments, "--data", str(stage.server.data)]


def test_out_of_a_terminal_it_writes_changes_until_the_state_is_there(stage: Stage) -> None:
    asked = command(stage, "support-nov", "--until", "paused")
    with subprocess.Popen(asked, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        assert "support-nov running, step 1/2, share 5 % set" in watching.stdout.readline()
        assert stage.canary("pause", "support-nov").returncode == 0
        rest = watching.stdout.read()
        assert "support-nov paused" in rest.splitlines()[-1]
        assert watching.wait(20.0) == 0
    assert stage.canary("resume", "support-nov", "--reason", "again").returncode == 0


def heeding_ctrl_c() -> None:
    """As a terminal's shell starts a program; what a shell has put into the background ignores Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_in_a_terminal_it_draws_until_ctrl_c_and_leaves_the_last_picture(stage: Stage) -> None:
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    watching = subprocess.Popen(
        command(stage, "--watch"),
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.STDOUT,
        env=env,
        preexec_fn=heeding_ctrl_c,
    )
    os.close(theirs)
    seen = bytearray()

    def drawn_twice() -> bool:
        seen.extend(os.read(ours, 65536))
        return seen.count(b"Step 1 of 2") >= 2

    try:
        eventually(drawn_twice)
        watching.send_signal(signal.SIGINT)
        while (more := rest_of(ours)) != b"":
            seen.extend(more)
        assert watching.wait(20.0) == 0
    finally:
        watching.kill()
        watching.wait()
        os.close(ours)
    assert b"support-nov" in seen.rpartition(b"\x1b[?1049l")[2]


def rest_of(terminal: int) -> bytes:
    """What more it says; nothing once the other end is closed."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--until", "done"), 2, "use one of: waiting, running"),
        (("other",), 1, "the server has no canary 'other'; it has: support-nov"),
    ],
)
def test_a_mistake_is_named_with_what_would_be_right(
    stage: Stage, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = stage.canary("status", *arguments)
    assert (done.returncode, said in done.stderr) == (code, True)
