"""Writes docs/examples/finance/documents.jsonl: invented business documents from a fixed seed.

python -m tests.example_invoices
"""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[1] / "docs" / "examples" / "finance" / "documents.jsonl"
COUNT = 120
TOLERANCE = 0.005

ASKED = (
    "Read this document and answer with a JSON object only: supplier, number, date (YYYY-MM-DD), currency "
    "(ISO code), net, tax and total as numbers."
)
SUPPLIERS = (
    "Alder & Finch Joinery", "Baltic Freight Oy", "Caldera Coffee Roasters", "Dunmore Print Works",
    "Estuary Boatyard Ltd", "Fjellheim Elektro AS", "Gable Roofing GmbH", "Harrow Dental Supplies",
    "Isar Laborbedarf", "Juniper Catering", "Kestrel Drone Survey", "Lindholm Papper AB", "Moorland Feed Co.",
    "Nimbus Hosting BV", "Orchard Lane Nursery", "Petit Atelier SARL", "Quay Street Cleaning",
    "Redwood Scaffolding", "Saltmarsh Fisheries", "Tilia Landscape Architects", "Umbra Stage Lighting",
    "Vesper Translations", "Wicker & Sons Movers", "Xylem Water Testing", "Yarrow Veterinary Group",
    "Zephyr Turbine Service",
)  # fmt: skip
ITEMS = (
    ("oak door, fitted", 640),
    ("pallet, Turku to Kiel", 385),
    ("green beans, 15 kg", 212),
    ("A2 poster, 500", 148),
    ("antifouling, hull", 930),
    ("switchboard inspection", 275),
    ("slate, square metre", 58),
    ("nitrile gloves, box", 9),
    ("centrifuge tubes, 1,000", 74),
    ("lunch for twelve", 186),
    ("aerial survey, hectare", 45),
    ("envelopes, carton", 33),
    ("barley, tonne", 228),
    ("virtual server, month", 62),
    ("pear tree, half standard", 41),
    ("curtain, made to measure", 317),
    ("window cleaning, floor", 96),
    ("scaffold, week", 410),
    ("mussels, 5 kg", 37),
    ("planting plan, revised", 1250),
    ("moving head, hire per day", 88),
    ("translation, page", 29),
    ("piano transport", 540),
    ("well water analysis", 119),
    ("herd visit", 165),
    ("blade repair", 2875),
    ("call-out at night", 145),
    ("training day", 890),
)
CURRENCIES = (("EUR", "€"), ("GBP", "£"), ("USD", "$"), ("SEK", "kr"))
RATES = (0.0, 0.07, 0.19, 0.2, 0.25)
NOTES = (
    "Goods remain ours until paid.",
    "Please quote the number with your payment.",
    "2 % discount within 10 days.",
    "Contact: accounts desk, weekdays until four.",
    "Thank you for your order.",
    "Delivered as agreed by telephone.",
    "Prices as in our list of September.",
    "The previous copy of this document is void.",
)


@dataclass(frozen=True, kw_only=True)
class Paper:
    """One document's facts. Amounts in `currency`, rounded to cents."""

    supplier: str
    number: str
    day: date
    currency: str
    sign: str
    lines: tuple[tuple[str, int, float], ...]
    rate: float
    note: str

    @property
    def net(self) -> float:
        return round(sum(count * price for _, count, price in self.lines), 2)

    @property
    def tax(self) -> float:
        return round(self.net * self.rate, 2)

    @property
    def total(self) -> float:
        return round(self.net + self.tax, 2)

    @property
    def expected(self) -> dict[str, Any]:
        return {
            "supplier": self.supplier,
            "number": self.number,
            "date": self.day.isoformat(),
            "currency": self.currency,
            "net": self.net,
            "tax": self.tax,
            "total": self.total,
        }


def invoice(paper: Paper) -> str:
    rows = "\n".join(f"{count:>4} x {name:<30}{count * price:>12,.2f}" for name, count, price in paper.lines)
    return (
        f"{paper.supplier.upper()}\nINVOICE {paper.number}      {paper.day:%d %B %Y}\n\n{rows}\n\n"
        f"Net {paper.sign} {paper.net:,.2f}\nVAT {paper.rate:.0%} {paper.sign} {paper.tax:,.2f}\n"
        f"Amount due {paper.sign} {paper.total:,.2f} ({paper.currency})\n{paper.note}"
    )


def letter(paper: Paper) -> str:
    named = "; ".join(f"{count} of {name} at {price:,.2f}" for name, count, price in paper.lines)
    return (
        f"Dear customer,\n\nfor your order we charge, under reference {paper.number}: {named}. This comes to "
        f"{paper.net:,.2f} {paper.currency} before tax, {paper.tax:,.2f} tax, "
        f"together {paper.total:,.2f}.\n\n"
        f"{paper.note}\n\nYours sincerely,\n{paper.supplier}\n{paper.day:%-d.%-m.%Y}"
    )


def receipt(paper: Paper) -> str:
    rows = "\n".join(
        f"{name}\n   {count} @ {price:.2f}  {count * price:.2f}" for name, count, price in paper.lines
    )
    return (
        f"* {paper.supplier} *\n{paper.day:%Y/%m/%d}  till 3\n{rows}\nSUBTOTAL {paper.net:.2f}\n"
        f"TAX {paper.tax:.2f}\nTOTAL {paper.currency} {paper.total:.2f}\nREF {paper.number}\n{paper.note}"
    )


def mail(paper: Paper) -> str:
    rows = "\n".join(f"- {name} ({count})" for name, count, _ in paper.lines)
    return (
        f"From: billing\nSubject: {paper.number} from {paper.supplier}\n"
        f"Date: {paper.day:%a, %d %b %Y}\n\nHi,\n"
        f"please find the summary below.\n{rows}\n\nTotal incl. tax: {paper.sign}{paper.total:,.2f}\n"
        f"of which tax: {paper.sign}{paper.tax:,.2f}\nnet: {paper.sign}{paper.net:,.2f}\n"
        f"currency: {paper.currency}\n{paper.note}"
    )


def table(paper: Paper) -> str:
    rows = "\n".join(f"{name};{count};{price:.2f}" for name, count, price in paper.lines)
    return (
        f"supplier;{paper.supplier}\ndocument;{paper.number}\nissued;{paper.day}\n"
        f"item;qty;unit\n{rows}\n"
        f"sum net;{paper.net:.2f}\nsum tax;{paper.tax:.2f}\n"
        f"sum gross;{paper.total:.2f}\ncurrency;{paper.currency}"
    )


def dictated(paper: Paper) -> str:
    return (
        f"Note from the phone, {paper.day:%d/%m/%Y}: {paper.supplier} confirmed document {paper.number}, "
        f"mostly {paper.lines[0][0]}. They said {paper.total:,.2f} {paper.currency} altogether, that is "
        f"{paper.net:,.2f} plus {paper.tax:,.2f} of tax. {paper.note}"
    )


LAYOUTS: tuple[Callable[[Paper], str], ...] = (invoice, letter, receipt, mail, table, dictated)


def papers() -> Iterator[Paper]:
    """The facts of every document, the same each time."""
    draws = random.Random(20261126)
    for place in range(COUNT):
        currency, sign = draws.choice(CURRENCIES)
        items = draws.sample(ITEMS, draws.randint(1, 4))
        yield Paper(
            supplier=draws.choice(SUPPLIERS),
            number=f"{draws.choice(('RE', 'INV-', 'F/', 'No. ', '26-'))}{10_000 + 37 * place}",
            day=date(2026, 1, 5) + timedelta(days=draws.randint(0, 300)),
            currency=currency,
            sign=sign,
            lines=tuple(
                (name, draws.randint(1, 24), round(price * draws.uniform(0.9, 1.15), 2))
                for name, price in items
            ),
            rate=draws.choice(RATES),
            note=draws.choice(NOTES),
        )


def lines() -> Iterator[dict[str, Any]]:
    """The dataset's lines; each layout is a category."""
    for place, paper in enumerate(papers()):
        layout = LAYOUTS[place % len(LAYOUTS)]
        yield {
            "id": f"{layout.__name__}-{place + 1:03d}",
            "task": "extract",
            "input": f"{ASKED}\n\n{layout(paper)}",
            "expected": paper.expected,
            "tolerance": TOLERANCE,
            "category": layout.__name__,
        }


def text() -> str:
    """The whole file."""
    return "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines())


if __name__ == "__main__":
    FILE.write_text(text())
