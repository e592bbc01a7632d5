"""`canary wait`: waits for a canary's verdict, for pipelines."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from canary.commands.client import AdminClient, NotReached
from canary.commands.shell import (
    CONFIG,
    DATA,
    Admin,
    ConfigFile,
    DataFolder,
    Form,
    admin_client,
    fail,
    print_json,
    say,
)
from canary.config.quantity import parse_duration

SILENCE_S = 120.0
"""How long the server may be unreachable while waiting; it may be restarting."""

OVER = ("rolled_back", "ended")
"""States in which a canary collects no more evidence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """A canary's state and verdict at the last request."""

    state: str
    verdict: str

    @property
    def settled(self) -> bool:
        return self.state in OVER or self.verdict != "extend"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Time in seconds; tests replace it."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def wait(
    name: Annotated[str, typer.Argument(help="The canary's name.")],
    timeout: Annotated[
        str, typer.Option("--timeout", help="The longest time to wait, for example 2h.")
    ] = "2h",
    poll: Annotated[str, typer.Option("--poll", help="How often to ask, for example 30s.")] = "30s",
    admin: Admin = None,
    config: ConfigFile = CONFIG,
    data: DataFolder = DATA,
    output: Form = "text",
) -> None:
    """Wait for a verdict, for pipelines.

    Exits 0 for ship, 3 for don't ship, 4 if still open at the timeout, 5 if rolled back.
    """
    try:
        within_s, every_s = parse_duration(timeout), parse_duration(poll)
    except ValueError as problem:
        fail(str(problem), code=2)
    client = admin_client(admin, data)
    try:
        found = until_settled(lambda: standing(client, name), within_s, max(every_s, 1.0), Clock())
    except NotReached as problem:
        fail(str(problem))
    if output == "json":
        print_json({"canary": name, "state": found.state, "verdict": found.verdict, "settled": found.settled})
    else:
        unsettled = "" if found.settled else f", still open after {timeout}"
        say(f"{name}: {found.state.replace('_', ' ')}, verdict {found.verdict}{unsettled}")
    raise typer.Exit(exit_code(found))


def exit_code(found: GateResult) -> int:
    """The exit code. A rollback takes precedence over the verdict."""
    if found.state == "rolled_back":
        return 5
    return {"dont_ship": 3, "extend": 4}.get(found.verdict, 0)


def standing(client: AdminClient, name: str) -> GateResult:
    """Ask the server once. Raises NotReached; exits 1 if the server has no such canary."""
    canaries: list[Mapping[str, Any]] = client.get("/api/status")["canaries"]
    states = {each["name"]: each["state"] for each in canaries}
    if name not in states:
        fail(f"the server has no canary {name!r}; it has: {', '.join(states) or 'none'}")
    report = client.get(f"/api/canaries/{name}/report", form="json")
    return GateResult(state=states[name], verdict=report["verdict"])


def until_settled(
    look: Callable[[], GateResult], within_s: float, every_s: float, clock: Clock
) -> GateResult:
    """Poll until the result is settled or the time is up.

    Raises NotReached if the first request fails, or if the server is unreachable for 120 s later.
    """
    found, answered_at = look(), clock.now()
    deadline = answered_at + within_s
    while not found.settled and (left := deadline - clock.now()) > 0:
        clock.sleep(min(every_s, left))
        try:
            found, answered_at = look(), clock.now()
        except NotReached:
            if clock.now() - answered_at > SILENCE_S:
                raise
    return found
