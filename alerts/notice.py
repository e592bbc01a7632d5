"""One message about an incident, as every kind of receiver gets it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from alerts.candidate_error import CandidateError
from alerts.order_links import Offer
from records.concentration import FailingPart

EventName = Literal["page", "update", "resolved"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One message for the receivers. (dedup_key, sequence) is unique. Times are UTC seconds. `page` is the
    path of the incident's page in the console, `offers` what else a message links to there. `rolled_back` is
    True once the candidate was rolled back. `headline` is the sentence on call, `title` the same in at most
    120 characters."""

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

    @property
    def cause(self) -> str:
        """The first rule with its sentence; "" without rules."""
        return "; ".join(f"{rule}: {self.details.get(rule, '')}" for rule in self.rules[:1])
