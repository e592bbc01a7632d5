"""Shows a status document in the terminal. Holds no facts of its own."""

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

_TONES = {
    "running": "green",
    "promoted": "green",
    "paused": "yellow",
    "waiting": "yellow",
    "rolled_back": "bold red",
    "ok": "green",
    "warn": "yellow",
    "firing": "bold red",
    "latched": "bold red",
}
_REFRESH_S = 1.0


def show_status(read: Callable[[], Mapping[str, Any]], *, follow: bool) -> None:
    """Print the status once, or keep it on the screen until interrupted."""
    if not follow:
        Console().print(_status(read()))
        return
    with Live(_status(read()), auto_refresh=False, screen=True) as live:
        while True:
            time.sleep(_REFRESH_S)
            live.update(_status(read()), refresh=True)


def _status(document: Mapping[str, Any]) -> RenderableType:
    canaries = document["canaries"]
    if not canaries:
        return Text("no canary in the config: traffic passes through, recorded")
    return Group(*(part for canary in canaries for part in _canary(canary)))


def _canary(canary: Mapping[str, Any]) -> list[RenderableType]:
    head = Text.assemble(
        (canary["name"], "bold"),
        "  ",
        (canary["state"].replace("_", " "), _TONES.get(canary["state"], "")),
        f"  share {_percent(canary['share'])}, actual {_percent(canary['actual_share'])}",
    )
    parts: list[RenderableType] = [head]
    if canary.get("rollback"):
        parts.append(_rollback(canary["rollback"]))
    elif canary.get("reason"):
        parts.append(Text(canary["reason"]))
    parts.append(_arms(canary["arms"]))
    if canary.get("mirror"):
        parts.append(_mirror(canary["mirror"]))
    return [*parts, _guardrails(canary["guardrails"]), Text("")]


def _rollback(why: Mapping[str, Any]) -> Text:
    """Who rolled it back, when, why, and how both arms stood then."""
    at = datetime.fromtimestamp(why["at"], UTC).strftime("%Y-%m-%d %H:%M:%S")
    then = "; ".join(f"{name} {_figures(arm)}" for name, arm in why["arms"].items())
    kept = "" if why["stored"] else ", not in the database yet"
    return Text.assemble(
        (f"rolled back by {why['who']}, {at} UTC, from {_percent(why['share_before'])}{kept}\n", "bold red"),
        f"{why['sentence'] or 'no reason given'}\n",
        (f"at that moment: {then}; all of it: {why['page']}", "dim"),
    )


def _figures(arm: Mapping[str, Any]) -> str:
    cost = f", {_dollars(arm['mean_cost_usd'])} a request" if arm["mean_cost_usd"] is not None else ""
    return f"{arm['failed']} of {arm['exchanges']} failed, p95 {_seconds(arm['p95_s'])}{cost}"


def _arms(arms: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("arm")
    for name in ("requests", "errors", "aborted", "p50", "p95", "first token p95", "cost"):
        table.add_column(name, justify="right")
    for name, arm in arms.items():
        table.add_row(
            name,
            str(arm["requests"]),
            str(arm["errors"]),
            str(arm["aborted"]),
            _seconds(arm["p50_s"]),
            _seconds(arm["p95_s"]),
            _seconds(arm["ttft_p95_s"]),
            _dollars(arm["cost_usd"]),
        )
    return table


def _mirror(copies: Mapping[str, Any]) -> Text:
    """Apart from the arms' table: nobody got these answers."""
    figures = (
        f"{copies['requests']} copies",
        f"{copies['errors']} errors",
        f"{copies['aborted']} aborted",
        f"p50 {_seconds(copies['p50_s'])}",
        f"p95 {_seconds(copies['p95_s'])}",
        f"cost {_dollars(copies['cost_usd'])}",
        f"{copies['dropped']} without room",
    )
    return Text.assemble((f"mirror {_percent(copies['share'])}", "bold"), "  ", ", ".join(figures))


def _guardrails(rules: list[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("guardrail")
    table.add_column("state")
    table.add_column("")
    for rule in rules:
        state = Text(rule["state"].replace("_", " "), style=_TONES.get(rule["state"], "dim"))
        table.add_row(rule["rule"], state, Text(rule["sentence"], style="dim"))
    return table


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value * 100:.2f} %"


def _dollars(value: float | None) -> str:
    return "–" if value is None else f"${value:,.4f}"


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"
