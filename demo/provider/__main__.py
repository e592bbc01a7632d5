"""Runs the provider: `python -m demo.provider --port 0 --json-ready`."""

import argparse
import asyncio
import os
import signal
import sys

import msgspec
import uvloop

from demo.provider.behaviour import Behaviour
from demo.provider.server import LocalProvider

LOGGED = 10_000
"""Requests that the log keeps at least."""


def behaviour_option(text: str) -> tuple[str, Behaviour]:
    """Read `MODEL={"ttft_s": 0.2}`; an argparse type."""
    model, _, fields = text.partition("=")
    try:
        return model, msgspec.json.decode(fields, type=Behaviour)
    except (msgspec.DecodeError, ValueError) as exc:
        raise argparse.ArgumentTypeError(f"{text!r} is not MODEL=JSON: {exc}") from exc


async def _run(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    async with LocalProvider(
        dict(options.behaviour), host=options.host, port=options.port, log_limit=LOGGED
    ) as provider:
        ready = msgspec.json.encode({"url": provider.url, "pid": os.getpid()}).decode()
        sys.stdout.write(f"{ready if options.json_ready else f'listening on {provider.url}'}\n")
        sys.stdout.flush()
        await stop.wait()


def main() -> None:
    """Run the provider until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m demo.provider", description="A local LLM provider.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument(
        "--behaviour", type=behaviour_option, action="append", default=[], metavar="MODEL=JSON"
    )
    parser.add_argument("--json-ready", action="store_true", help="print the address as JSON once listening")
    options = parser.parse_args()
    try:
        uvloop.run(_run(options))
    except OSError as problem:  # of the listener: what a caller does to a connection is caught there
        where = f"{options.host}:{options.port}"
        sys.exit(f"{where}: {problem.strerror}. `python -m demo.provider --port PORT` takes another port.")


if __name__ == "__main__":
    main()
