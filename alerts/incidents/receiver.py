"""A receiver of pages, as configured. A value of the config, which every process has."""

from dataclasses import dataclass, field
from typing import Literal

ReceiverKind = Literal["alertmanager", "pagerduty", "slack", "webhook"]

PAGERDUTY_URL = "https://events.pagerduty.com/v2/enqueue"
"""PagerDuty's Events API v2, the default URL of a PagerDuty receiver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """One receiver of incidents.

    `url` is not in the repr, because it may be a secret (Slack's and most webhooks' are). `key` is
    PagerDuty's routing key; other kinds have none.
    """

    kind: ReceiverKind
    url: str = field(repr=False)
    key: str | None = field(default=None, repr=False)
