"""What a config may say and this version cannot do yet: refused, rather than silently left out."""

from collections.abc import Mapping
from pathlib import Path

from canary.config import Config, ConfigError, Problem, load


def load_to_serve(path: Path, environment: Mapping[str, str]) -> Config:
    """The config, if this version can do all it asks for. Raises ConfigError."""
    config = load(path, environment)
    problems = [
        Problem(file=str(path), path=key, line=None, message=message)
        for key, message in _not_there_yet(config)
    ]
    if problems:
        raise ConfigError(problems)
    return config


def _not_there_yet(config: Config) -> list[tuple[str, str]]:
    found = []
    if not config.store.startswith("sqlite:"):
        found.append(("store", "only sqlite:///FILE is there yet: leave it out for the built-in one"))
    if config.shared != "none":
        found.append(("shared", "replicas that share state by Redis are not there yet: leave it out"))
    return found
