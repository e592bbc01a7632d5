"""R24: two servers never share a port by accident. The second one ends before it listens, and names the first
one's pid and data folder; with --take-over it shares the port."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from tests.e2e.stage import worker_pids
from tests.reliability.workers import callers_of
from tests.serving import Running, eventually

CONFIG = 'providers: {openai: {api: openai, base_url: "http://127.0.0.1:9/v1"}}'
CALLERS = 64


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("first"), CONFIG, workers=2, grace_s=5.0, env={})
    yield running
    running.kill()


@pytest.fixture
def ending(tmp_path: Path) -> Iterator[Running]:
    """A server that its test ends."""
    running = Running(tmp_path / "ending", CONFIG, workers=1, grace_s=5.0, env={})
    yield running
    running.kill()


def second(first: Running, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """A server that cannot start: what it said."""
    command = [sys.executable, "-m", "canary", "serve", "--config", str(first.config), "--data", str(folder)]
    command += ["--traffic", "127.0.0.1:0", "--admin", "127.0.0.1:0", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("listener", ["traffic", "admin"])
def test_a_second_server_on_a_port_in_use_ends_and_names_the_first(
    first: Running, tmp_path: Path, listener: str
) -> None:
    address = getattr(first, listener).removeprefix("http://")
    done = second(first, tmp_path / "other", f"--{listener}", address)
    assert done.returncode == 1
    assert done.stderr == (
        f"cannot listen at {address}: Address already in use by another canary with data folder {first.data} "
        f"(pid {first.process.pid}); end that process, choose another port, or share it by --take-over\n"
    )
    assert not (tmp_path / "other" / "server.json").exists()


def test_a_second_server_in_the_same_data_folder_names_the_first(first: Running) -> None:
    done = second(first, first.data)
    assert done.returncode == 1
    assert done.stderr == (
        f"{first.data} is in use by another canary (pid {first.process.pid}); give this one its own --data\n"
    )


def test_another_program_on_the_port_is_named(first: Running, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        done = second(first, tmp_path / "other", "--traffic", address)
    name = Path("/proc/self/comm").read_text().strip()
    assert (done.returncode, done.stderr) == (
        1,
        f"cannot listen at {address}: Address already in use by {name} (pid {os.getpid()}); end that "
        "process, choose another port\n",
    )


@pytest.mark.more
def test_a_server_takes_over_a_port_on_purpose_and_the_next_one_is_refused(
    ending: Running, tmp_path: Path
) -> None:
    address = ending.traffic.removeprefix("http://")
    taker = Running(
        tmp_path / "taker", CONFIG, workers=1, grace_s=5.0, env={}, traffic=address, options=["--take-over"]
    )
    try:
        assert ending.stop() == 0
        assert httpx2.get(f"{taker.traffic}/healthz").status_code == 200
        done = second(ending, tmp_path / "third", "--traffic", address)
        assert (done.returncode, f"data folder {taker.data} (pid {taker.process.pid})" in done.stderr) == (
            1,
            True,
        )
    finally:
        taker.kill()


def test_all_workers_of_a_server_get_connections(first: Running) -> None:
    """The first socket belongs to the others' group although it got SO_REUSEPORT after it listened."""
    port = int(first.traffic.rpartition(":")[2])
    with ExitStack() as opened:
        callers = [
            opened.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(CALLERS)
        ]
        ours = {each.getsockname()[1] for each in callers}
        parts = eventually(lambda: parts_of(first, ours))
    assert min(parts) > 0


def parts_of(running: Running, callers: set[int]) -> list[int] | None:
    """How many of the callers each worker has, once all are accepted."""
    parts = [len(callers_of(pid) & callers) for pid in worker_pids(running)]
    return parts if sum(parts) == len(callers) else None


def test_a_server_starts_again_at_once_after_its_supervisor_was_killed(ending: Running) -> None:
    address = ending.traffic.removeprefix("http://")
    ending.process.kill()  # its children notice within a second, and hold the port until then
    ending.process.wait()
    (ending.data / "server.json").unlink()
    again = Running(ending.config.parent, CONFIG, workers=1, grace_s=5.0, env={}, traffic=address)
    assert eventually(lambda: httpx2.get(f"{again.traffic}/healthz").status_code == 200)
    assert again.stop() == 0
