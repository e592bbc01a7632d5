"""The supervisor's children: started again whatever keeps one from starting, stopped whenever it is told."""

import asyncio
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx2
import pytest
from structlog.testing import capture_logs

from canary.programs.config_pipe import WatchedConfig
from canary.programs.process import WorkerArgs
from canary.programs.serve import COMPANION, ChildProgram, StandIn
from tests.serving import eventually

CONFIG = 'providers: {openai: {api: openai, base_url: "http://127.0.0.1:9/v1"}}'
PROGRAM = "import pathlib, signal; pathlib.Path('runs').touch(); signal.pause()"


@pytest.fixture
def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ChildProgram]:
    """A child whose program says that it runs, and waits for a signal."""
    (tmp_path / "canary.yaml").write_text(CONFIG)
    (tmp_path / "sleeper.py").write_text(PROGRAM)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("canary.python_path.ROOT", str(tmp_path))
    config = WatchedConfig(tmp_path / "canary.yaml")
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        orders = WorkerArgs(
            data=str(tmp_path),
            fd=listener.fileno(),
            slot=0,
            grace_s=1.0,
            workers=1,
            host="127.0.0.1",
        )
        yield ChildProgram("sleeper", listener, orders, config)


async def until_it_runs(folder: Path) -> None:
    await asyncio.to_thread(eventually, (folder / "runs").exists, 30.0)


def test_a_child_that_could_not_be_started_is_tried_again(
    child: ChildProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    program = sys.executable
    monkeypatch.setattr(sys, "executable", str(python))

    def said(event: str) -> bool:
        return any(each["event"] == event for each in logs)

    async def story() -> None:
        keeping = asyncio.create_task(child.keep())
        await asyncio.to_thread(eventually, lambda: said("child.not_started") or keeping.done())
        assert not keeping.done(), "nobody would start it again"
        python.symlink_to(program)
        await until_it_runs(tmp_path)
        child.stop(signal.SIGTERM)
        await keeping

    with capture_logs() as logs:
        asyncio.run(story())


def test_a_child_that_is_stopped_while_it_is_being_started_ends(child: ChildProgram) -> None:
    async def story() -> None:
        keeping = asyncio.create_task(child.keep())
        await asyncio.sleep(0)  # the program is there by now, and nobody has been told
        child.stop(signal.SIGTERM)
        async with asyncio.timeout(10):
            await keeping

    asyncio.run(story())


BROKEN = "raise SystemExit(print('FileNotFoundError: canary.db') or 1)"


@pytest.mark.parametrize(("path", "kind"), [("/", "text/html"), ("/api/status", "application/json")])
def test_who_asks_for_a_page_hears_why_its_program_cannot_start(
    child: ChildProgram, tmp_path: Path, path: str, kind: str
) -> None:
    (tmp_path / "sleeper.py").write_text(BROKEN)
    answered = ChildProgram("sleeper", child.listener, child.args, child.config, answered=COMPANION["all"])
    url = f"http://127.0.0.1:{child.listener.getsockname()[1]}{path}"

    async def story() -> httpx2.Response:
        keeping = asyncio.create_task(answered.keep())
        answer = await asyncio.to_thread(httpx2.get, url, trust_env=False)
        answered.stop(signal.SIGTERM)
        await keeping
        return answer

    answer = asyncio.run(story())
    assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (503, kind)
    for said in ("admin process cannot start", "Why: FileNotFoundError: canary.db", "read the log"):
        assert said in answer.text


def test_where_nothing_can_stand_in_callers_wait_and_the_program_is_started_again(
    child: ChildProgram,
) -> None:
    closed = socket.socket()
    closed.close()

    async def story() -> bool:
        async with StandIn(closed, child.config, COMPANION["traffic"], ""):
            return True

    assert asyncio.run(story())
