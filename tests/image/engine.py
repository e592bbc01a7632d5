"""A Docker engine of its own: its data, socket and network are in one folder and in the caller's namespaces.

It touches no engine that the machine may have. It ends with the block, and with the process's namespaces.
"""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.serving import eventually

NO_NETWORK = ("--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false")
"""For an engine that only builds, in the machine's own network, and leaves that as it is."""


class Engine:
    """The `docker` command on one engine."""

    def __init__(self, folder: Path) -> None:
        self.host = f"unix://{folder / 'docker.sock'}"
        self._environment = {"DOCKER_HOST": self.host, "DOCKER_CONFIG": str(folder / "config")}

    def __call__(
        self,
        *words: str,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        within_s: float = 240,
    ) -> str:
        """What `docker WORDS` prints on stdout; AssertionError with what it said where it fails."""
        done = self.tried(*words, cwd=cwd, env=env, within_s=within_s)
        assert done.returncode == 0, f"docker {' '.join(words)}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
        return done.stdout.strip()

    def tried(
        self,
        *words: str,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        within_s: float = 240,
    ) -> "subprocess.CompletedProcess[str]":
        """The same, failed or not."""
        environment = {**os.environ, **self._environment, **(env or {})}
        return subprocess.run(
            ["docker", *words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=within_s
        )


@contextmanager
def engine(folder: Path, *flags: str) -> Iterator[Engine]:
    """A running engine whose images and volumes are in `folder`, ready; stopped at the end."""
    (folder / "daemon.json").write_text("{}")
    (folder / "docker.pid").unlink(missing_ok=True)
    command = ["dockerd", f"--data-root={folder / 'data'}", f"--exec-root={folder / 'exec'}", *flags]
    command += [f"--config-file={folder / 'daemon.json'}", f"--pidfile={folder / 'docker.pid'}"]
    docker = Engine(folder)
    log = folder / "dockerd.log"
    with log.open("ab") as file:
        process = subprocess.Popen([*command, f"--host={docker.host}"], stdout=file, stderr=file)
    try:
        eventually(lambda: _answers(docker, process, log))
        yield docker
    finally:
        process.terminate()
        process.wait(120)


def _answers(docker: Engine, process: "subprocess.Popen[bytes]", log: Path) -> bool:
    """Whether the engine is ready; AssertionError with the end of its log once it has ended."""
    assert process.poll() is None, f"dockerd ended with {process.returncode}:\n{log.read_text()[-4000:]}"
    return docker.tried("version").returncode == 0
