"""The settings of `canary serve`. Flags override `CANARY_*` variables, which override the file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

from canary.config.errors import ConfigError, ConfigProblem
from canary.config.quantity import DEFAULT_ADMIN, DEFAULT_TRAFFIC, HostPort, parse_address, parse_duration

MOST_WORKERS = 256

Role = Literal["all", "traffic", "admin"]

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Where to listen and how. `data` is as written; `data_folder` finds it. `grace_s` is the time that
    streams have to drain after SIGTERM. `role` says which processes run here. `body_budget_mib` bounds the
    request bodies that a worker holds."""

    traffic: HostPort = DEFAULT_TRAFFIC
    admin: HostPort = DEFAULT_ADMIN
    workers: int = 1
    data: str = "canary-data"
    grace_s: float = 600.0
    role: Role = "all"
    body_budget_mib: int = 512

    def overridden(self, environment: Mapping[str, str], flags: Mapping[str, str | None]) -> "ServerSettings":
        """These settings, overridden by `CANARY_TRAFFIC` and the other variables, and then by the flags.

        `flags` maps "traffic", "admin", "workers", "data", "grace", "role" to the text given, or None.
        Raises ConfigError that names each invalid flag or variable.
        """
        problems: list[ConfigProblem] = []

        def given(name: str, parse: Callable[[str], _T], otherwise: _T) -> _T:
            variable = f"CANARY_{name.upper()}"
            flag = flags.get(name)
            text = environment.get(variable) or None if flag is None else flag
            try:
                return otherwise if text is None else parse(text)
            except ValueError as error:
                source = variable if flag is None else f"--{name}"
                problems.append(ConfigProblem(file=source, path="", line=None, message=str(error)))
                return otherwise

        settings = ServerSettings(
            traffic=given("traffic", parse_address, self.traffic),
            admin=given("admin", parse_address, self.admin),
            workers=given("workers", _parse_workers, self.workers),
            data=given("data", _parse_folder, self.data),
            grace_s=given("grace", parse_duration, self.grace_s),
            role=given("role", _parse_role, self.role),
            body_budget_mib=self.body_budget_mib,
        )
        if settings.traffic == settings.admin and settings.admin.port and settings.role != "admin":
            message = (
                f"the traffic listener uses {settings.admin.host}:{settings.admin.port} too; change one port"
            )
            problems.append(ConfigProblem(file="--admin", path="", line=None, message=message))
        if problems:
            raise ConfigError(problems)
        return settings


def _parse_folder(text: str) -> str:
    if not text:
        raise ValueError("the folder's name is empty; name a folder, for example canary-data")
    return text


def _parse_role(text: str) -> Role:
    roles: tuple[Role, ...] = get_args(Role)
    for role in roles:
        if text == role:
            return role
    raise ValueError(f'"{text}" is not a role; choose {", ".join(get_args(Role))}')


def _parse_workers(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_WORKERS:
        raise ValueError(f'"{text}" is not a number of workers; write a number from 1 to {MOST_WORKERS}')
    return int(text)
