"""What every kind of receiver is sent."""

from dataclasses import replace
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from alerts.incidents.notice import (
    REASON_BOUND,
    EventName,
    Notice,
    alertmanager_payload,
    offer_url,
    pagerduty_payload,
    slack_payload,
    utc_text,
    webhook_payload,
)
from alerts.rules.places import CandidateError
from common.concentration import FailingPart

NOTICE = Notice(
    event="page",
    dedup_key="canary:support-nov:20260921T142640Z",
    sequence=0,
    at=1_790_000_010.5,
    canary="support-nov",
    incident="20260921T142640Z",
    opened_at=1_790_000_000.0,
    headline="support-nov: error_rate: candidate fails",
    title="candidate fails",
    rules=("error_rate",),
    details={"error_rate": "12 of 20 <failed>"},
    done="the candidate is being rolled back",
    requests=20,
    users=11,
    where=(FailingPart("category", "refund", 12, 12, 0.05),),
    owner="anna@example.com",
)


def of(event: EventName) -> Notice:
    return replace(NOTICE, event=event)


def test_times_are_rfc_3339_in_utc() -> None:
    assert utc_text(1_790_000_010.5) == "2026-09-21T14:13:30.500Z"


def test_the_webhook_gets_everything() -> None:
    assert webhook_payload(NOTICE) == {
        "event": "page",
        "dedup_key": "canary:support-nov:20260921T142640Z",
        "sequence": 0,
        "canary": "support-nov",
        "owner": "anna@example.com",
        "incident": "20260921T142640Z",
        "at": "2026-09-21T14:13:30.500Z",
        "opened_at": "2026-09-21T14:13:20.000Z",
        "headline": "support-nov: error_rate: candidate fails",
        "title": "candidate fails",
        "rules": ["error_rate"],
        "details": {"error_rate": "12 of 20 <failed>"},
        "where": [{"by": "category", "value": "refund", "failing": 12, "of": 12, "share": 0.05}],
        "provider_error": None,
        "requests": 20,
        "users": 11,
        "done": "the candidate is being rolled back",
        "link": None,
    }


def test_every_receiver_gets_the_provider_s_own_words() -> None:
    said = CandidateError(
        status=400, error_type="candidate_rejects", code="unsupported_parameter", type="", param="max_tokens",
        message="Unsupported parameter: 'max_tokens'", at=NOTICE.at,
    )  # fmt: skip
    notice = replace(NOTICE, provider_error=said)
    words = "the provider's newest error: candidate rejects: Unsupported parameter: 'max_tokens'"
    assert words in slack_payload(notice)["text"]
    assert words in alertmanager_payload(notice, 1.0)[0]["annotations"]["description"]
    document = webhook_payload(notice)["provider_error"]
    assert (document["param"], document["message"]) == ("max_tokens", said.message)
    assert pagerduty_payload(notice, "k")["payload"]["custom_details"]["provider_error"] == document


def test_an_alert_keeps_its_labels_whatever_joins() -> None:
    later = replace(NOTICE, event="update", sequence=3, rules=("error_rate", "csat"), headline="worse")
    (first,), (second,) = alertmanager_payload(NOTICE, 1.0), alertmanager_payload(later, 2.0)
    assert first["labels"] == second["labels"]
    assert first["labels"]["owner"] == "anna@example.com"
    assert first["annotations"] != second["annotations"]
    assert "20 requests, 11 affected users" in first["annotations"]["description"]


def test_an_alert_ends_when_resolved_and_outlives_missed_reposts_before() -> None:
    now = NOTICE.at
    assert alertmanager_payload(of("page"), now)[0]["endsAt"] == utc_text(now + 600)
    assert alertmanager_payload(of("resolved"), now)[0]["endsAt"] == utc_text(now)


@pytest.mark.parametrize(
    ("event", "action"), [("page", "trigger"), ("update", "trigger"), ("resolved", "resolve")]
)
def test_pagerduty_keeps_one_incident_by_the_dedup_key(event: EventName, action: str) -> None:
    body = pagerduty_payload(of(event), "routing")
    assert (body["event_action"], body["dedup_key"]) == (action, NOTICE.dedup_key)
    assert body["routing_key"] == "routing"
    assert ("payload" in body) is (event != "resolved")


def test_pagerduty_s_summary_is_the_title() -> None:
    body = pagerduty_payload(replace(NOTICE, headline="x" * 5000), "routing")
    assert body["payload"]["summary"] == NOTICE.title
    assert body["payload"]["custom_details"]["headline"] == "x" * 5000


def test_slack_says_the_sentence_first_and_rules_and_links_after_it() -> None:
    said = 'Answers of b fail: 12 of 20 requests. Rolled back at 14:14 UTC. The provider says: "no <tool>".'
    error = CandidateError(
        status=400, error_type="candidate_rejects", code="", type="", param="", message="no <tool>", at=1.0
    )
    undone = replace(of("update"), headline=said, rolled_back=True, provider_error=error)
    assert slack_payload(undone, "https://canary.example/why")["text"].splitlines() == [
        ":rewind: Answers of b fail: 12 of 20 requests. Rolled back at 14:14 UTC."
        ' The provider says: "no &lt;tool&gt;".',
        "support-nov: incident since 2026-09-21T14:13:20.000Z",
        "error_rate: 12 of 20 &lt;failed&gt;",
        "20 requests, 11 affected users",
        "owner: anna@example.com",
        "https://canary.example/why",
    ]


@pytest.mark.parametrize("event", ["page", "update", "resolved"])
def test_slack_s_messages_name_their_event(event: EventName) -> None:
    first, *_ = slack_payload(of(event))["text"].splitlines()
    assert first.endswith(f"*{event}* {NOTICE.headline}")


def test_slack_s_control_characters_are_escaped() -> None:
    assert "12 of 20 &lt;failed&gt;" in slack_payload(NOTICE)["text"]


def test_slack_s_message_links_to_the_orders_that_it_calls_for_filled_in() -> None:
    notice = replace(NOTICE, offers=("rollback", "pause"))
    *before, links = slack_payload(notice, None, "https://canary.example/")["text"].splitlines()
    assert links == (
        "<https://canary.example/canaries/support-nov?order=rollback&amp;"
        "reason=candidate+fails|Roll back…> · "
        "<https://canary.example/canaries/support-nov?order=pause&amp;"
        "reason=candidate+fails|Pause…>"
    )
    assert "\n".join(before) == slack_payload(NOTICE)["text"]


def test_without_the_page_s_public_url_slack_gets_no_link() -> None:
    notice = replace(NOTICE, offers=("rollback", "pause"))
    assert slack_payload(notice, "http://127.0.0.1:8081/x", None) == slack_payload(
        NOTICE, "http://127.0.0.1:8081/x"
    )


@pytest.mark.parametrize("name", ["a b", "ü/|>", "?order=promote"])
def test_a_link_s_reason_is_short_and_no_name_leaves_its_place(name: str) -> None:
    url = offer_url("https://canary.example", name, "pause", "<|>&\n" + "x" * 500)
    parts = urlsplit(url)
    assert (parts.netloc, parts.path) == ("canary.example", f"/canaries/{quote(name, safe='')}")
    asked = parse_qs(parts.query)
    assert asked == {"order": ["pause"], "reason": [("<|>&\n" + "x" * 500)[:REASON_BOUND]]}
    assert not set(url) & set("<>| \n")
