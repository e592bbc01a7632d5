"""What a role needs of the config: several replicas need a store and a Redis that all of them reach."""

from canary.config.config import Config
from canary.config.errors import ConfigError, Problem
from canary.config.server import Role

WHY_SHARED = (
    "CANARY_SECRET is not set: replicas must share one, or each would assign users by its own; "
    "`openssl rand -hex 32` makes one"
)


def check_role(config: Config, role: Role) -> None:
    """Raises ConfigError when the role cannot be played with this store and `shared`."""
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
            message = "a server that runs everything shares with nobody: leave it out, or give it a role"
            found.append(("shared", f"{message} (--role traffic or --role admin)"))
        return found
    if config.store.startswith("sqlite:"):
        found.append(("store", "SQLite is one machine's: replicas need postgresql://USER:PASSWORD@HOST/NAME"))
    if config.shared == "none":
        found.append(("shared", "replicas need redis://HOST:PORT/0, by which they tell each other"))
    return found
