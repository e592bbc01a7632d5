"""What `canary serve` says in a terminal: where it listens, how to sign in, what canaries wait for."""

import asyncio
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from canary.config import Config
from canary.config.load import told_in
from canary.config.quantity import is_loopback
from canary.config.server import ServerSettings
from common.numbers import set_percent
from common.text import visible
from console.access.session import LINK, OneTimeLink
from control.settings import CanarySettings, StandingCanary
from pages.words.status import held_on, kept, whom
from records.shared.states_file import StatesWatch
from routing.canary import arm_names
from routing.states import State, States

WITHIN_S = 15.0
"""How long the states may take to come; a start without them is told as such."""

_EVERY_S = 0.1


def sign_posts(
    listening: Mapping[str, str], settings: ServerSettings, config: Config, data: Path
) -> Iterator[str]:
    """Where apps and people find it. A link that signs in stands only where nobody else can read the way."""
    if "traffic" in listening:
        apis = {each.api: each for each in config.providers.values()}
        base = listening["traffic"]
        found = [f"{base}/v1 (OpenAI)"] if "openai" in apis else []
        others = [name.capitalize() for name in ("anthropic", "gemini") if name in apis]
        found += [f"{base} ({', '.join(others)})"] if others else []
        yield f"Your app:  {', '.join(found) or base}"
    if settings.role == "traffic":
        return
    page = listening["admin"] if is_loopback(settings.admin.host) else config.admin_url or listening["admin"]
    if is_loopback(settings.admin.host) or page.startswith("https:"):
        token = OneTimeLink(data / LINK, time.time).make()
        yield f"The page:  {page.rstrip('/')}/login?once={token}"
        yield f"           signs you in, once and within ten minutes; later with the token {_where(data)}"
    else:
        yield f"The page:  {page}"


def _where(data: Path) -> str:
    """Where the admin token is to be found."""
    if "CANARY_ADMIN_TOKEN" in os.environ or "CANARY_ADMIN_TOKEN_FILE" in os.environ:
        return "of CANARY_ADMIN_TOKEN"
    file = data / "admin.token"
    return f"in {file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file}"


async def say_canaries(config: Config, data: Path) -> None:
    """Say what each canary does or waits for, once the states are known."""
    watch, deadline = StatesWatch(data / "plan.json"), time.monotonic() + WITHIN_S
    while True:
        states = watch.poll(time.time(), time.monotonic())
        settled = watch.is_fresh(time.monotonic()) and states.is_settled(config.canaries)
        if settled or time.monotonic() > deadline:
            break
        await asyncio.sleep(_EVERY_S)
    for line in canaries(config, states, await asyncio.to_thread(told_in, data, config.store)):
        tell(line)


def canaries(config: Config, states: States, told: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each canary and standing canary. `told`: what people on call were told last, by canary,
    of incidents that are not resolved."""
    for name, standing in config.standing.items():
        yield _standing(name, standing, config.canaries, states, told)
    for name, each in config.canaries.items():
        both = arm_names(each.canary.baseline, each.canary.candidate)
        incident = f"; {told[name]}" if name in told else ""
        yield f"{name}: {_doing(name, both[1], states.states.get(name))}{incident}"
    if not config.known:
        yield "There is no canary: all requests pass through, and are recorded."


def _standing(
    name: str,
    each: StandingCanary,
    canaries: Mapping[str, CanarySettings],
    states: States,
    told: Mapping[str, str],
) -> str:
    def lane(trial: str) -> float | None:
        state = states.states.get(trial)
        return state.lane.part if state is not None and state.lane is not None else None

    arm = each.terms.canary.baseline
    tries = "" if each.begun.open else f"; `canary begin {name} --model MODEL` tries another"
    but = "".join(f"; but {kept(trial)}" for trial in each.kept(lane))
    held = each.held_back(canaries, states.states.get)
    rest = f"; {held_on(held)}" if held else ""
    incident = each.told(name, told)
    who = whom(each.others(canaries, states.states.get), due=bool(incident))
    also = f"; {incident}" if incident else ""
    return f"{name}: {who} {arm_names(arm, arm)[0]}{rest}{but}{also}{tries}"


def _doing(name: str, candidate: str, state: State | None) -> str:
    """What it does or waits for, as the rest of a sentence."""
    why = f": {state.reason}" if state is not None and state.reason else ""
    match state.state if state is not None else None:
        case None:
            return "not known yet; `canary status` says it once it is"
        case "waiting":
            return f"waits{why or f' for `canary start {name}`'}"
        case "running":
            share = state.effective_share if state is not None else 0.0
            return f"{set_percent(share)} of its users get {candidate}"
        case "paused":
            return f"paused{why}; `canary resume {name}` goes on"
        case other:
            return f"{str(other).replace('_', ' ')}{why}"


def tell(line: str) -> None:
    """Print a line to the terminal."""
    sys.stderr.write(f"{visible(line)}\n")
    sys.stderr.flush()
