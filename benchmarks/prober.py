"""The processes that measure: the canned provider and the load client, on their own core."""

import json
import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.build import Programs
from benchmarks.processes import child


class BrokenAnswersError(RuntimeError):
    """Some answers were not 200, not whole, or not the provider's."""


@dataclass(frozen=True, slots=True)
class Prober:
    """The provider's port, and the client, which takes commands line by line."""

    upstream: int
    roles: dict[str, list[int]]
    client: subprocess.Popen[str]

    def start(self, *command: object) -> None:
        """Start a command without waiting for its end."""
        assert self.client.stdin is not None
        self.client.stdin.write(" ".join(map(str, command)) + "\n")
        self.client.stdin.flush()

    def has_result(self, within_s: float) -> bool:
        """Wait for the running command. Returns whether it ended within the time."""
        assert self.client.stdout is not None
        return bool(select.select([self.client.stdout], [], [], within_s)[0])

    def result(self) -> dict[str, Any]:
        """The result of the running command. Raises BrokenAnswersError if any answer was wrong."""
        assert self.client.stdout is not None
        result: dict[str, Any] = json.loads(self.client.stdout.readline())
        if result["broken"]:
            raise BrokenAnswersError(f"{result['broken']} answers were wrong, as {result['example']}")
        return result

    def run(self, *command: object) -> dict[str, Any]:
        """Run a command to its end."""
        self.start(*command)
        return self.result()


@contextmanager
def probers(programs: Programs, core: str) -> Iterator[Prober]:
    """A provider and a client on some cores."""
    with _started(programs.provider, core) as provider, _started(programs.load, core) as client:
        assert provider.stdout is not None
        port = int(provider.stdout.readline())
        yield Prober(port, {"client": [client.pid], "provider": [provider.pid]}, client)


@contextmanager
def _started(program: Path, core: str) -> Iterator[subprocess.Popen[str]]:
    with child([str(program)], core) as process:
        yield process
