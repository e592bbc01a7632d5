"""`canary status`, `wait` and `explain`: what a running server says of its canaries, once or continuously."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, get_args
from urllib.parse import quote

import typer

from canary.commands import shell
from canary.commands.client import AdminClient, ServerNotReached
from canary.commands.report import ReportOutput
from canary.config.quantity import parse_duration
from common.clock import rfc3339
from common.text import visible
from routing.states import StateName

if TYPE_CHECKING:
    from rich.console import Console

ROLLED_BACK = 5
EVERY_S = 1.0

SILENCE_S = 120.0
"""How long the server may be unreachable while waiting; it may be restarting."""

OVER = ("rolled_back", "promoted", "ended")
"""States in which there is nothing left to wait for."""

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Time in seconds; tests replace it."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def status(
    at: shell.Server,
    name: Annotated[str | None, typer.Argument(help="A canary's name. Default: all.")] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Refresh every second, until Ctrl-C.")] = False,
    until: Annotated[
        str | None, typer.Option(help="Watch until every canary shown is in this state.")
    ] = None,
) -> None:
    """Show the state of every canary. Exits 5 if one was rolled back."""
    if until is not None and until not in get_args(StateName):
        shell.fail(f"--until {until!r} is not a state; use one of: {', '.join(get_args(StateName))}", code=2)
    client = at.client()
    document = shell.ask(lambda: _read(client, name))
    if watch or until is not None:
        document = shell.ask(lambda: _watched(client, name, until, at.output))
    elif at.output == "json":
        shell.print_json(document)
    else:
        from pages.status.terminal import show_status

        show_status(document, time.time())
    for each in document["degraded"]:
        shell.say(f"degraded: {each}")
    if any(canary["state"] == "rolled_back" for canary in document["canaries"]):
        raise typer.Exit(ROLLED_BACK)


def _read(client: AdminClient, name: str | None) -> Document:
    """The status document, limited to the named canary, or to a standing one with its trials. Exits 1 if the
    server has no canary of that name."""
    document: Document = client.get("/api/status")
    if name is None:
        return document
    for each in document.get("standing", ()):
        if each["name"] == name:
            trials = {*each["trials"], *each["over"]}
            return {
                **document,
                "canaries": [canary for canary in document["canaries"] if canary["name"] in trials],
                "standing": [each],
            }
    found = [canary for canary in document["canaries"] if canary["name"] == name]
    if not found:
        names = ", ".join(canary["name"] for canary in document["canaries"]) or "none"
        shell.fail(f"the server has no canary {name!r}; it has: {names}")
    return {**document, "canaries": found, "standing": []}


def _watched(client: AdminClient, name: str | None, until: str | None, form: str) -> Document:
    from rich.console import Console

    updates = looks(lambda: _read(client, name), Clock())
    console = Console()
    if form == "text" and console.is_terminal:
        with _screen(console) as show:
            return watch(updates, show, until)
    return watch(updates, StatusLines(shell.print_text, time.time, form=form).show, until)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusLook:
    """The newest status document. `silence` says why the server sent no newer one; "" if it did."""

    document: Document
    silence: str = ""


def looks(read: Callable[[], Document], clock: Clock) -> Iterator[StatusLook]:
    """Poll the status every second, forever. Raises ServerNotReached if the first request fails; after later
    failures the last document stays."""
    look = StatusLook(document=read())
    while True:
        yield look
        clock.sleep(EVERY_S)
        try:
            look = StatusLook(document=read())
        except ServerNotReached as silence:
            look = StatusLook(document=look.document, silence=str(silence))


def watch(updates: Iterator[StatusLook], show: Callable[[StatusLook], None], until: str | None) -> Document:
    """Show the updates until there is a canary and every canary is in the state `until`, or Ctrl-C. Returns
    the last document."""
    document: Document = {"canaries": []}
    try:
        for look in updates:
            document = look.document
            show(look)
            if not look.silence and {canary["state"] for canary in document["canaries"]} == {until}:
                break
    except KeyboardInterrupt:
        pass  # the user ends it this way
    return document


@contextmanager
def _screen(console: "Console") -> Iterator[Callable[[StatusLook], None]]:
    """Shows the status on the terminal's alternate screen, and leaves the last one on the main screen."""
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    from pages.status.terminal import picture

    last: Group | None = None

    def show(look: StatusLook) -> None:
        nonlocal last
        silence = [Text(f"no answer: {visible(look.silence)}", "bold red")] if look.silence else []
        last = Group(*silence, picture(look.document, time.time(), width=console.width))
        live.update(last, refresh=True)

    try:
        with Live(console=console, auto_refresh=False, screen=True) as live:
            yield show
    finally:
        if last is not None:
            console.print(last)


class StatusLines:
    """Writes a line for each canary that changed, as text or as its JSON document. For output that is not a
    terminal."""

    def __init__(self, write: Callable[[str], None], now: Callable[[], float], *, form: str) -> None:
        self._write, self._now, self._form = write, now, form
        self._seen: dict[str, object] = {}

    def show(self, look: StatusLook) -> None:
        """Write the changes."""
        moment = rfc3339(self._now())
        if self._form == "text" and self._new("", look.silence):
            self._write(f"{moment} {f'no answer: {look.silence}' if look.silence else 'answers again'}")
        for canary in look.document["canaries"]:
            if self._new(canary["name"], _what_counts(canary)):
                self._write(json.dumps(canary) if self._form == "json" else f"{moment} {_line(canary)}")

    def _new(self, about: str, seen: object) -> bool:
        """True if the value differs from the last one. The server ("") counts as answering at first."""
        before, self._seen[about] = self._seen.get(about, "" if not about else None), seen
        return before != seen


def _line(canary: Document) -> str:
    """One canary in one line: state, step, set and actual share, the rules that warn or fire, and what is
    wrong with most of its requests."""
    from common.numbers import percent, set_percent
    from pages.status.standing import standing

    stands, ramp = standing(canary), canary["ramp"]
    step = f", step {ramp['step'] + 1}/{len(ramp['steps'])}" if ramp["step"] is not None else ""
    share = f"share {set_percent(canary['share'])} set, {percent(canary['actual_share'])} actual"
    rules = "".join(f"; {rule.key} {rule.word}" for rule in stands.rules if rule.tone in ("warn", "bad"))
    why = f": {canary['reason']}" if canary["reason"] else ""
    traffic = "".join(f"; {each}" for each in stands.traffic)
    quota = (canary.get("quota") or {}).get("sentence", "")
    quota = f"; {quota}" if quota else ""
    return f"{canary['name']} {stands.word}{why}{step}, {share}{rules}{quota}{traffic}"


def _what_counts(canary: Document) -> object:
    """The values whose change prints a line. Excludes figures that change with every request."""
    rules = [(rule["rule"], rule["state"]) for rule in canary["guardrails"]]
    named = [canary[name] for name in ("state", "share", "run", "reason", "incident")]
    astray = [each["kind"] for each in canary.get("traffic", ())]
    return [*named, canary["ramp"]["step"], canary["ramp"]["held"], rules, astray]


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitResult:
    """A canary's state and verdict at the last request."""

    state: str
    verdict: str

    @property
    def settled(self) -> bool:
        return self.state in OVER or self.verdict != "extend"


def wait(
    at: shell.Server,
    name: Annotated[str, typer.Argument(help="The canary's name, or a standing canary's for its trial.")],
    timeout: Annotated[str, typer.Option(help="The longest time to wait, for example 2h.")] = "2h",
    poll: Annotated[str, typer.Option(help="How often to ask, for example 30s.")] = "30s",
    report: Annotated[
        str | None, typer.Option(help="Write the report to this file: .md, .html or .json.")
    ] = None,
) -> None:
    """Wait for a verdict, for pipelines. Decides nothing.

    Exits 0 for ship or if a standing canary tries nothing, 3 for don't ship, 4 if still open at the timeout,
    5 if rolled back.
    """
    with shell.ended_by(ValueError, code=2):
        within_s, every_s = parse_duration(timeout), parse_duration(poll)
    wanted = ReportOutput.asked(None, report, "--report")
    if report is not None and (wanted.file is None or wanted.form == "text"):
        shell.fail("--report needs a file that ends in .md, .html or .json", code=2)
    client = at.client()
    canary, tried = shell.ask(lambda: _meant(client, name))
    if canary is None:
        none = {"canary": None, "state": None, "verdict": None, "settled": True, "tried": False}
        return shell.answer(at.output, none, f"{name} tries nothing now", by=shell.say)
    path = f"/api/canaries/{quote(canary, safe='')}/report"

    def look() -> WaitResult:
        (found,) = _read(client, canary)["canaries"]
        judged = client.get(path, form="json")
        return WaitResult(state=found["state"], verdict=judged["verdict"])

    found = shell.ask(lambda: until_settled(look, within_s, max(every_s, 1.0), Clock()))
    if report is not None:
        wanted.write(shell.ask(lambda: client.text("GET", path, query={"form": wanted.form})))
    unsettled = "" if found.settled else f", still open after {timeout}"
    over = "" if tried else f"; {name} tries nothing now"
    text = f"{canary}: {found.state.replace('_', ' ')}, verdict {found.verdict}{unsettled}{over}"
    about = {"canary": canary, "state": found.state, "verdict": found.verdict}
    shell.answer(at.output, {**about, "settled": found.settled, "tried": tried}, text, by=shell.say)
    raise typer.Exit(exit_code(found) if tried else 0)


def _meant(client: AdminClient, name: str) -> tuple[str | None, bool]:
    """The canary to wait for, and whether it is tried now. Of a standing canary the newest trial that is not
    over, else the newest one, or None."""
    known = client.get("/api/status")["standing"]
    standing = next((each for each in known if each["name"] == name), None)
    if standing is None:
        return name, True
    return next(reversed(standing["trials"] or standing["over"]), None), bool(standing["trials"])


def exit_code(found: WaitResult) -> int:
    """The exit code. A rollback takes precedence over the verdict."""
    return ROLLED_BACK if found.state == "rolled_back" else shell.VERDICT_EXITS[found.verdict]


def until_settled(
    look: Callable[[], WaitResult], within_s: float, every_s: float, clock: Clock
) -> WaitResult:
    """Poll until the result is settled or the time is up.

    Raises ServerNotReached if the first request fails, or if the server is unreachable for 120 s later.
    """
    found, answered_at = look(), clock.now()
    deadline = answered_at + within_s
    while not found.settled and (left := deadline - clock.now()) > 0:
        clock.sleep(min(every_s, left))
        try:
            found, answered_at = look(), clock.now()
        except ServerNotReached:
            if clock.now() - answered_at > SILENCE_S:
                raise
    return found


def explain(
    at: shell.Server,
    unit: Annotated[str | None, typer.Argument(help="The raw id of a user or other unit.")] = None,
    session: Annotated[
        str | None, typer.Option(help="A session's raw id or hash, or the id of an exchange in it.")
    ] = None,
) -> None:
    """Show which arm a unit gets in each canary, why, and what changes in its requests; or what happened in a
    session. Sends and records nothing."""
    if (unit is None) == (session is None):
        shell.fail("name a unit or a --session", code=2)
    about = {"unit": unit} if unit is not None else {"session": session or ""}
    document = shell.ask(lambda: at.client().get("/api/explain", **about))
    if session is not None and at.output == "text":
        from pages.reports.session import from_json, rendered

        return shell.print_text(rendered(from_json(document), "text").rstrip("\n"))
    return shell.answer(at.output, document, "\n".join(_explained(document, unit or "")))


def _explained(document: Document, unit: str) -> Iterator[str]:
    """What each canary and each standing one has for the unit, and what changes in its requests."""
    from pages.words.status import named

    if document.get("unit", "") != unit.strip():
        yield f"the unit in this text is {document['unit']}"
    for each in document.get("canaries", ()):
        yield f"{each['canary']}: {_arm(each)}"
        for arm, changes in each["request"].items():
            if changes:
                yield f"  the {arm}'s requests are changed: {_in_words(changes)}"
        for arm, texts in each["texts"].items():
            if texts:
                yield f"  the {arm} has its own {_texts_in_words(texts)}"
        if each["prompt_missed"]:
            yield f"  {each['prompt_missed']:,} requests of this run had not the prompt's text"
    for name, arm in document.get("standing", {}).items():
        yield f"{name}: {named(arm)} (standing: whatever no trial of it takes)"


def _arm(found: Document) -> str:
    lane = found["lane"]
    if found["arm"] is None or (found["reason"] == "no_lane" and (lane is None or not found["refused"])):
        return str(found["sentence"])
    of_lane = "" if lane is None or found["refused"] else f"in its lane, {lane['size']:.1%} of the units; "
    return f"{found['arm']}, {found['model']} ({of_lane}{found['sentence']})"


def _texts_in_words(texts: Document) -> str:
    """An arm's own texts: prompt 1a2b3c4d; description of get_order."""
    prompt = [f"prompt {texts['prompt']['put'][:8]}"] if "prompt" in texts else []
    return "; ".join([*prompt, *(f"description of {name}" for name in texts.get("tools", ()))])


def _in_words(changes: Document) -> str:
    """An arm's `request:` in the order in which its parts apply."""
    steps = [f"{name} is renamed to {new}" for name, new in changes.get("rename", {}).items()]
    steps += [f"{name} is removed" for name in changes.get("remove", ())]
    for key, words in (("set", "is set to {}"), ("default", "is {} by default")):
        given = changes.get(key, {}).items()
        steps += [f"{name} {words.format(json.dumps(value, ensure_ascii=False))}" for name, value in given]
    return "; ".join(steps)
