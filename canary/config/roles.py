"""Checks that the config fits the role: replicas need a PostgreSQL and a Redis that all of them reach."""

from canary.config.config import Config
from canary.config.errors import ConfigError, Problem
from canary.config.server import Role

WHY_SHARED = (
    "CANARY_SECRET is not set; replicas must share one, or each would assign users differently; "
    "`openssl rand -hex 32` makes one"
)


def check_role(config: Config, role: Role) -> None:
    """Raises ConfigError if the role does not work with this `store` and `shared`."""
    problems = [
        Problem(file=f"role {role}", path=key, line=None, message=message)
        for key, message in _misfits(config, role)
    ]
    if problems:
        raise ConfigError(problems)


def _misfits(config: Config, role: Role) -> list[tuple[str, str]]:
    found = []
    if role == "all":
        if config.shared != "none":
            message = "only replicas use it; remove it, or start with --role traffic or --role admin"
            found.append(("shared", message))
        return found
    if config.store.startswith("sqlite:"):
        found.append(
            ("store", "SQLite works on one machine only; replicas need postgresql://USER:PASSWORD@HOST/NAME")
        )
    if config.shared == "none":
        found.append(("shared", "replicas need a Redis: redis://HOST:PORT/0"))
    return found
