"""A real redis-server on a free port of the loopback, that a test may kill, freeze, restart and empty."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.servers.ports import free_port

START_S = 60.0


class RedisServer:
    """One server, which keeps nothing over a restart. With `running` False its port is free until `start`."""

    def __init__(self, *, running: bool = True) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="canary-redis-", dir="/tmp"))
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        if running:
            self.start()

    @property
    def url(self) -> str:
        """Its address, as `shared` in canary.yaml takes it."""
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> "redis.Redis":
        """A client for the test's own looks; to be closed by the test."""
        return redis.Redis.from_url(self.url, socket_timeout=START_S, socket_connect_timeout=START_S)

    def start(self) -> None:
        """Start, and return when it answers."""
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--dir", str(self._folder), "--save", "", "--appendonly", "no"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "LD_PRELOAD": ""},  # its allocator hangs under libfaketime
            )
        self._wait_until_it_answers()

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """An orderly end: every connection is closed."""
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """SIGSTOP: it accepts connections and answers nothing."""
        self._running().send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._running().send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """Stop if it runs, and start again, empty."""
        if self._process is not None:
            self.stop()
        self.start()

    def flush(self) -> None:
        """FLUSHALL."""
        with self.client() as client:
            client.flushall()

    def close(self) -> None:
        """End it and delete its folder."""
        if self._process is not None:
            self._end(signal.SIGKILL)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _running(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None, "Redis is not running"
        return self._process

    def _end(self, number: signal.Signals) -> None:
        process = self._running()
        process.send_signal(number)
        process.wait(START_S)
        self._process = None

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_S
        while True:
            try:
                with self.client() as client:
                    client.ping()
            except redis.ConnectionError:
                log = (self._folder / "log").read_text(errors="replace")[-2000:]
                assert self._running().poll() is None, log
                assert time.monotonic() < deadline, log
                time.sleep(0.02)
            else:
                return


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """This test's own server, to be killed, frozen, emptied and restarted at will."""
    server = RedisServer()
    yield server
    server.close()
