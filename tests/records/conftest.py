"""Stores on both databases, closed again when their test ends."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from records.store import Store
from tests.servers.postgres import Postgres

OpenStore = Callable[[], Store]
SQLITE = "sqlite:///canary.db"


@pytest.fixture(scope="session")
def migrated(postgres: Postgres) -> str:
    """A PostgreSQL database with the store's schema, to be copied: that is quicker than each step anew."""
    url = postgres.fresh()
    Store.open(url, Path()).close()
    return url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.more)])
def store_url(request: pytest.FixtureRequest) -> str:
    """A database of either kind, with nothing in it."""
    if request.param == "sqlite":
        return SQLITE
    migrated, postgres = request.getfixturevalue("migrated"), request.getfixturevalue("postgres")
    return str(postgres.fresh(like=migrated))


@pytest.fixture
def open_store(store_url: str, tmp_path: Path) -> Iterator[OpenStore]:
    """Opens the test's own store, as often as wanted."""
    with ExitStack() as opened:
        yield lambda: opened.enter_context(closing(Store.open(store_url, tmp_path)))


@pytest.fixture
def store(open_store: OpenStore) -> Store:
    """The test's own store."""
    return open_store()


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Store]:
    """A store for what only SQLite does."""
    with closing(Store.open(SQLITE, tmp_path)) as store:
        yield store
