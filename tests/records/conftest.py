"""Stores that are closed again when their test ends."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from records.store import Store

OpenStore = Callable[[], Store]


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[OpenStore]:
    """Opens the test's own SQLite store, as often as wanted."""
    with ExitStack() as opened:
        yield lambda: opened.enter_context(closing(Store.open("sqlite:///canary.db", tmp_path)))


@pytest.fixture
def store(open_store: OpenStore) -> Store:
    """The test's own SQLite store."""
    return open_store()
