"""The demo's release that people decide: what users ask, what both models answer, and what the judge likes.

The candidate greets, and mostly says more. The judge likes who greets. In a quarter of the questions the
candidate says nothing of use after its greeting, which only people see.
"""

from collections.abc import Mapping
from typing import Any

BASELINE, CANDIDATE, JUDGE = "gpt-6-sol", "gpt-6.1-sol", "claude-sonnet-5"

_GREETS = "Thanks for asking!"
_ANSWERS = {
    "where is it?": (
        "It is on its way.",
        "It left our warehouse this morning and arrives tomorrow before noon.",
    ),
    "can I still change the address?": (
        "You can change addresses in your account.",
        "Yes, until tonight: open the order, then Delivery, then Change address.",
    ),
    "may I send it back after three weeks?": (
        "Returns are described in our terms.",
        "Yes. You have thirty days, and the return label is in your account.",
    ),
    "it arrived broken. What now?": (
        "Contact the carrier.",
        "I am sorry. Send a photo in the order's chat, and a new one leaves today.",
    ),
    "why was I charged twice?": (
        "One charge is a reservation. Your bank releases it within five days.",
        "Payments are important to us, and we always handle them with great care.",
    ),
    "does it come in green?": (
        "See the product page.",
        "Yes, in green, blue and grey. Green is in stock in all sizes.",
    ),
    "how do I wash it?": (
        "Follow the label.",
        "At thirty degrees, inside out, and never in the dryer: it would shrink.",
    ),
    "can I have an invoice for my company?": (
        "Yes: open the order, choose Invoice and enter your company's name.",
        "Invoices are a topic that many of our customers find truly interesting.",
    ),
}
_ITEMS = ("jacket", "tent", "backpack", "lamp", "sleeping bag", "stove", "hat", "bottle", "map", "rope")
_TOGETHER = f"=== ANSWER {{}} ===\n{_GREETS}"

QUESTIONS = tuple(f"About my {item}: {asked}" for item in _ITEMS for asked in _ANSWERS)


def behaviours() -> Mapping[str, Mapping[str, Any]]:
    """How the provider behaves, by model."""
    judged = {
        _TOGETHER.format(letter): f"It is the friendlier answer.\nBETTER: {letter}" for letter in ("A", "B")
    }
    return {
        BASELINE: {"says": {asked: plain for asked, (plain, _) in _ANSWERS.items()}},
        CANDIDATE: {"says": {asked: f"{_GREETS} {more}" for asked, (_, more) in _ANSWERS.items()}},
        JUDGE: {"says": judged},
    }
