"""Takes the plan to the workers of one machine, by the plan file; and whether a service of others answers."""

from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import structlog

from records.shared import states_file
from routing.states import States

log = structlog.get_logger()


class Availability:
    """`down` says why the service does not answer; None while it does."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.down: str | None = None

    def answered(self) -> None:
        """The service answered."""
        if self.down is not None:
            log.info(f"{self._name}.answers")
        self.down = None

    def failed(self, problem: Exception) -> None:
        """The service did not answer."""
        if self.down is None:
            log.error(f"{self._name}.silent", problem=str(problem))
        self.down = str(problem)


class FilePublisher:
    """Writes the plan file. Workers look at it ten times a second."""

    refresh_every_s = 5.0

    def __init__(self, path: Path) -> None:
        self._path = path

    def put(self, plan: States) -> None:
        """Replace the plan. From any thread, one at a time. Raises OSError where the disk refuses."""
        states_file.write(self._path, plan)

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """Nothing has to run."""
        return []

    async def is_outspoken(self) -> bool:
        """False: nobody else writes this machine's plan."""
        return False
