"""`canary wait`: for pipelines, until a canary has a verdict."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from canary.commands.client import AdminClient, NotReached
from canary.commands.shell import DATA, Admin, DataFolder, Form, admin_client, fail, print_json, say
from canary.config.quantity import parse_duration

SILENCE_S = 120.0
"""How long the server may be out of reach meanwhile: it may be restarting."""

OVER = ("rolled_back", "ended")
"""States after which no evidence comes any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """Where a canary stood when last asked."""

    state: str
    verdict: str

    @property
    def settled(self) -> bool:
        return self.state in OVER or self.verdict != "extend"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """The time, to be waited for. Seconds."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def wait(
    name: Annotated[str, typer.Argument(help="The canary's name.")],
    timeout: Annotated[str, typer.Option("--timeout", help="How long to wait at most, as 2h.")] = "2h",
    poll: Annotated[str, typer.Option("--poll", help="How often to ask, as 30s.")] = "30s",
    admin: Admin = None,
    data: DataFolder = DATA,
    output: Form = "text",
) -> None:
    """Wait for a verdict. Exits 0 ship, 3 don't ship, 4 still open (at the timeout), 5 rolled back."""
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
        open_still = "" if found.settled else f", still open after {timeout}"
        say(f"{name}: {found.state.replace('_', ' ')}, verdict {found.verdict}{open_still}")
    raise typer.Exit(exit_code(found))


def exit_code(found: GateResult) -> int:
    """The contract's code: a rollback stands above whatever the report says."""
    if found.state == "rolled_back":
        return 5
    return {"dont_ship": 3, "extend": 4}.get(found.verdict, 0)


def standing(client: AdminClient, name: str) -> GateResult:
    """Ask once. NotReached when there is no answer; ends the command when there is no such canary."""
    canaries: list[Mapping[str, Any]] = client.get("/api/status")["canaries"]
    states = {each["name"]: each["state"] for each in canaries}
    if name not in states:
        fail(f"the server has no canary {name!r}; it has: {', '.join(states) or 'none'}")
    report = client.get(f"/api/canaries/{name}/report", form="json")
    return GateResult(state=states[name], verdict=report["verdict"])


def until_settled(
    look: Callable[[], GateResult], within_s: float, every_s: float, clock: Clock
) -> GateResult:
    """Look until it is settled or time is up. NotReached at once if the first look fails, and after 120 s of
    silence later."""
    found, heard = look(), clock.now()
    deadline = heard + within_s
    while not found.settled and (left := deadline - clock.now()) > 0:
        clock.sleep(min(every_s, left))
        try:
            found, heard = look(), clock.now()
        except NotReached:
            if clock.now() - heard > SILENCE_S:
                raise
    return found
