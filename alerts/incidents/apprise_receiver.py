"""Sends messages by the library Apprise (the extra `apprise`), each in a process of its own.

A call of the library blocks for as long as a server keeps it waiting, and loads 25 MB of it; a process can be
ended. It runs this file by its path, which is why the file imports none of our modules. What Apprise says is
not passed on, except for an HTTP status: it may name what stands in the URL.
"""

import asyncio
import json
import logging
import os
import re
import resource
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

NOT_INSTALLED = "Apprise is not installed: pip install 'WHEEL[apprise]', or '.[apprise]' in a checkout"
REFUSED_URL = "Apprise does not take this URL"
_PASSED = ("PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
"""The environment without secrets, and without proxies, which no receiver uses."""


_MOST_MEMORY = 256 << 20
"""Bytes. The library reads and unpacks a whole answer, which this ends with a MemoryError: not sent."""

_FILE = str(Path(__file__).resolve())


@dataclass(frozen=True, slots=True)
class AppriseResult:
    """What became of a message: `problem` in words, "" if it was taken. `status` is an HTTP status that the
    service refused it with, None if none is known."""

    problem: str = ""
    status: int | None = None


def is_installed() -> bool:
    """True if the library is there."""
    return find_spec("apprise") is not None


async def send(url: str, message: Mapping[str, str]) -> AppriseResult:
    """Send `message`, its `title`, `body` and `type`. The caller sets the time limit."""
    return await _asked({"url": url, "message": dict(message)})


def wrong_with(url: str) -> str:
    """What is wrong with the URL; "" where Apprise knows it, or is not installed. Sends nothing. Blocks."""
    return asyncio.run(_asked({"url": url, "message": None})).problem if is_installed() else ""


async def _asked(order: Mapping[str, Any]) -> AppriseResult:
    if not is_installed():
        return AppriseResult(NOT_INSTALLED)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        _FILE,
        env={name: os.environ[name] for name in _PASSED if name in os.environ},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        said, _ = await process.communicate(json.dumps(order).encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    try:
        return AppriseResult(**json.loads(said))
    except ValueError:
        return AppriseResult("Apprise failed")


class _Statuses(logging.Handler):
    """Keeps the HTTP status with which a service refused the message."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last: int | None = None

    def emit(self, record: logging.LogRecord) -> None:
        if found := re.search(r"\berror=(\d{3})\b", record.getMessage()):
            self.last = int(found[1])


def _obey(order: Mapping[str, Any]) -> dict[str, Any]:
    """Do what the parent asked, in the process of its own, whose memory no answer can grow beyond bounds."""
    resource.setrlimit(resource.RLIMIT_DATA, (_MOST_MEMORY, _MOST_MEMORY))
    import apprise

    heard = _Statuses()
    logger = logging.getLogger("apprise")
    logger.addHandler(heard)
    logger.propagate = False
    receivers = apprise.Apprise()
    if not receivers.add(order["url"]):
        return {"problem": REFUSED_URL}
    message = order["message"]
    if message is None or receivers.notify(
        title=message["title"], body=message["body"], notify_type=message["type"], body_format="text"
    ):
        return {}
    return {
        "problem": "not sent" if heard.last is None else f"HTTP status {heard.last}",
        "status": heard.last,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_obey(json.load(sys.stdin))))
