"""Stores on both databases, as in the tests of records."""

from tests.records.conftest import migrated, open_store, sqlite_store, store, store_url

__all__ = ["migrated", "open_store", "sqlite_store", "store", "store_url"]
