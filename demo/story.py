"""The demo: two candidates that go bad and are rolled back, then one that passes, and one that people decide.

Everything except the provider is real: the server is `canary serve`, the client is the OpenAI SDK, and the
page arrives over HTTP. The provider is local, and fails on command.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import sys
import time
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.rule import Rule
from sqlalchemy import func, select

from canary.commands.client import AdminClient
from canary.commands.shell import without_log_lines
from canary.config import load
from canary.config.server import Role
from demo import pairs
from demo.history import add_to, behaviours, made_up
from demo.servers import DemoServers, DemoUsers, Pager
from judge.figures import NEEDED_LABELS
from judge.judgements import Judgements
from pages.reports.report import rendered
from pages.words.reasons import sentences
from records.store import Store
from records.store.tables import feedback, unit_days
from verdict.decision.reports import report_from_store

# The demo's candidates that go bad.


@dataclass(frozen=True, kw_only=True)
class BadCandidate:
    """A candidate that goes bad: its canary, what the app asks, and how the provider then behaves."""

    canary: str
    asks: str
    model: str
    behaviour: Mapping[str, Any]
    told: str
    members: Mapping[str, Any] = field(default_factory=dict)


FAILING = BadCandidate(
    canary="goes-bad",
    asks="gpt-5.6-terra",
    model="gpt-6.1-terra",
    behaviour={"ttft_s": 0.02, "faults": {"status": 0.5}},
    told="now half of the requests to the candidate fail with a 500 …",
)
BREAKING_TOOLS = BadCandidate(
    canary="breaks-tools",
    asks="gpt-5.6-sol",
    model="gpt-6.1-sol",
    behaviour={"ttft_s": 0.02, "answer_faults": {"tool_args_invalid": 0.5}},
    told="now every answer is a 200, and half of the candidate's tool calls are broken JSON …",
    members={
        "tool_choice": "required",
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "find_order",
                    "parameters": {
                        "type": "object",
                        "properties": {"order": {"type": "string"}},
                        "required": ["order"],
                    },
                },
            }
        ],
    },
)


FOLDER = Path("canary-demo")
SEED_REQUESTS = 300
ROLLBACK_WITHIN_S = 30.0
PAGE_WITHIN_S = 5.0
STORED_WITHIN_S = 60.0
JUDGED_WITHIN_S = 60.0
PASSING_USERS = 2400
COMPARED_USERS = 200
ENOUGH = 0.9
"""The part of the copies that a judge must have compared: a busy server leaves some out."""

CONFIG = """\
# The demo's config. Your own file looks the same, with other addresses.
providers:
  openai: {{api: openai, base_url: "{provider}/v1"}}
  judging: {{api: openai, base_url: "{provider}/v1", api_key: none}}

judge: {{provider: judging, model: claude-sonnet-5, daily_budget: 1.00, at_once: 8}}

canaries:
  - name: goes-bad
    match: {{models: [gpt-5.6-terra]}}
    baseline:  {{provider: openai, model: gpt-5.6-terra}}
    candidate: {{provider: openai, model: gpt-6.1-terra}}
    share: 10%
    rubric:
      - {{metric: error_rate, acceptable: "< 3%", ideal: "< 1%", weight: 1, question: "Do answers arrive?"}}

  - name: breaks-tools
    match: {{models: [gpt-5.6-sol]}}
    baseline:  {{provider: openai, model: gpt-5.6-sol}}
    candidate: {{provider: openai, model: gpt-6.1-sol}}
    share: 10%
    rubric:
      - {{metric: invalid_output, acceptable: "< 3%", ideal: "< 1%", weight: 1,
         question: "Can the app use the tool calls?"}}

  - name: passes
    match: {{models: [gpt-5.6-luna]}}
    baseline:  {{provider: openai, model: gpt-5.6-luna}}
    candidate: {{provider: openai, model: gpt-6-luna}}
    share: 10%
    minimum_days: 0          # the demo takes a minute; keep 7 for a real decision
    rubric:
      - {{metric: task_completed,   acceptable: ">= 85%",  ideal: ">= 90%",  weight: 40,
         question: "Do users get done what they came for?"}}
      - {{metric: latency_p95,      acceptable: "< 2s",    ideal: "< 1s",    weight: 25,
         question: "Do users wait too long?"}}
      - {{metric: cost_per_request, acceptable: "< 0.001", ideal: "< 0.0005", weight: 20,
         question: "What does an answer cost us?"}}
      - {{metric: csat,             acceptable: "> 4.1",   ideal: "> 4.4",   weight: 15,
         question: "Are users satisfied?"}}

  - name: people-decide
    match: {{models: [gpt-6-sol]}}
    baseline:  {{provider: openai, model: gpt-6-sol}}
    candidate: {{provider: openai, model: gpt-6.1-sol}}
    share: 10%
    mirror: 100%             # copies of the current model's requests go to the candidate
    capture: {{rate: 100%}}
    judge: {{pairs: 500, criteria: "Does the answer help the customer?"}}
    minimum_days: 1          # 2 or more for a real decision: weekdays differ
    planned_days: 1
    rubric:
      - {{metric: judged_preference, acceptable: ">= 40%", ideal: ">= 60%", weight: 1,
         question: "Do people like the answers as much?"}}

notify: [{{webhook: "{pager}"}}]
"""


ALONE: tuple[Role, ...] = ("all",)
REPLICAS: tuple[Role, ...] = ("admin", "traffic", "traffic")


def run(*, keep: bool, store: str | None = None, shared: str | None = None, opening: bool = False) -> int:
    """Run the demo. Returns 0 if everything went as expected, or if it was ended by SIGINT or SIGTERM.

    With `keep` the server runs until then. With `store` and `shared` the demo runs on two replicas. `opening`
    first makes up three releases, and at the end opens the page and stays.
    """
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    try:
        more = f"\nstore: {store}\nshared: {shared}\n" if store and shared else ""
        return asyncio.run(
            _Story(Console(), REPLICAS if more else ALONE, more).play(keep=keep, opening=opening)
        )
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 0


class _Failed(Exception):
    """The demo did not go as expected. The message says where."""


class _Story:
    def __init__(self, console: Console, roles: Sequence[Role], more: str) -> None:
        """`more` is appended to CONFIG."""
        self._console, self._roles, self._more = console, roles, more
        self._began = time.monotonic()

    async def play(self, *, keep: bool, opening: bool) -> int:
        playing = asyncio.current_task()
        assert playing is not None  # noqa: S101
        # asyncio already cancels on SIGINT. The child processes end with the demo.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, playing.cancel)
        async with AsyncExitStack() as stack:
            backdrop = await stack.enter_async_context(DemoServers(FOLDER, self._roles))
            pager = await stack.enter_async_context(Pager())
            await backdrop.provide()
            config = FOLDER / "canary.yaml"
            config.write_text(CONFIG.format(provider=backdrop.provider, pager=pager.url) + self._more)
            if opening:
                await self._make_up(backdrop, config)
            await backdrop.serve(config)
            self._say(
                f"a local provider at {backdrop.provider}, canary serve at {' and '.join(backdrop.urls)}"
            )
            self._say(f'the only change in the app: OpenAI(base_url="{backdrop.urls[0]}/v1")')
            try:
                self._console.print(Rule("1. a candidate that fails"))
                await self._one_that_goes_bad(backdrop, pager, FAILING)
                self._console.print(Rule("2. a candidate whose status is always 200"))
                await self._one_that_goes_bad(backdrop, pager, BREAKING_TOOLS)
                await self._one_that_passes(backdrop, config)
                if keep or opening:
                    await self._one_that_people_decide(backdrop, config)
            except _Failed as problem:
                self._console.print(f"[bold red]{problem}[/]; the server's log is in {FOLDER / 'serve.log'}")
                return 1
            self._say(f"done in {time.monotonic() - self._began:.0f} s")
            if keep or opening:
                await self._keep(backdrop, opening=opening)
            else:
                self._say("with --keep it stays, and asks you to decide about another candidate")
        return 0

    async def _make_up(self, backdrop: DemoServers, config: Path) -> None:
        """Three past releases in the store, and the last of them in the config."""
        self._say("making up three releases of the past month: users, answers and ratings are drawn …")
        without_log_lines()
        for model, behaviour in behaviours().items():
            await backdrop.behave(model, behaviour)
        where = FOLDER, backdrop.data, backdrop.provider, backdrop.secret
        added = await asyncio.to_thread(partial(made_up, *where, now=time.time()))
        add_to(config, added)

    async def _one_that_goes_bad(self, backdrop: DemoServers, pager: Pager, bad: BadCandidate) -> None:
        async with DemoUsers(backdrop.urls, bad.members) as users:
            await users.ask(bad.asks, SEED_REQUESTS)
            self._say(
                f"{users.answered} requests answered, {users.by_arm['candidate']} of them by the candidate"
            )
            await backdrop.behave(bad.model, bad.behaviour)
            self._say(bad.told)
            seen, began = users.by_arm["candidate"], time.monotonic()
            rolled_back = asyncio.Event()
            asking = asyncio.create_task(users.keep_asking(bad.asks, rolled_back))
            client = backdrop.admin()
            status = await self._until(lambda: _rolled_back(client, bad.canary), ROLLBACK_WITHIN_S)
            took = time.monotonic() - began
            rolled_back.set()
            await asking
        if status is None:
            raise _Failed(f"the bad candidate of {bad.canary} was not rolled back")
        self._say(
            f"rolled back after {took:.1f} s and {users.by_arm['candidate'] - seen} candidate requests; "
            f"{users.failed} of {users.answered + users.failed} callers saw an error"
        )
        await self._show_page(pager, bad.canary)

    async def _show_page(self, pager: Pager, canary: str) -> None:
        page = await self._until(lambda: pager.latest(canary, "page"), PAGE_WITHIN_S)
        if not page:
            raise _Failed("nobody was paged")
        self._console.print("the page that on-call received when the rollback began:", style="bold")
        self._console.print_json(json.dumps(page))
        update = await self._until(lambda: pager.latest(canary, "update"), PAGE_WITHIN_S)
        self._say(f"then, with the same key: {update['done'] if update else 'no update'}")

    async def _one_that_passes(self, backdrop: DemoServers, config: Path) -> None:
        self._console.print(Rule("3. a candidate that passes"))
        async with DemoUsers(backdrop.urls) as users:
            await users.ask("gpt-5.6-luna", PASSING_USERS, rounds=2)
            self._say(f"{users.answered} requests from {PASSING_USERS} users")
            count = await users.give_feedback()
            self._say(f"{count} feedback values sent (task_completed, csat)")
        read, data = load(config, {}), backdrop.data
        with closing(read.open_store(data)) as store:
            if not await self._until(lambda: _has_arrived(store, users.answered, count), STORED_WITHIN_S):
                raise _Failed("some answers or feedback values are not stored yet")
            report = await asyncio.to_thread(
                report_from_store, read.control.reports, "passes", store, now=time.time()
            )
        if report.verdict not in ("ship_now", "ship"):
            raise _Failed(
                f"the good candidate did not pass: {report.verdict}: {'; '.join(sentences(report))}"
            )
        self._console.print(rendered(report, "text", width=min(110, self._console.width)), highlight=False)
        page = FOLDER / "report.html"
        page.write_text(rendered(report, "html"))
        self._say(f"the same report as HTML: {page.resolve()}")

    async def _one_that_people_decide(self, backdrop: DemoServers, config: Path) -> None:
        """Pairs of answers, with a judge's word on each, which wait for a person at the page."""
        self._console.print(Rule("4. a candidate that you decide"))
        for model, behaviour in pairs.behaviours().items():
            await backdrop.behave(model, behaviour)
        async with DemoUsers(backdrop.urls, questions=pairs.QUESTIONS) as users:
            await users.ask(pairs.BASELINE, COMPARED_USERS)
            copied = users.by_arm["baseline"]
        self._say(f"{users.answered} requests; of {copied} the candidate answered a copy, for nobody to see")
        with closing(load(config, {}).open_store(backdrop.data)) as store:
            if not await self._until(lambda: _judged(store) >= ENOUGH * copied, JUDGED_WITHIN_S):
                raise _Failed("most pairs of answers are not judged yet")
        self._say("a judge has compared the answers, and likes all that greet; it is you who decides:")
        where = f"{backdrop.admin_url}/canaries/people-decide"
        self._say(f"label {NEEDED_LABELS} pairs (keys a, b, s, n) at {where}/label")
        self._say(f"what is still needed, and from the second midnight (UTC) on the verdict: {where}/verdict")

    async def _keep(self, backdrop: DemoServers, *, opening: bool) -> None:
        admin = backdrop.admin_url
        self._say(f"still running: page {admin}/ (token {backdrop.token}), metrics {admin}/metrics")
        if opening:
            self._say(f"the three made-up releases: {admin}/releases")
        self._say("for canary status, report and the other commands in a second terminal, in this folder:")
        self._console.print(_variables(backdrop), highlight=False, soft_wrap=True)
        self._say(f"then for example: canary {'report made-up-ships' if opening else 'plan passes'}")
        self._say("press Ctrl-C to end it")
        if opening and has_screen():
            webbrowser.open(f"{admin}/releases")
        await asyncio.Event().wait()

    async def _until(self, look: Callable[[], Any], within_s: float) -> Any:
        """Call `look` in a thread until its result is true; None after `within_s`."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            found = await asyncio.to_thread(look)
            if found:
                return found
            await asyncio.sleep(0.1)
        return None

    def _say(self, text: str) -> None:
        self._console.print(f"[dim]{time.monotonic() - self._began:5.1f} s[/]  {text}", highlight=False)


def _variables(backdrop: DemoServers) -> str:
    """A shell's line after which the commands find the demo's server."""
    config = FOLDER / "canary.yaml"
    return f"export CANARY_ADMIN_TOKEN={backdrop.token} CANARY_CONFIG={config} CANARY_DATA={backdrop.data}"


def _rolled_back(client: AdminClient, name: str) -> Any:
    canaries = client.get("/api/status")["canaries"]
    return next((each for each in canaries if each["name"] == name and each["state"] == "rolled_back"), None)


def _has_arrived(store: Store, answers: int, values: int) -> bool:
    """True once the store has all that the users of the good candidate left."""
    exchanges = select(func.sum(unit_days.c.exchanges)).where(unit_days.c.canary == "passes")
    told = select(func.count()).where(feedback.c.canary == "passes")
    with store.reading() as connection:
        return (connection.scalar(exchanges) or 0) >= answers and connection.scalar(told) == values


def _judged(store: Store) -> int:
    """How many pairs of the candidate that people decide have a result."""
    return Judgements(store).ended("people-decide", 1, "pair", since=0.0)


def has_screen() -> bool:
    """True where a browser could open a window; without one, text browsers would take the terminal."""
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def main() -> None:
    """Entry point of `python -m demo.story`, which `canary demo` runs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--open", action="store_true")
    parser.add_argument("--store")
    parser.add_argument("--shared")
    asked = parser.parse_args()
    sys.exit(run(keep=asked.keep, store=asked.store, shared=asked.shared, opening=asked.open))


if __name__ == "__main__":
    main()
