"""What tests of every room may ask for: the demo provider, and the real server."""

import gc
import inspect
import os
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import httpcore2
import httpx2
import pytest
import typer.main
import typer.testing
from hypothesis import settings

from demo.provider.server import LocalProvider
from tests import effort
from tests.servers.object_store import checked_s3, s3
from tests.servers.postgres import durable_postgres, postgres
from tests.servers.redis import redis_server
from tests.serving import WAIT_S, ProviderThread, Running

settings.load_profile(effort.CANARY)  # the same examples everywhere, however slow the machine is

_read = httpcore2.default_ssl_context


@cache
def _read_once(trust_env: bool, *_places: str | None) -> ssl.SSLContext:
    return _read(_trust_env=trust_env)


def _authorities(*, _trust_env: bool = True) -> ssl.SSLContext:
    """The system's, read once: each new client would read them, for as long as ten requests take."""
    return _read_once(_trust_env, *map(os.environ.get, ("SSL_CERT_FILE", "SSL_CERT_DIR")))


httpcore2.default_ssl_context = _authorities

# A request that says nothing else waits as long as everything does, not five seconds.
vars(inspect.signature(httpx2.Client).parameters["timeout"].default).update(vars(httpx2.Timeout(WAIT_S)))

# What `CliRunner` runs: the tree of commands, which takes as long to make as most of them run.
vars(typer.testing)["_get_command"] = cache(typer.main.get_command)

gc.disable()  # what the collection makes stays: to search it for garbage takes a third of the time


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


__all__ = ["checked_s3", "durable_postgres", "postgres", "provider", "redis_server", "s3", "serve"]


@pytest.fixture
def provider() -> Iterator[ProviderThread]:
    """A demo provider that answers every model at once; `provider.behave(model, …)` changes that."""
    with ProviderThread(LocalProvider()) as running:
        yield running


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts `canary serve` with a config's text and waits until it is ready; stopped at the test's end.

    `serve(config_text, workers=1, grace_s=5.0, **environment)`.
    """
    with ExitStack() as started:

        def start(config_text: str, workers: int = 1, grace_s: float = 5.0, **environment: str) -> Running:
            folder = tmp_path / f"server-{len(list(tmp_path.glob('server-*')))}"
            running = Running(folder, config_text, workers=workers, grace_s=grace_s, env=environment)
            started.callback(running.kill)
            return running

        yield start
