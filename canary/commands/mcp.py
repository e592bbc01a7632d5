"""`canary mcp`: answers an assistant's questions about a running server, over stdio. Changes nothing."""

import asyncio
import os

from canary.commands.client import AdminClient
from canary.commands.shell import CONFIG, DATA, Admin, ConfigFile, DataFolder, fail, without_log_lines

_TOKENS = ("CANARY_VIEWER_TOKEN", "CANARY_ADMIN_TOKEN")


def mcp(admin: Admin = None, config: ConfigFile = CONFIG, data: DataFolder = DATA) -> None:
    """Answer an assistant's questions by the Model Context Protocol, over stdin and stdout: releases, status,
    report, why. Reads only."""
    try:
        from canary.commands.mcp_server import serve
    except ModuleNotFoundError as problem:
        if (problem.name or "").partition(".")[0] != "mcp":
            raise
        fail("the MCP SDK is not installed: pip install 'WHEEL[mcp]', or '.[mcp]' in a checkout")
    without_log_lines()
    asyncio.run(serve(lambda: AdminClient(admin=admin, data=data, environment=os.environ, tokens=_TOKENS)))
