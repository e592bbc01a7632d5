"""`canary.yaml`: read, checked, and handed on as the rooms' own records. Its schema is `config.schema`."""

from canary.config.config import Config
from canary.config.errors import ConfigError, Problem
from canary.config.load import load, parse
from canary.config.server import ServerSettings

__all__ = [
    "Config",
    "ConfigError",
    "Problem",
    "ServerSettings",
    "load",
    "parse",
]
