"""The loops beside the admin listener: what breaks one of them ends the process and says why."""

import asyncio
import socket
from contextlib import closing
from pathlib import Path

import pytest
from starlette.applications import Starlette

from canary.programs.listeners import listen
from canary.programs.process import ShutdownSignal, WorkerArgs
from control.feed.spool import SpoolShippers
from records.spool.reader import SpoolReader
from records.store import Store
from tests.canary.handed import handed

CONFIG = 'providers: {openai: {api: openai, base_url: "http://127.0.0.1:9/v1"}}'


def test_a_shipping_thread_that_breaks_ends_the_process_and_says_why(tmp_path: Path) -> None:
    async def story(fd: int) -> None:
        loop = asyncio.get_running_loop()
        args = WorkerArgs(data=str(tmp_path), fd=fd, slot=-1, grace_s=1.0, workers=0, host="127.0.0.1")
        with closing(Store.open("sqlite:///canary.db", tmp_path)) as store:
            spool = tmp_path / "spool"
            shipping = SpoolShippers(tmp_path, store, other=SpoolReader(spool, {}, quarantine=False))
            if spool.is_dir():
                spool.rmdir()
            spool.write_text("no folder")
            with handed(CONFIG) as config:
                await listen(Starlette(), args, config, ShutdownSignal(loop), shipping.loops())

    listener = socket.create_server(("127.0.0.1", 0))
    with pytest.raises(OSError, match="spool"):
        asyncio.run(story(listener.detach()))
