"""The settings of `canary serve`: from the file, over it `CANARY_*` variables, over both the flags."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

from canary.config.errors import ConfigError, Problem
from canary.config.quantity import DEFAULT_ADMIN, DEFAULT_TRAFFIC, HostPort, parse_address, parse_duration

MOST_WORKERS = 256

Role = Literal["all", "traffic", "admin"]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Where to listen and how. `data` is relative to the working folder, `grace_s` is what SIGTERM leaves
    streams to drain, `role` which of the processes run here."""

    traffic: HostPort = DEFAULT_TRAFFIC
    admin: HostPort = DEFAULT_ADMIN
    workers: int = 1
    data: str = "./canary-data"
    grace_s: float = 600.0
    role: Role = "all"

    def overridden(self, environment: Mapping[str, str], flags: Mapping[str, str | None]) -> "ServerSettings":
        """These settings with `CANARY_TRAFFIC` and its like over them, and the flags over both.

        `flags` maps "traffic", "admin", "workers", "data", "grace", "role" to what was given, None for what
        was not. Raises ConfigError naming the flags or variables that cannot be read.
        """
        given = _Given(environment, flags)
        settings = ServerSettings(
            traffic=given.get("traffic", parse_address, self.traffic),
            admin=given.get("admin", parse_address, self.admin),
            workers=given.get("workers", _parse_workers, self.workers),
            data=given.get("data", _parse_folder, self.data),
            grace_s=given.get("grace", parse_duration, self.grace_s),
            role=given.get("role", _parse_role, self.role),
        )
        if settings.traffic == settings.admin and settings.admin.port and settings.role != "admin":
            message = (
                f"traffic listens at {settings.admin.host}:{settings.admin.port} too; give one another port"
            )
            given.problems.append(Problem(file="--admin", path="", line=None, message=message))
        if given.problems:
            raise ConfigError(given.problems)
        return settings


class _Given:
    """What flags and environment say, and what is wrong with it."""

    def __init__(self, environment: Mapping[str, str], flags: Mapping[str, str | None]) -> None:
        self.environment = environment
        self.flags = flags
        self.problems: list[Problem] = []

    def get(self, name: str, parse: Callable[[str], _T], otherwise: _T) -> _T:
        variable = f"CANARY_{name.upper()}"
        flag = self.flags.get(name)
        text = self.environment.get(variable) or None if flag is None else flag
        if text is None:
            return otherwise
        try:
            return parse(text)
        except ValueError as error:
            source = variable if flag is None else f"--{name}"
            self.problems.append(Problem(file=source, path="", line=None, message=str(error)))
            return otherwise


def _parse_folder(text: str) -> str:
    if not text:
        raise ValueError("no folder is named; write one of its own, as ./canary-data")
    return text


def _parse_role(text: str) -> Role:
    roles: tuple[Role, ...] = get_args(Role)
    for role in roles:
        if text == role:
            return role
    raise ValueError(f'there is no role "{text}"; choose {", ".join(get_args(Role))}')


def _parse_workers(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_WORKERS:
        raise ValueError(f'"{text}" is no number of workers; write one from 1 to {MOST_WORKERS}')
    return int(text)
