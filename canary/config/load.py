"""Loads a file or a text into a Config, or raises one ConfigError with every problem."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from canary.config.config import Config
from canary.config.errors import ConfigError, Problem


def load(path: Path, environment: Mapping[str, str]) -> Config:
    """Read a config file. Raises ConfigError, also if the file cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        if isinstance(error, FileNotFoundError):
            reason = f"{reason}; give its path with --config"
        problem = Problem(file=str(path), path="", line=None, message=f"cannot be read: {reason}")
        raise ConfigError([problem]) from error
    return replace(parse(text, str(path), environment), folder=path.resolve().parent)


def parse(text: str, name: str, environment: Mapping[str, str]) -> Config:
    """Read a config from text; `name` is the file name for messages. Raises ConfigError."""
    # Imported here because they import pydantic, which a worker does not need: it gets a parsed config.
    from canary.config import build
    from canary.config.checks import check
    from canary.config.document import read
    from canary.config.salvage import salvage

    file, found = salvage(read(text, name, environment))
    check(file, found)
    if found.problems:
        raise ConfigError(found.problems)
    return build.config(file, found.warnings)
