"""`canary status --watch`: redraws the status every second, or prints a line per change."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from canary.commands.client import NotReached
from canary.commands.wait import Clock
from common.numbers import percent, set_percent
from common.text import visible
from pages.status.standing import standing
from pages.status.terminal import picture

EVERY_S = 1.0

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """The newest status document. `silence` says why the server sent no newer one; "" if it did."""

    document: Document
    silence: str = ""


class View(Protocol):
    """Where the status is shown."""

    def show(self, look: Glance) -> None:
        """Show a status document."""
        ...


def looks(read: Callable[[], Document], clock: Clock) -> Iterator[Glance]:
    """Poll the status every second, forever. Raises NotReached if the first request fails; after later
    failures the last document stays."""
    look = Glance(document=read())
    while True:
        yield look
        clock.sleep(EVERY_S)
        try:
            look = Glance(document=read())
        except NotReached as silence:
            look = Glance(document=look.document, silence=str(silence))


def watch(updates: Iterator[Glance], view: View, until: str | None) -> Document:
    """Show the updates until every canary is in the state `until`, or Ctrl-C. Returns the last document."""
    document: Document = {"canaries": []}
    try:
        for look in updates:
            document = look.document
            view.show(look)
            if not look.silence and arrived(document, until):
                break
    except KeyboardInterrupt:
        pass  # the user ends it this way
    return document


def arrived(document: Document, until: str | None) -> bool:
    """True if there is a canary and every canary is in that state."""
    states = {canary["state"] for canary in document["canaries"]}
    return until is not None and states == {until}


class OnScreen:
    """Redraws the status on the terminal's alternate screen, and leaves the last one on the main screen."""

    def __init__(self, console: Console, now: Callable[[], float]) -> None:
        self._console, self._now = console, now
        self._live = Live(console=console, auto_refresh=False, screen=True)
        self._last: Group | None = None

    def __enter__(self) -> "OnScreen":
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()
        if self._last is not None:
            self._console.print(self._last)

    def show(self, look: Glance) -> None:
        """Redraw."""
        silence = [Text(f"no answer: {visible(look.silence)}", "bold red")] if look.silence else []
        self._last = Group(*silence, picture(look.document, self._now(), width=self._console.width))
        self._live.update(self._last, refresh=True)


class Lines:
    """Writes a line for each canary that changed, as text or as its JSON document. For output that is not a
    terminal."""

    def __init__(self, write: Callable[[str], None], now: Callable[[], float], *, form: str) -> None:
        self._write, self._now, self._form = write, now, form
        self._seen: dict[str, object] = {}

    def show(self, look: Glance) -> None:
        """Write the changes."""
        if self._form == "text" and self._new("", look.silence):
            self._write(
                f"{self._moment()} {f'no answer: {look.silence}' if look.silence else 'answers again'}"
            )
        for canary in look.document["canaries"]:
            if self._new(canary["name"], _what_counts(canary)):
                whole = json.dumps(canary)
                self._write(whole if self._form == "json" else f"{self._moment()} {line(canary)}")

    def _new(self, about: str, seen: object) -> bool:
        """True if the value differs from the last one. The server ("") counts as answering at first."""
        before, self._seen[about] = self._seen.get(about, "" if not about else None), seen
        return before != seen

    def _moment(self) -> str:
        return datetime.fromtimestamp(self._now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def line(canary: Document) -> str:
    """One canary in one line: state, step, set and actual share, the rules that warn or fire, and what is
    wrong with most of its requests."""
    stands, ramp = standing(canary), canary["ramp"]
    step = f", step {ramp['step'] + 1}/{len(ramp['steps'])}" if ramp["step"] is not None else ""
    actual = percent(canary["actual_share"])
    share = f"share {set_percent(canary['share'])} set, {actual} actual"
    rules = "".join(f"; {rule.key} {rule.word}" for rule in stands.rules if rule.tone in ("warn", "bad"))
    why = f": {canary['reason']}" if canary["reason"] else ""
    traffic = "".join(f"; {each}" for each in stands.traffic)
    return f"{canary['name']} {stands.word}{why}{step}, {share}{rules}{traffic}"


def _what_counts(canary: Document) -> object:
    """The values whose change prints a line. Excludes figures that change with every request."""
    rules = [(rule["rule"], rule["state"]) for rule in canary["guardrails"]]
    named = [canary[name] for name in ("state", "share", "run", "reason", "incident")]
    astray = [each["kind"] for each in canary.get("traffic", ())]
    return [*named, canary["ramp"]["step"], canary["ramp"]["held"], rules, astray]
