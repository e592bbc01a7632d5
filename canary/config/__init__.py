"""Reads and checks `canary.yaml`, and converts it into the rooms' records.

load           reads a file, and finds its data folder
yaml_document  YAML into mappings, lists and text, each with its line
sections       the file's keys; `field_types` has their types, `quantity` reads durations, shares and names
schema         the JSON Schema, and what of a document fits it
file_checks    what the schema cannot say; `canary_checks` and `part_checks` of canaries and their parts
conversion     sections into the rooms' values; `guardrails` into rules
config         the result; `server` has what flags and variables may override
certificate    the listeners' certificate
standing       trials of standing canaries as entries
"""

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
