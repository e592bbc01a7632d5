"""Incidents: one page each, updates, and an end."""

import json
from dataclasses import replace

import pytest

from alerts.incidents.incident import Incident, from_document, step, to_document
from alerts.incidents.notice import Notice
from alerts.incidents.rollback import ArmFigures, FailureSample, RollbackEvidence, RuleThen, seen_in
from alerts.rules.places import CandidateError
from alerts.rules.rule import Action, GuardrailStatus, StatusName, StatusState
from alerts.wording import Trouble

NOW = 1_790_000_000.0
MINUTE_S = 60.0
Look = tuple[Incident | None, list[Notice]]


def says(rule: StatusName, action: Action | None, state: StatusState = "firing") -> GuardrailStatus:
    return GuardrailStatus(
        rule=rule, state=state, action=action, sentence=f"{rule} speaks", evidence={"outcomes": 12.0}
    )


PAGE = says("latency_p95", "page")
HOLD = says("outage", "hold")
CONVICTED = says("error_rate", "rollback", "latched")
FINE = says("error_rate", None, "ok")


def look(
    incident: Incident | None,
    *statuses: GuardrailStatus,
    after_s: float = 0.0,
    undone: bool = False,
    run: int = 1,
) -> Look:
    return step(incident, statuses, canary="support-nov", run=run, now=NOW + after_s, rolled_back=undone)


def events(notices: list[Notice]) -> list[str]:
    return [notice.event for notice in notices]


def test_nothing_wrong_is_no_incident() -> None:
    warn = says("cost_per_request", "warn", "warn")
    assert look(None, FINE, warn) == (None, [])


def test_the_first_rule_pages_and_names_the_incident() -> None:
    incident, notices = look(None, FINE, PAGE)
    assert incident is not None
    assert events(notices) == ["page"]
    assert incident.dedup_key == f"canary:support-nov:{incident.id}" == notices[0].dedup_key
    assert notices[0].headline.startswith("Answers of the candidate are slow")
    assert notices[0].details == {"latency_p95": "latency_p95 speaks"}
    assert notices[0].requests == 12


def test_the_rule_that_rolls_back_makes_the_headline() -> None:
    _, notices = look(None, PAGE, CONVICTED)
    assert notices[0].headline.startswith("Answers of the candidate fail")
    assert notices[0].rules == ("latency_p95", "error_rate")
    assert notices[0].done == "the candidate is being rolled back"


def test_it_pages_once_however_long_it_lasts() -> None:
    incident, notices = look(None, PAGE)
    for second in range(1, 5000, 10):
        incident, more = look(incident, PAGE, after_s=second)
        notices += more
    assert events(notices) == ["page"]


def test_a_later_rule_updates_the_same_incident() -> None:
    incident, first = look(None, PAGE)
    incident, second = look(incident, PAGE, HOLD, after_s=9)
    assert events(first + second) == ["page", "update"]
    assert [notice.sequence for notice in first + second] == [0, 1]
    assert second[0].dedup_key == first[0].dedup_key
    assert second[0].done == "the ramp holds"
    assert set(second[0].details) == {"latency_p95", "outage"}


def test_it_resolves_thirty_minutes_after_it_cleared() -> None:
    incident, _ = look(None, PAGE)
    incident, quiet = look(incident, FINE, after_s=60)
    incident, still = look(incident, FINE, after_s=60 + 30 * MINUTE_S - 1)
    assert quiet + still == []
    incident, over = look(incident, FINE, after_s=60 + 30 * MINUTE_S)
    assert events(over) == ["resolved"]
    assert look(incident, FINE, after_s=99 * MINUTE_S) == (incident, [])


def test_what_comes_back_within_the_thirty_minutes_is_the_same_incident() -> None:
    incident, _ = look(None, PAGE)
    incident, _ = look(incident, FINE, after_s=60)
    incident, again = look(incident, PAGE, after_s=20 * MINUTE_S)
    assert again == []
    incident, not_yet = look(incident, FINE, after_s=21 * MINUTE_S)
    incident, early = look(incident, FINE, after_s=50 * MINUTE_S)
    assert not_yet + early == []
    _, over = look(incident, FINE, after_s=51 * MINUTE_S)
    assert events(over) == ["resolved"]


def test_after_it_resolved_a_new_one_may_page() -> None:
    incident, first = look(None, PAGE)
    incident, _ = look(incident, FINE, after_s=60)
    incident, _ = look(incident, FINE, after_s=40 * MINUTE_S)
    _, second = look(incident, PAGE, after_s=50 * MINUTE_S)
    assert events(second) == ["page"]
    assert second[0].dedup_key != first[0].dedup_key


def test_a_rollback_updates_and_resolves_thirty_minutes_after_it_took_effect() -> None:
    incident, page = look(None, CONVICTED)
    incident, update = look(incident, CONVICTED, after_s=1, undone=True)
    assert events(page + update) == ["page", "update"]
    assert update[0].done == "the candidate was rolled back"
    incident, nothing = look(incident, CONVICTED, PAGE, after_s=30 * MINUTE_S, undone=True)
    assert nothing == []
    incident, over = look(incident, CONVICTED, after_s=1 + 30 * MINUTE_S, undone=True)
    assert events(over) == ["resolved"]
    assert look(incident, CONVICTED, PAGE, after_s=999 * MINUTE_S, undone=True)[1] == []


def test_a_rollback_whose_page_was_lost_in_a_crash_is_still_paged_once() -> None:
    incident, notices = look(None, CONVICTED, undone=True)
    incident, more = look(incident, CONVICTED, after_s=1, undone=True)
    assert events(notices + more) == ["page", "update"]


def test_a_rollback_by_hand_wakes_nobody() -> None:
    assert look(None, PAGE, undone=True) == (None, [])


def test_a_resumed_canary_that_fails_again_is_a_new_incident() -> None:
    incident, _ = look(None, CONVICTED)
    incident, _ = look(incident, CONVICTED, after_s=1, undone=True)
    incident, notices = look(incident, CONVICTED, after_s=600, run=2)
    assert events(notices) == ["resolved", "page"]
    incident, notices = look(incident, CONVICTED, after_s=601, run=2, undone=True)
    assert events(notices) == ["update"]


def test_what_was_done_says_from_which_share_it_was_rolled_back() -> None:
    arm = ArmFigures(exchanges=9, failed=5, p95_s=None, mean_cost_usd=0.1)
    why = RollbackEvidence(
        canary="support-nov",
        run=1,
        rule="error_rate",
        who="guardrail error_rate",
        reason="…",
        at=NOW,
        rules=(),
        arms={"baseline": arm, "candidate": arm},
        failures=(),
        share_before=0.05,
        share_after=0.0,
    )
    incident, _ = look(None, CONVICTED)
    incident, notices = step(
        incident, [CONVICTED], canary="support-nov", run=1, now=NOW + 1, rolled_back=True, why=why
    )
    assert notices[0].done == "the candidate was rolled back: share 5 % → 0 %"
    assert from_document(json.loads(json.dumps(to_document(incident)))) == incident
    assert from_document(to_document(None)) is None


def test_a_rollback_s_notice_has_the_figures_of_its_moment_alone() -> None:
    def then(key: str, sentence: str) -> RuleThen:
        figures = {"outcomes": 50.0, "adverse_units": 7.0, "bad": 7.0}
        return RuleThen(
            rule=key, state="firing", sentence=sentence, value=0.1, threshold=0.05, evidence=figures, path=()
        )

    why = RollbackEvidence(
        canary="support-nov",
        run=1,
        rule="error_rate",
        who="guardrail error_rate",
        reason="7 of 50 failed",
        at=NOW,
        rules=(then("error_rate", "7 of 50 failed"), then("latency_p95", "9 s"), then("csat", "quiet")),
        arms={},
        failures=(),
        share_before=0.05,
        share_after=0.0,
        trouble=Trouble(
            rule="error_rate",
            own="7 of 50 failed",
            candidate="assistant-2",
            numbers={"outcomes": 50.0, "adverse_units": 7.0, "bad": 7.0},
        ),
    )
    incident, (page,) = look(None, PAGE, CONVICTED)
    _, (update,) = step(
        incident, [CONVICTED], canary="support-nov", run=1, now=NOW + 1, rolled_back=True, why=why
    )
    assert (page.rolled_back, update.rolled_back) == (False, True)
    assert update.headline.startswith("Answers of assistant-2 fail: 7 of 50 requests, 7 users, since ")
    assert update.details == {"error_rate": "7 of 50 failed", "latency_p95": "9 s"}
    assert (update.requests, update.users) == (50, 7)


def test_a_notice_leads_to_the_canary_and_once_it_is_rolled_back_to_why() -> None:
    incident, (page,) = look(None, PAGE, run=3)
    assert page.page == "canaries/support-nov"
    incident, (convicted,) = look(incident, PAGE, CONVICTED, after_s=1, run=3)
    _, (undone,) = look(incident, CONVICTED, after_s=2, run=3, undone=True)
    assert convicted.page == undone.page == "canaries/support-nov/why?run=3"
    _, (service,) = step(None, [PAGE], canary="service/records", run=1, now=NOW, rolled_back=False)
    assert service.page == ""


def test_an_incident_carries_what_the_provider_said_when_it_opened_or_as_soon_as_it_says_something() -> None:
    def said(message: str) -> CandidateError:
        return CandidateError(
            status=400, error_type="candidate_rejects", code="", type="", param="", message=message, at=NOW
        )

    def one(incident: Incident | None, words: CandidateError | None, *statuses: GuardrailStatus) -> Incident:
        after, sent = step(
            incident, statuses, canary="support-nov", run=1, now=NOW, rolled_back=False, provider_error=words
        )
        assert after is not None
        assert [notice.provider_error for notice in sent] == [after.provider_error] * len(sent)
        return after

    opened = one(None, said("first"), PAGE)
    assert one(opened, said("second"), PAGE, CONVICTED).provider_error == said("first")
    silent = one(None, None, PAGE)
    later = one(silent, said("second"), PAGE, CONVICTED)
    assert later.provider_error == said("second")
    assert from_document(to_document(later)) == later


def test_a_page_offers_orders_while_the_candidate_has_users_and_the_report_once_it_has_none() -> None:
    incident, paged = look(None, PAGE)
    incident, held = look(incident, PAGE, HOLD, after_s=1)
    incident, convicted = look(incident, PAGE, HOLD, CONVICTED, after_s=2)
    incident, undone = look(incident, CONVICTED, after_s=3, undone=True)
    _, resolved = look(incident, FINE, after_s=3 + 31 * MINUTE_S, undone=True)
    offers = [notice.offers for notice in (*paged, *held, *convicted, *undone, *resolved)]
    assert offers == [("rollback", "pause"), ("rollback", "pause"), (), ("report",), ()]


def test_a_canary_that_waits_and_the_service_itself_offer_no_order() -> None:
    _, (waiting,) = look(None, says("preflight_failed", "page"))
    _, (service,) = step(None, [PAGE], canary="service/records", run=1, now=NOW, rolled_back=False)
    assert (waiting.offers, service.offers) == ((), ())


def failing(bad: int, of: int, action: Action = "page") -> GuardrailStatus:
    return GuardrailStatus(
        rule="error_rate",
        state="firing",
        action=action,
        sentence=f"{bad} of {of} failed",
        category="refund",
        evidence={"outcomes": float(of), "bad": float(bad), "adverse_units": float(bad)},
    )


def test_each_update_carries_the_figures_of_its_own_moment() -> None:
    incident, (page,) = look(None, failing(3, 8))
    incident, nothing = look(incident, failing(5, 12), after_s=60)
    incident, (update,) = look(incident, failing(9, 20), HOLD, after_s=120)
    assert nothing == []
    assert page.headline.startswith("Refund answers of the candidate fail: 3 of 8 requests, 3 users, since ")
    assert update.headline.startswith("Refund answers of the candidate fail: 9 of 20 requests, 9 users, ")
    assert (page.requests, update.requests, update.users) == (8, 20, 9)
    assert "The ramp holds." in update.headline


def test_resolved_says_what_is_true_now_and_what_it_was() -> None:
    incident, _ = look(None, failing(3, 8))
    incident, _ = look(incident, FINE, after_s=60)
    _, (quiet,) = step(
        incident, [FINE], canary="support-nov", run=1, now=NOW + 31 * MINUTE_S, rolled_back=False, share=0.05
    )
    assert quiet.headline == (
        "Over: nothing has called since 14:14 UTC; the share of the candidate is 5 %."
        " It was: Refund answers of the candidate fail: 3 of 8 requests, 3 users."
    )
    assert quiet.done == "Over: nothing has called since 14:14 UTC; the share of the candidate is 5 %."
    incident, _ = look(None, failing(4, 17, "rollback"))
    incident, _ = look(incident, after_s=1, undone=True)
    _, (undone,) = look(incident, after_s=31 * MINUTE_S, undone=True)
    assert undone.headline.startswith(
        "Over: the candidate was rolled back at 14:13 UTC, and everybody gets the baseline. It was: "
    )
    incident, _ = look(None, failing(4, 17))
    incident, (resumed,) = look(incident, after_s=60, run=2)
    assert resumed.headline.startswith("Over: support-nov was resumed, and a new run began. It was: ")


def test_no_message_says_that_nothing_was_done_yet() -> None:
    _, (page,) = look(None, failing(3, 8))
    assert "The candidate keeps its share until it is rolled back." in page.headline
    _, (service,) = step(None, [PAGE], canary="service/records", run=1, now=NOW, rolled_back=False)
    assert service.done == "requests are served as before"


def test_an_update_has_the_present_sentence_of_a_rule_that_no_longer_calls() -> None:
    incident, _ = look(None, replace(PAGE, sentence="p95 of 9 s"))
    quiet = replace(PAGE, action=None, state="warn", sentence="p95 of 4 s")
    _, notices = look(incident, quiet, HOLD, after_s=60)
    assert notices[0].details == {"latency_p95": "p95 of 4 s", "outage": "outage speaks"}


def sampled(error_type: str) -> FailureSample:
    return FailureSample(exchange_id="x", at=0.0, error_type=error_type, status=200)


@pytest.mark.parametrize(
    ("kinds", "fault"),
    [
        (["empty", "empty"], "empty"),
        (["json_invalid", "tool_unknown, cut_off", "provider_5xx"], "invalid_output"),
        (["stalled, cut_off", "stalled"], "stalled"),
        (["empty", "stalled"], ""),
        (["provider_5xx"], ""),
        ([], ""),
    ],
)
def test_what_all_faulty_answers_share_is_what_is_said_of_them(kinds: list[str], fault: str) -> None:
    assert seen_in([sampled(each) for each in kinds], fall_back=True).fault == fault
