"""Reads and checks `canary.yaml`, and converts it into the rooms' records. `config.schema` is its schema."""

from canary.config.config import Config
from canary.config.errors import ConfigError, ConfigProblem
from canary.config.load import load, parse
from canary.config.server import ServerSettings

__all__ = [
    "Config",
    "ConfigError",
    "ConfigProblem",
    "ServerSettings",
    "load",
    "parse",
]
