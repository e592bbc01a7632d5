"""How a process ends that serves and works beside it."""

import asyncio
import socket

import pytest
from starlette.applications import Starlette

from canary.programs.listening import ended, listen
from canary.programs.process import Ending, Orders


def test_a_thread_that_breaks_ends_the_process_and_says_why() -> None:
    def broken() -> None:
        raise OSError("the spool's folder is gone")

    async def story(fd: int) -> None:
        loop = asyncio.get_running_loop()
        orders = Orders(config="", data="", fd=fd, slot=-1, grace_s=1.0, workers=0, host="127.0.0.1")
        thread = loop.run_in_executor(None, broken)
        await listen(Starlette(), orders, Ending(loop, lambda: None), [ended(thread)])

    listener = socket.create_server(("127.0.0.1", 0))
    with pytest.raises(OSError, match="the spool's folder is gone"):
        asyncio.run(story(listener.detach()))
