"""Keeps showing where canaries stand: a picture redrawn each second, or a line a change. Decides nothing."""

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
from canary.commands.show import picture
from canary.commands.wait import Clock
from console import words
from console.standing import standing

EVERY_S = 1.0

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The newest status document there is; `silence` is why no newer one came, "" when it is of now."""

    document: Document
    silence: str = ""


class View(Protocol):
    """Where it is shown."""

    def show(self, look: Look) -> None:
        """Show one look."""
        ...


def looks(read: Callable[[], Document], clock: Clock) -> Iterator[Look]:
    """One look a second, for ever. NotReached if the first gets no answer; later the last one stays."""
    look = Look(document=read())
    while True:
        yield look
        clock.sleep(EVERY_S)
        try:
            look = Look(document=read())
        except NotReached as silence:
            look = Look(document=look.document, silence=str(silence))


def watch(coming: Iterator[Look], view: View, until: str | None) -> Document:
    """Show them until every canary is in the state `until`, or Ctrl-C: the last document."""
    document: Document = {"canaries": []}
    try:
        for look in coming:
            document = look.document
            view.show(look)
            if not look.silence and arrived(document, until):
                break
    except KeyboardInterrupt:
        pass  # the way to end it
    return document


def arrived(document: Document, until: str | None) -> bool:
    """True when each canary, and there is one, is in that state."""
    states = {canary["state"] for canary in document["canaries"]}
    return until is not None and states == {until}


class OnScreen:
    """A terminal: the picture in place, on a screen of its own; the last one stays when it ends."""

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

    def show(self, look: Look) -> None:
        """Redraw."""
        silence = [Text(f"no answer: {look.silence}", "bold red")] if look.silence else []
        self._last = Group(*silence, picture(look.document, self._now(), width=self._console.width))
        self._live.update(self._last, refresh=True)


class Lines:
    """No terminal: a line for each canary that changed, as prose or as its JSON document."""

    def __init__(self, write: Callable[[str], None], now: Callable[[], float], *, form: str) -> None:
        self._write, self._now, self._form = write, now, form
        self._seen: dict[str, object] = {}

    def show(self, look: Look) -> None:
        """Write what is not as it was."""
        if self._form == "text" and self._new("", look.silence):
            self._write(
                f"{self._moment()} {f'no answer: {look.silence}' if look.silence else 'answers again'}"
            )
        for canary in look.document["canaries"]:
            if self._new(canary["name"], _what_counts(canary)):
                whole = json.dumps(canary)
                self._write(whole if self._form == "json" else f"{self._moment()} {line(canary)}")

    def _new(self, about: str, seen: object) -> bool:
        """True when it is not what was seen last; silence that has not been is nothing new."""
        before, self._seen[about] = self._seen.get(about, "" if not about else None), seen
        return before != seen

    def _moment(self) -> str:
        return datetime.fromtimestamp(self._now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def line(canary: Document) -> str:
    """One canary in one line: state, step, both shares, and each rule that is not content."""
    stands, ramp = standing(canary), canary["ramp"]
    step = f", step {ramp['step'] + 1}/{len(ramp['steps'])}" if ramp["step"] is not None else ""
    actual = words.percent(canary["actual_share"])
    share = f"share {words.percent(canary['share'])} set, {actual} actual"
    rules = "".join(f"; {rule.key} {rule.word}" for rule in stands.rules if rule.tone in ("warn", "bad"))
    why = f": {canary['reason']}" if canary["reason"] else ""
    return f"{canary['name']} {stands.word}{why}{step}, {share}{rules}".replace("\u00a0", " ")


def _what_counts(canary: Document) -> object:
    """What makes a line when it changes: no figure that moves with every request."""
    rules = [(rule["rule"], rule["state"]) for rule in canary["guardrails"]]
    named = [canary[name] for name in ("state", "share", "run", "reason", "incident")]
    return [*named, canary["ramp"]["step"], canary["ramp"]["held"], rules]
