"""Prints the result of `canary simulate` in the terminal."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


def show(document: Mapping[str, Any]) -> None:
    """Print the result."""
    console = Console()
    for text in _prose(document):
        console.print(text, soft_wrap=True)
    if document["bad_candidates"]:
        console.print(_table(document["bad_candidates"]))
        legend = (
            "median – 95th percentile, counted from when the candidate went bad; outcomes are the candidate's"
        )
        console.print(Text(legend, style="dim"))
    if document["not_simulated"]:
        missing = (
            f"not simulated: {', '.join(document['not_simulated'])}; the traffic has no feedback, categories"
            " or tags, and sessions only where asked for, so no figure here speaks of these rules"
        )
        console.print(Text(missing), soft_wrap=True)


def _prose(document: Mapping[str, Any]) -> Iterator[Text]:
    traffic, calm = document["traffic"], document["equal_arms"]
    yield Text.assemble(
        (document["canary"], "bold"),
        f": {traffic['rate']:g} requests per second from {traffic['users']} users,"
        f" {100 * traffic['share']:g} % to the candidate; {100 * traffic['base_error']:g} % fail in a healthy"
        " arm",
    )
    if calm["weeks"]:
        back, paged = sum(calm["rolled_back"].values()), sum(calm["paged"].values())
        yield Text(
            f"equal arms: {back} of {calm['weeks']} weeks rolled back{_by(calm['rolled_back'])}, so at most"
            f" {100 * calm['rolled_back_at_most']:.2g} % of all weeks; {paged} paged{_by(calm['paged'])}"
        )


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("candidate")
    for name in ("minutes to page", "outcomes", "rolled back", "minutes", "outcomes"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row["candidate"],
            _between(row["minutes_to_page"]),
            _between(row["outcomes_to_page"]),
            f"{sum(row['rolled_back'].values())} of {row['runs']}",
            _between(row["minutes"]),
            _between(row["outcomes"]),
        )
    return table


def _between(spread: Mapping[str, float | None]) -> str:
    low, high = ("never" if value is None else f"{value:.3g}" for value in (spread["median"], spread["p95"]))
    return f"{low} – {high}" if low != high else low


def _by(counts: Mapping[str, int]) -> str:
    return f" ({', '.join(f'{rule} {count}' for rule, count in counts.items())})" if counts else ""
