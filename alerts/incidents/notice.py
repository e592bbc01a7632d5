"""One message about an incident: its text, its payload for each kind of receiver, and its links to the page.

A link carries nothing out. Whoever follows it signs in, reads what the dialog says, gives a name, and presses
its button. Pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import quote, urlencode

from alerts.rules.places import CandidateError, to_document
from alerts.wording import cut, quoted
from common.concentration import FailingPart
from common.numbers import count

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


def plain_links(console: str | None, canary: str, offers: Sequence[Offer], reason: str) -> list[str]:
    """The same links, one a line of text: what is offered, and where."""
    if console is None:
        return []
    return [f"{_WORDS[each]} {offer_url(console, canary, each, reason)}" for each in offers]


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


EventName = Literal["page", "update", "resolved"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One message for the receivers. (dedup_key, sequence) is unique. Times are UTC seconds. `page` is the
    path of the incident's page in the console, `offers` what else a message links to there. `rolled_back` is
    True once the candidate was rolled back. `headline` is the sentence on call, `title` the same in at most
    120 characters. `owner` is who decided about the canary when the incident opened, "" for nobody named."""

    event: EventName
    dedup_key: str
    sequence: int
    at: float
    canary: str
    incident: str
    opened_at: float
    headline: str
    title: str = ""
    rules: tuple[str, ...]
    details: Mapping[str, str]
    done: str
    requests: int | None = None
    users: int | None = None
    where: tuple[FailingPart, ...] = ()
    provider_error: CandidateError | None = None
    page: str = ""
    offers: tuple[Offer, ...] = ()
    rolled_back: bool = False
    owner: str = ""


FIRING_FOR_S = 600.0
"""An Alertmanager alert expires this long after the last post, that is after ten missed re-posts."""
PAGERDUTY_SUMMARY = 1024


def utc_text(at: float) -> str:
    """UTC seconds as RFC 3339 with milliseconds."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def link_to(notice: Notice, console: str | None) -> str | None:
    """The URL of a notice's page. `console` is the console's public URL, None if unknown."""
    return None if console is None else f"{console.rstrip('/')}/{notice.page}"


def webhook_payload(notice: Notice, link: str | None = None) -> dict[str, Any]:
    """The generic webhook's body.

    `event`: page, update or resolved. `dedup_key`: the same for all events of an incident. `sequence`: 0, 1,
    2 … `owner`: who decides about the canary, null for nobody named. `at`, `opened_at`: RFC 3339.
    `rules`: in the order in which they joined. `details`: {rule: sentence}.
    `headline`: the sentence on call, `title`: the same in at most 120 characters, without a provider's words.
    `where`: the parts of the traffic in which the candidate fails, `[{by, value, failing, of, share}]`.
    `provider_error`: what the candidate's provider said, null for nothing.
    `requests`, `users`: affected, null if unknown. `done`: what canary did. `link`: the page with the
    evidence.
    """
    return {
        "event": notice.event,
        "dedup_key": notice.dedup_key,
        "sequence": notice.sequence,
        "canary": notice.canary,
        "owner": notice.owner or None,
        "incident": notice.incident,
        "at": utc_text(notice.at),
        "opened_at": utc_text(notice.opened_at),
        "headline": notice.headline,
        "title": notice.title,
        "rules": list(notice.rules),
        "details": dict(notice.details),
        "where": [part._asdict() for part in notice.where],
        "provider_error": to_document(notice.provider_error),
        "requests": notice.requests,
        "users": notice.users,
        "done": notice.done,
        "link": link,
    }


def alertmanager_payload(notice: Notice, now: float, link: str | None = None) -> list[dict[str, Any]]:
    """One alert. Its labels are its identity in Alertmanager and do not change within an incident."""
    over = notice.event == "resolved"
    return [
        ({"generatorURL": link} if link else {})
        | {
            "labels": {
                "alertname": "CanaryIncident",
                "canary": notice.canary,
                "incident": notice.incident,
                "dedup_key": notice.dedup_key,
                "severity": "critical",
                **({"owner": notice.owner} if notice.owner else {}),
            },
            "annotations": {"summary": notice.headline, "description": describe(notice, link)},
            "startsAt": utc_text(notice.opened_at),
            "endsAt": utc_text(now if over else now + FIRING_FOR_S),
        }
    ]


def pagerduty_payload(notice: Notice, routing_key: str, link: str | None = None) -> dict[str, Any]:
    """A trigger or a resolve event. An update is another trigger with the same key."""
    event: dict[str, Any] = {
        "routing_key": routing_key,
        "event_action": "resolve" if notice.event == "resolved" else "trigger",
        "dedup_key": notice.dedup_key,
    }
    if notice.event != "resolved":
        event["payload"] = {
            "summary": notice.title or notice.headline[:PAGERDUTY_SUMMARY],
            "source": f"canary/{notice.canary}",
            "severity": "critical",
            "timestamp": utc_text(notice.at),
            "component": notice.canary,
            "class": notice.rules[0] if notice.rules else "guardrail",
            "custom_details": webhook_payload(notice, link),
        }
        if link:
            event |= {"client": "canary", "client_url": link, "links": [{"href": link, "text": "Evidence"}]}
    return event


def slack_payload(notice: Notice, link: str | None = None, console: str | None = None) -> dict[str, Any]:
    """One message, which links to the orders that it calls for. `console` is the page's public URL, None if
    nobody said. Slack's control characters are escaped, because callers choose parts of the text."""
    undone = notice.event == "update" and notice.rolled_back
    text = f"{'' if undone else f'*{notice.event}* '}{notice.headline}\n{describe(notice, link)}"
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    links = slack_links(console, notice.canary, notice.offers, notice.title)
    mark = ":rewind:" if undone else _MARKS[notice.event]
    return {"text": f"{mark} {escaped}{links}"}


APPRISE_TYPES: Mapping[EventName, str] = {"page": "failure", "update": "warning", "resolved": "success"}
"""What Apprise calls each event, for the receivers' symbols and colours."""


def apprise_payload(notice: Notice, link: str | None = None, console: str | None = None) -> dict[str, str]:
    """A message's title, text and type. `console` is the page's public URL, None if nobody said."""
    links = plain_links(console, notice.canary, notice.offers, notice.title)
    return {
        "title": notice.title or cut(notice.headline),
        "body": "\n".join([notice.headline, describe(notice, link), *links]),
        "type": APPRISE_TYPES[notice.event],
    }


_MARKS: Mapping[EventName, str] = {
    "page": ":rotating_light:",
    "update": ":information_source:",
    "resolved": ":white_check_mark:",
}


def describe(notice: Notice, link: str | None = None) -> str:
    """What stands below the headline: canary, start, each rule's sentence, what is affected, owner, link."""
    rules = _rules(notice)
    if notice.provider_error is not None and quoted(notice.provider_error.words) not in notice.headline:
        error = notice.provider_error
        named = f" (request {error.request_id})" if error.request_id else ""
        rules.append(f"the provider's newest error: {error.sentence}{named}")
    opened = f"{notice.canary}: incident since {utc_text(notice.opened_at)}"
    affected = _affected({"request": notice.requests, "affected user": notice.users})
    owner = [f"owner: {notice.owner}"] if notice.owner else []
    return "\n".join([opened, *rules, *affected, *owner, *([link] if link else [])])


def _rules(notice: Notice) -> list[str]:
    """Each rule's sentence. Where the failing exchanges lie is said once, in the headline or in a line."""
    place = f"in {notice.where[0].place} (" if notice.where else ""
    told, lines = place in notice.headline, []
    for rule, sentence in notice.details.items():
        own, _, last = sentence.rpartition("; ")
        again = bool(place) and place in last
        lines.append(f"{rule}: {own if again and told else sentence}")
        told = told or again
    return lines


def _affected(counts: Mapping[str, int | None]) -> list[str]:
    known = [count(number, what) for what, number in counts.items() if number is not None]
    return [", ".join(known)] if known else []


# A receiver of pages, as configured. A value of the config, which every process has.


ReceiverKind = Literal["alertmanager", "pagerduty", "slack", "webhook", "apprise"]

OWNER = "{owner}"
"""Where it stands in a receiver's URL, the owner of what asks for a decision is filled in."""

PAGERDUTY_URL = "https://events.pagerduty.com/v2/enqueue"
"""PagerDuty's Events API v2, the default URL of a PagerDuty receiver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """One receiver of incidents; of kind `apprise` with OWNER in its URL, of what owners decide instead.

    `url` is not in the repr, because it may be a secret (Slack's and most webhooks' are). `key` is
    PagerDuty's routing key; other kinds have none.
    """

    kind: ReceiverKind
    url: str = field(repr=False)
    key: str | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """Its kind, and which of Apprise's it is; without its address."""
        return f"apprise {self.url.partition('://')[0]}" if self.kind == "apprise" else self.kind

    @property
    def is_owners(self) -> bool:
        """True for a receiver that reaches owners only."""
        return self.kind == "apprise" and OWNER in self.url

    def of(self, owner: str) -> "Receiver":
        """The receiver that reaches this owner."""
        return replace(self, url=self.url.replace(OWNER, quote(owner, safe="")))
