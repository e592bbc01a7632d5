"""The example exports and webhooks of three systems become the feedback that their mappings say."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from canary.config import load
from records.facts.feedback import FeedbackTerms, FeedbackVoices
from records.facts.feedback_mapping import mapped_lines, parse_events
from routing.cohort import derive_key, unit_hash

EXAMPLES = Path(__file__).parents[2] / "docs/examples/feedback"
CONFIG = load(EXAMPLES / "canary.yaml", {})
KEY = derive_key(b"secret", "ids")
NOW = 1_796_000_000.0
Told = tuple[str, str, bool | float]

EXPORTS: dict[str, list[Told | None]] = {
    "zendesk": [
        ("talk-101", "escalated", True),
        ("talk-101", "csat", 1),
        ("talk-102", "csat", 5),
        None,
        None,
    ],
    "intercom": [
        ("user-17", "escalated", True),
        ("user-17", "csat", 2),
        ("user-18", "csat", 5),
        None,
    ],
    "stripe": [
        ("user-17", "conversion", True),
        ("user-17", "revenue", 49),
        ("user-18", "conversion", True),
        ("user-18", "revenue", 19.99),
        None,
        None,
    ],
}
"""By system: each value's subject, metric and value; None for a row that is skipped."""

WEBHOOKS: dict[str, list[Told]] = {
    "zendesk": [("talk-101", "escalated", 1.0)],
    "intercom": [("user-17", "escalated", 1.0), ("user-17", "csat", 2.0)],
    "stripe": [("user-18", "conversion", 1.0), ("user-18", "revenue", 19.99)],
}


def exported(system: str) -> list[dict[str, Any] | None]:
    lines = list(
        mapped_lines(
            EXAMPLES / f"{system}.csv",
            default_at=datetime.fromtimestamp(NOW, UTC),
            mapping=CONFIG.feedback_mappings[f"{system}_export"],
            metrics=CONFIG.metrics,
        )
    )
    assert [line.problem for line in lines if line.problem] == []
    return [dict(value) if value else None for line in lines for value in line.values or (None,)]


def terms() -> FeedbackTerms:
    return FeedbackTerms(
        metrics=CONFIG.metrics,
        keys=[KEY],
        token_ok=True,
        now=NOW,
        mono=0.0,
        ids_key=KEY,
        voices=FeedbackVoices(),
    )


@pytest.mark.parametrize("system", EXPORTS)
def test_an_export_becomes_the_values_that_its_mapping_says(system: str) -> None:
    found = exported(system)
    told = [
        value and (value.get("session") or value["unit"], value["metric"], value["value"]) for value in found
    ]
    assert told == EXPORTS[system]
    assert {value["at"][:10] for value in found if value} == {"2026-11-20"}


@pytest.mark.parametrize("system", WEBHOOKS)
def test_a_webhook_becomes_the_values_that_its_mapping_says(system: str) -> None:
    document = (EXAMPLES / f"{system}.json").read_bytes()
    found = list(parse_events(document, CONFIG.feedback_mappings[system], terms()))
    told = [value and (value.session or value.unit, value.metric, value.value) for value in found]
    assert told == [(unit_hash(KEY, subject), metric, value) for subject, metric, value in WEBHOOKS[system]]
    assert {datetime.fromtimestamp(value.at, UTC).date().isoformat() for value in found if value} == {
        "2026-11-20"
    }


@pytest.mark.parametrize("system", ["intercom", "stripe"])
def test_an_export_repeats_the_keys_of_the_webhook(system: str) -> None:
    document = (EXAMPLES / f"{system}.json").read_bytes()
    sent = parse_events(document, CONFIG.feedback_mappings[system], terms())
    keys = {value.key for value in sent if value}
    exports = [value for value in exported(system) if value]
    assert keys <= {
        f"{unit_hash(KEY, value['unit'])}/id/{value['feedback_id']}/{value['metric']}" for value in exports
    }
