"""How a worker ends that is broken."""

import asyncio
import socket
from pathlib import Path

import pytest

from canary.programs.process import WorkerArgs
from canary.programs.worker import Worker
from records.plans import PlanWatch
from routing.plan import Plan
from tests.canary.handed import handed

CONFIG = 'providers: {openai: {api: openai, base_url: "http://127.0.0.1:9/v1"}}'


class Broken(PlanWatch):
    """A plan that cannot be looked at."""

    def poll(self, now_utc: float, mono: float) -> Plan:
        raise LookupError("a defect")


def test_what_breaks_a_worker_is_raised_once_it_has_drained(tmp_path: Path) -> None:
    async def story(fd: int) -> None:
        orders = WorkerArgs(
            data=str(tmp_path),
            fd=fd,
            slot=0,
            grace_s=1.0,
            workers=1,
            host="127.0.0.1",
        )
        with handed(CONFIG) as config:
            worker = Worker(orders, config)
            worker.plans = Broken(tmp_path / "plan.json")
            await worker.run()

    with pytest.raises(LookupError, match="a defect"):
        asyncio.run(story(socket.create_server(("127.0.0.1", 0)).detach()))
