"""Finds the data folder of a config file. It stands beside the file, wherever a command is started."""

from collections.abc import Mapping
from pathlib import Path

from canary.config.document import read
from canary.config.errors import ConfigError

DATA, CONFIG = Path("canary-data"), Path("canary.yaml")


def data_folder(config: Path, environment: Mapping[str, str]) -> Path:
    """The folder that `data` in the file names, `canary-data` by default, relative to the file's folder."""
    return config.parent / _named(config, environment)


def _named(config: Path, environment: Mapping[str, str]) -> Path:
    """The name in the file; the default if the file says none, or cannot be read."""
    try:
        root = read(config.read_text(encoding="utf-8"), str(config), environment).root
    except (ConfigError, OSError, UnicodeDecodeError):
        return DATA
    entry = root.value.get("data") if isinstance(root.value, dict) else None
    return Path(entry.value) if entry and isinstance(entry.value, str) and entry.value else DATA
