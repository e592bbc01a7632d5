"""The sentence at the top of a canary, and what its bars say."""

import math
from functools import partial
from typing import Any

import pytest

from pages.status.rules import LIMIT_AT, rule_view
from pages.status.standing import arm_rows, key_of, standing

INTERVALS = {
    "p50_s": (0.3, 0.5), "p95_s": (1.1, None), "ttft_p50_s": (None, None), "ttft_p95_s": (None, None),
    "tokens_per_s": (None, None), "cost_per_request_usd": None,
}  # fmt: skip


def arm(**changed: Any) -> dict[str, Any]:
    return {
        "requests": 1000, "counted": 1000, "errors": 11, "aborted": 0, "p50_s": 0.4, "p95_s": 1.2,
        "foreign_state": 0, "last_ten_minutes": {"counted": 100, "errors": 1},
        "ttft_p50_s": None, "ttft_p95_s": None, "tokens_per_s": None, "cost_usd": None,
        "cost_per_request_usd": None, "feedback": {}, "intervals": INTERVALS, **changed,
    }  # fmt: skip


def agents(**changed: Any) -> dict[str, Any]:
    figures = dict.fromkeys(
        ("cost_usd", "exchanges", "length_s", "tokens", "tool_calls", "faults", "abandoned", "cache_hits")
    )
    return {"begun": 0, "open": 0, **figures, **changed}


def rule(**changed: Any) -> dict[str, Any]:
    return {
        "rule": "error_rate", "state": "ok", "action": "rollback", "value": 0.012, "threshold": 0.05,
        "evidence": {}, "sentence": "…", **changed,
    }  # fmt: skip


MODELS = {
    "baseline": {"provider": "openai", "model": "gpt-4o"},
    "candidate": {"provider": "openai", "model": "gpt-5"},
}
P95 = rule(rule="latency_p95", state="warn")
IN_PART = rule(rule="error_rate[category=billing,plan=pro]", state="firing")
HALFWAY = {"observations": 9.0, "ln_mixture": 4.0, "ln_cusum": 0.0}


def canary(**changed: Any) -> dict[str, Any]:
    return {
        "name": "support-nov", "models": MODELS, "breakers_open": 0,
        "state": "running", "share": 0.05, "run": 1, "reason": "",
        "ramp": {"steps": [{"share": 0.05, "for_s": None}], "step": 0, "left_s": None, "held": False},
        "arms": {"baseline": arm(), "candidate": arm(counted=500, errors=6)},
        "guardrails": [rule()], **changed,
    }  # fmt: skip


def sentence(**changed: Any) -> str:
    return standing(canary(**changed)).sentence


REFUSED = "canary 'support-nov' is not the one that started"


@pytest.mark.parametrize("state", ["running", "paused", "promoted"])
def test_a_refused_canary_does_not_read_as_if_users_got_the_candidate(state: str) -> None:
    stands = standing(canary(state=state, refused=REFUSED))
    assert (stands.word, stands.tone, stands.sentence) == ("refused", "bad", f"Refused: {REFUSED}.")
    assert stands.key != standing(canary(state=state)).key


def test_a_refused_canary_that_is_rolled_back_is_told_as_both() -> None:
    stands = standing(canary(state="rolled_back", reason="errors", refused=REFUSED))
    assert stands.word == "rolled back"
    assert stands.sentence == f"Rolled back. Everybody gets the baseline. Errors. Refused: {REFUSED}."


def test_a_healthy_canary_is_told_in_one_calm_sentence() -> None:
    assert sentence() == (
        "Running: 5 % of the users get the candidate. In this run the candidate failed 1.2 % of its "
        "requests, the baseline 1.1 %. No guardrail is near its limit."
    )


NOBODY_READS = "Text that refuses, wrong language, invention: not seen without feedback or a judge"


def test_where_nobody_reads_the_answers_that_stands_in_place_of_all_is_well() -> None:
    stands = standing(canary(not_seen=NOBODY_READS))
    assert stands.not_seen == NOBODY_READS
    assert "No guardrail is near its limit" not in stands.sentence
    assert sentence(not_seen=NOBODY_READS, guardrails=[P95]).endswith("not enough evidence to page.")
    assert standing(canary(not_seen=NOBODY_READS, state="waiting")).not_seen == ""


def test_what_is_wrong_with_most_requests_is_told_and_the_canary_is_not_green() -> None:
    found = {"kind": "caller_not_found", "sentence": "9 of 9 requests got 404", "said": "Not Found"}
    stands = standing(canary(traffic=[found]))
    assert (stands.traffic, stands.tone) == (['9 of 9 requests got 404. It says: "Not Found".'], "warn")
    other = {"kind": "unmatched", "sentence": "no request has reached the canary", "said": "b (9)"}
    assert standing(canary(traffic=[other])).traffic == [
        "No request has reached the canary. They asked for b (9)."
    ]


def test_a_candidate_that_no_request_reached_is_not_told_as_healthy() -> None:
    unreached = arm(requests=233, counted=0, errors=0, unreached={"proxy_no_credential": 233})
    found = canary(arms={"baseline": arm(), "candidate": unreached})
    assert standing(found).tone == "warn"
    assert sentence(arms=found["arms"]).startswith(
        "Running: 5 % of the users get the candidate. The candidate has not answered any request yet. "
        "233 of 233 of the candidate's "
        "exchanges were answered by the baseline or not at all: no credential for the provider entry."
    )


@pytest.mark.parametrize(
    ("rules", "end"),
    [
        ([], "No guardrail watches this canary."),
        ([rule(state="not_enough_data", value=None)], "Not enough traffic to judge yet."),
        ([rule(value=0.041)], "Near its limit: Error rate."),
        ([rule(value=0.06)], "Over its limit, unproven: Error rate."),
        ([rule(evidence=HALFWAY)], "Near its limit: Error rate."),
        ([rule(), P95], "p95 latency: over its limit, but not enough evidence to page."),
        ([rule(), P95 | {"action": "warn"}], "p95 latency: over its limit, a rule that only warns."),
        ([rule(state="warn"), rule(rule="cost_per_request", state="firing")], "Cost per request: firing."),
        ([rule(state="latched"), rule(rule="csat", state="firing")], "Error rate: tripped (and 1 more)."),
        ([IN_PART], "Error rate (category billing, plan pro): firing."),
    ],
)
def test_the_sentence_ends_with_the_worst_rule(rules: list[dict[str, Any]], end: str) -> None:
    assert sentence(guardrails=rules).endswith(f" {end}")


def test_a_rule_without_data_in_a_part_is_named_with_that_part() -> None:
    silent = {"state": "not_enough_data", "value": None}
    parts = [rule(rule=f"error_rate[category={each}]", **silent) for each in ("refund", "order")]
    whole = [rule(rule="csat", **silent), rule(rule="csat[plan=pro]", **silent)]
    unseen = standing(canary(guardrails=[rule(), *parts, *whole])).unseen
    assert unseen == ["Satisfaction", "Error rate (category refund; category order)"]


def test_a_rule_that_waits_says_for_what() -> None:
    waits = {"have": 12, "need": 30, "of": "baseline values"}
    silent = {"state": "not_enough_data", "value": None}
    found = standing(
        canary(
            guardrails=[
                rule(rule="csat", **silent, waits=waits),
                rule(rule="nps", **silent, waits=waits | {"have": 0}),
            ]
        )
    )
    assert [(each.name, each.word) for each in found.rules] == [("Satisfaction", "12 of 30 baseline values")]
    assert found.unseen == ["Net promoter score"]


def test_nothing_is_said_of_errors_before_there_is_an_answer() -> None:
    arms = {"baseline": arm(), "candidate": arm(requests=2, counted=0, errors=0)}
    assert "The candidate has not answered any request yet." in sentence(arms=arms)
    arms = {"baseline": arm(counted=0), "candidate": arm(counted=500, errors=6)}
    assert "In this run the candidate failed 1.2 % of its requests. " in sentence(arms=arms)


@pytest.mark.parametrize(
    ("state", "share", "begins"),
    [
        ("waiting", 0.0, "Not started yet. Everybody gets the baseline."),
        ("paused", 0.05, "Paused: 5 % of the users get the candidate, and the ramp waits."),
        ("rolled_back", 0.0, "Rolled back. Everybody gets the baseline. Complaints."),
        ("promoted", 1.0, "Promoted: everybody gets the candidate."),
        ("ended", 0.0, "Ended. Everybody gets the baseline."),
    ],
)
def test_every_state_is_told_with_what_users_get(state: str, share: float, begins: str) -> None:
    assert sentence(state=state, share=share, reason="complaints").startswith(begins)


def test_a_running_canary_in_trouble_looks_like_trouble_and_a_near_rule_does_not() -> None:
    assert standing(canary()).tone == "good"
    assert standing(canary(guardrails=[rule(value=0.045)])).tone == "good"
    assert standing(canary(guardrails=[rule(state="warn")])).tone == "warn"
    loud = standing(canary(guardrails=[rule(state="warn"), rule(state="firing")]))
    assert (loud.tone, loud.icon) == ("bad", "bad")
    assert standing(canary(state="rolled_back", guardrails=[rule(state="latched")])).icon == "rolled_back"


def lately(counted: int, errors: int) -> dict[str, Any]:
    recent = {"counted": counted, "errors": errors}
    return {"baseline": arm(), "candidate": arm(last_ten_minutes=recent)}


SILENT = rule(state="not_enough_data", value=None)


@pytest.mark.parametrize(
    ("changed", "tone", "told"),
    [
        ({"state": "waiting", "share": 0.0}, "calm", "Not started yet."),
        ({"share": 0.0}, "calm", "Running: nobody gets the candidate, its share is 0."),
        ({"state": "rolled_back", "share": 0.0}, "bad", "Rolled back."),
        ({"arms": lately(0, 0)}, "calm", "It answered no request in the last ten minutes."),
        ({"arms": lately(3, 3)}, "calm", "Running"),
        ({"arms": lately(8, 7)}, "warn", "The candidate failed most requests of the last ten minutes."),
        ({"breakers_open": 1}, "warn", "five requests in a row, or half of twenty, so the baseline"),
        ({"guardrails": []}, "calm", "No guardrail watches this canary."),
        ({"guardrails": [SILENT]}, "calm", "Not enough traffic to judge yet."),
        ({}, "good", "No guardrail is near its limit."),
        ({"state": "promoted", "share": 1.0}, "good", "Promoted"),
    ],
)
def test_only_a_candidate_that_answers_and_is_watched_looks_healthy(
    changed: dict[str, Any], tone: str, told: str
) -> None:
    stands = standing(canary(**changed))
    assert stands.tone == tone
    assert told in stands.sentence


def test_the_models_stand_beside_the_name_with_their_entries_where_these_differ() -> None:
    assert standing(canary()).models == "gpt-4o → gpt-5"
    other = {**MODELS, "candidate": {"provider": "azure", "model": "gpt-5"}}
    assert standing(canary(models=other)).models == "openai/gpt-4o → azure/gpt-5"


def test_the_ramp_says_how_long_its_step_lasts_and_what_stops_it() -> None:
    steps = [{"share": 0.05, "for_s": 3600.0}, {"share": 0.2, "for_s": None}]

    def told(state: str = "running", **changed: Any) -> str:
        ramp = {"steps": steps, "step": 0, "left_s": 4000.0, "held": False, **changed}
        return standing(canary(state=state, ramp=ramp)).ramp

    assert told() == "Step 1 of 2, 1 h 6 min left, then 20 %."
    assert told(held=True).endswith("The clock is stopped: a guardrail is over its limit.")
    assert told("paused").endswith("The clock is stopped: paused.")
    assert told(step=1, left_s=None) == "Last step of 2: 20 % until a person decides."
    assert told(step=None, left_s=None).startswith("Off the ramp")
    waits = {"have": 212, "need": 300}
    assert told(left_s=None, users=waits) == "Step 1 of 2, 212 of 300 users, then 20 %."
    assert told(users=waits | {"have": None}) == "Step 1 of 2, 1 h 6 min left, – of 300 users, then 20 %."
    assert told("rolled_back") == ""
    assert standing(canary()).ramp == ""


def test_a_used_up_quota_says_what_it_holds_and_caps() -> None:
    steps = [{"share": 0.05, "for_s": 3600.0}, {"share": 0.2, "for_s": None}]
    sentence = "quota: 30 % of requests throttled, the share is capped at 3.5 %"
    ramp = {"steps": steps, "step": 0, "left_s": 60.0, "held": True}
    found = standing(canary(ramp=ramp, quota={"sentence": sentence}))
    assert found.ramp == f"Step 1 of 2, 1 min left, then 20 %. The clock is stopped: {sentence}."
    assert "Quota: 30 % of requests throttled, the share is capped at 3.5 %." in found.sentence
    assert "uota" not in standing(canary(quota={"sentence": ""})).sentence


def test_a_bar_has_its_limit_at_three_quarters_whichever_way_is_bad() -> None:
    rating = partial(rule, rule="csat", threshold=4.1, evidence={"baseline_mean": 4.3})
    for given in (rule(value=0.05), rating(value=4.1)):
        (view,) = standing(canary(guardrails=[given])).rules
        assert view.filled == pytest.approx(LIMIT_AT)
    (worse,) = standing(canary(guardrails=[rating(value=4.08)])).rules
    assert worse.filled is not None
    assert worse.filled > LIMIT_AT
    (better,) = standing(canary(guardrails=[rating(value=4.6)])).rules
    assert (better.filled, better.near) == (0.0, False)
    (far,) = standing(canary(guardrails=[rule(value=0.9)])).rules
    assert far.filled == 1.0


def test_a_candidate_that_is_better_is_not_near_its_limit_whatever_the_evidence() -> None:
    evidence = {"observations": 400.0, "ln_mixture": 6.5, "ln_cusum": 6.5}
    for value, near in ((0.34, False), (1.3, True)):
        given = rule(rule="session_cost", state="ok", value=value, threshold=2.0, evidence=evidence)
        found = standing(canary(guardrails=[given]))
        assert [(view.near, view.tone) for view in found.rules] == [(near, "warn" if near else "good")]
        assert ("No guardrail is near its limit." in found.sentence) is not near


def test_a_rule_that_compares_with_nothing_of_the_baseline_says_so_and_no_data_is_a_dash() -> None:
    against_none = {"rule": "error_rate_vs_baseline", "value": None, "threshold": 1.5, "state": "latched"}
    seen = {**HALFWAY, "adverse_units": 5.0}
    values = [
        standing(canary(guardrails=[rule(**against_none, evidence=seen)])).rules[0].value,
        standing(canary(guardrails=[rule(**against_none)])).rules[0].value,
        standing(canary(guardrails=[rule(**{**against_none, "value": 2.0}, evidence=seen)])).rules[0].value,
        standing(canary(guardrails=[rule(**{**against_none, "rule": "cost_per_request"}, evidence=seen)]))
        .rules[0]
        .value,
    ]
    assert values == ["baseline has none", "–", "2.0×", "–"]


def test_evidence_is_told_against_what_the_rule_acts_on() -> None:
    evidence = {"observations": 9.0, "ln_mixture": math.log(100.0), "ln_cusum": 0.0}
    (view,) = standing(canary(guardrails=[rule(evidence=evidence)])).rules
    assert (view.proof, view.proved) == ("100 of 1,000", pytest.approx(2 / 3))
    (pages,) = standing(canary(guardrails=[rule(evidence=evidence, action="page")])).rules
    assert (pages.proof, pages.proved) == ("100 of 20", 1.0)
    recent = {"observations": 9.0, "ln_mixture": 0.0, "ln_cusum": math.log(1e5)}
    (since,) = standing(canary(guardrails=[rule(evidence=recent)])).rules
    assert since.proof == "100,000 of 100,000"
    healthy = {"observations": 9.0, "ln_mixture": -3.0, "ln_cusum": 0.0}
    (none,) = standing(canary(guardrails=[rule(evidence=healthy)])).rules
    assert (none.proof, none.proved) == ("", 0.0)


def test_rules_that_have_seen_nothing_stand_apart() -> None:
    empty = rule(rule="thumbs", state="not_enough_data", value=None, threshold=None)
    shown = standing(canary(guardrails=[rule(), empty]))
    assert ([each.key for each in shown.rules], shown.unseen) == (["error_rate"], ["Thumbs up"])
    assert standing(canary(state="waiting", guardrails=[rule(), empty])).unseen == []


def test_a_canarys_key_changes_with_its_run_state_and_share() -> None:
    keys = {key_of(canary(**each)) for each in ({}, {"run": 2}, {"state": "paused"}, {"share": 0.1})}
    assert len(keys) == 4


def test_answer_faults_have_a_row_and_their_kinds_only_where_there_are_any() -> None:
    plain: dict[str, Any] = {"refused": 0, "cut_off": 0, "empty": 0, "answer_faults": 0, "abandoned": 0}
    read = {**plain, "invalid_output": None, "finished": 200, "output_judged": 0, "ended": 210}
    arms = {"baseline": arm(**read), "candidate": arm(**{**read, "cut_off": 20, "answer_faults": 20})}
    told = {row.name: row for row in arm_rows(arms)}
    assert "Refused answers" not in told and "Abandoned requests" not in told
    cut = told["Answers cut off"]
    assert (cut.baseline.figure, cut.candidate.figure) == ("0.0 %", "10.0 %")
    assert told["Answer faults"].candidate.note == "6.6 % to 14.9 %"
    unread = dict.fromkeys(plain) | {"finished": 0, "output_judged": 0, "ended": 0}
    (row,) = [
        row
        for row in arm_rows(dict.fromkeys(("baseline", "candidate"), arm(**unread)))
        if "nswer" in row.name
    ]
    assert (row.name, row.baseline.figure, row.candidate.figure) == ("Answer faults", "–", "–")


def test_of_events_stands_how_much_was_reported_and_no_mean_of_it() -> None:
    def said(times: int, **of: Any) -> dict[str, Any]:
        return {"mean": 1.0, "count": times, "interval": (1.0, 1.0), **of}

    arms = {
        "baseline": arm(feedback={"escalated": said(46, per="session")}),
        "candidate": arm(feedback={"escalated": said(53, per="session"), "csat": said(9, per="value")}),
    }
    told = {row.name: (row.baseline.figure, row.candidate.figure, row.difference) for row in arm_rows(arms)}
    assert told["Escalated, reported"] == ("46", "53", "")
    assert told["Satisfaction"] == ("–", "1.00", "")


def test_an_unknown_figure_is_a_dash_and_errors_carry_their_interval() -> None:
    arms = {
        "baseline": arm(counted=0, p50_s=None),
        "candidate": arm(
            tokens_per_s=43.21, feedback={"csat": {"mean": 4.5, "count": 18, "interval": (4.3, 4.7)}}
        ),
    }
    told = {row.name: row for row in arm_rows(arms)}
    assert (told["Errors"].baseline.figure, told["p50 latency, last 10 min"].baseline.figure) == ("–", "–")
    assert told["Errors"].candidate.note == "0.6 % to 2.0 %"
    assert (told["Satisfaction"].baseline.figure, told["Satisfaction"].candidate.figure) == (
        "–",
        "4.50",
    )
    assert "First token p95" not in told
    notes = {name: row.candidate.note for name, row in told.items()}
    assert notes["Satisfaction"] == "4.30 to 4.70, of 18"
    assert (notes["p50 latency, last 10 min"], notes["p95 latency, last 10 min"]) == (
        "0.30 s to 0.50 s",
        "at least 1.10 s",
    )
    assert (told["Tokens a second, last 10 min"].candidate.figure, notes["Tokens a second, last 10 min"]) == (
        "43.2",
        "",
    )


def test_sessions_have_rows_where_there_are_any() -> None:
    arms = {"baseline": arm(sessions=agents()), "candidate": arm(sessions=agents())}
    assert not [row for row in arm_rows(arms) if "ession" in row.name]
    arms["candidate"] = arm(sessions=agents(begun=12, open=3, cost_usd=0.41, tokens=12_345.6, faults=0.25))
    shown = {row.name: (row.baseline.figure, row.candidate.figure) for row in arm_rows(arms)}
    assert shown["Sessions"] == ("0", "12")
    assert shown["Cost per session"] == ("–", "$0.410")
    assert shown["Tokens per session"] == ("–", "12,346")
    assert shown["Sessions with faults"] == ("–", "25.0 %")
    assert "Tool calls per session" not in shown
    (row,) = (row for row in arm_rows(arms) if row.name == "Sessions")
    assert row.candidate.note == "3 open"


def test_a_rule_about_sessions_says_where_there_are_none() -> None:
    none = {"sessions": 0.0, "baseline_sessions": 0.0}
    found = rule(rule="stuck", state="not_enough_data", value=None, threshold=3.0, evidence=none)
    view = rule_view(found)
    assert (view.name, view.word, view.tone) == ("Repeated tool calls", "no sessions", "calm")
