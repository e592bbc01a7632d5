"""Where a page goes, as the config names it. Not how it is sent."""

from dataclasses import dataclass, field
from typing import Literal

ReceiverKind = Literal["alertmanager", "pagerduty", "slack", "webhook"]

PAGERDUTY_URL = "https://events.pagerduty.com/v2/enqueue"
"""PagerDuty's Events API v2, where a receiver of that kind goes unless the config says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """One receiver of incidents.

    `url` is kept out of the repr, for it may be a secret by itself (Slack's and most webhooks' are). `key` is
    PagerDuty's routing key; the other kinds have none.
    """

    kind: ReceiverKind
    url: str = field(repr=False)
    key: str | None = field(default=None, repr=False)
