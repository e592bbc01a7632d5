"""The store that a config names: its database, and the place of its outcomes' segments."""

from pathlib import Path

from canary.config.config import Config
from records.store import Store, StoreTimeouts
from records.store.database import PATIENCE


def store_at(config: Config, data: Path, patience: StoreTimeouts = PATIENCE) -> Store:
    """The store, without connecting. Relative paths are relative to `data`."""
    return Store.at(config.store, data, patience, outcomes=config.outcomes)


def open_store(config: Config, data: Path) -> Store:
    """The store, connected. Raises StoreDown when the database does not answer."""
    return Store.open(config.store, data, outcomes=config.outcomes)
