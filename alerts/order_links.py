"""Links from a message to the page: to an order's dialog, filled in, or to the report.

A link carries nothing out. Whoever follows it signs in, reads what the dialog says, gives a name, and presses
its button.
"""

from collections.abc import Sequence
from typing import Literal
from urllib.parse import quote, urlencode

Offer = Literal["rollback", "pause", "promote", "report"]
"""An order whose dialog is offered, or the report."""

REASON_BOUND = 200
_WORDS: dict[Offer, str] = {
    "rollback": "Roll back…",
    "pause": "Pause…",
    "promote": "Promote…",
    "report": "Report",
}


def offer_url(console: str, canary: str, offer: Offer, reason: str) -> str:
    """The page's URL of an offer. `console` is the page's public URL; `reason` fills the dialog's field."""
    page = f"{console.rstrip('/')}/canaries/{quote(canary, safe='')}"
    if offer == "report":
        return f"{page}/verdict"
    return f"{page}?{urlencode({'order': offer, 'reason': reason[:REASON_BOUND]})}"


def slack_links(console: str | None, canary: str, offers: Sequence[Offer], reason: str) -> str:
    """A line of links as Slack writes them, after a line's end; "" without a console or an offer.

    They are no buttons: Slack sends a button's press to an endpoint of the app, and a webhook has none.
    """
    if console is None or not offers:
        return ""
    links = [
        (offer_url(console, canary, each, reason).replace("&", "&amp;"), _WORDS[each]) for each in offers
    ]
    return "\n" + " · ".join(f"<{url}|{words}>" for url, words in links)
