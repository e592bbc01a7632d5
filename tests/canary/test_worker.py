"""How a worker ends that is broken."""

import asyncio
import socket
from pathlib import Path

import pytest

from canary.programs.process import WorkerArgs
from canary.programs.worker import Worker
from records.plans import PlanWatch
from routing.plan import Plan

CONFIG = 'providers: {openai: {api: openai, base_url: "http://127.0.0.1:9/v1"}}'


class Broken(PlanWatch):
    """A plan that cannot be looked at."""

    def poll(self, now_utc: float, mono: float) -> Plan:
        raise LookupError("a defect")


def test_what_breaks_a_worker_is_raised_once_it_has_drained(tmp_path: Path) -> None:
    (tmp_path / "canary.yaml").write_text(CONFIG)

    async def story(fd: int) -> None:
        orders = WorkerArgs(
            config=str(tmp_path / "canary.yaml"),
            data=str(tmp_path),
            fd=fd,
            slot=0,
            grace_s=1.0,
            workers=1,
            host="127.0.0.1",
        )
        worker = Worker(orders, None)
        worker.plans = Broken(tmp_path / "plan.json")
        await worker.run()

    with pytest.raises(LookupError, match="a defect"):
        asyncio.run(story(socket.create_server(("127.0.0.1", 0)).detach()))
