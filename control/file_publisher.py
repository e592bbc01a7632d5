"""Takes the plan to the workers of one machine, by the plan file."""

from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from records import plans
from routing.plan import Plan


class FilePublisher:
    """Writes the plan file. Workers look at it ten times a second."""

    refresh_every_s = 5.0

    def __init__(self, path: Path) -> None:
        self._path = path

    def put(self, plan: Plan) -> None:
        """Replace the plan. From any thread, one at a time. Raises OSError where the disk refuses."""
        plans.write(self._path, plan)

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """Nothing has to run."""
        return []

    async def is_outspoken(self) -> bool:
        """False: nobody else writes this machine's plan."""
        return False
