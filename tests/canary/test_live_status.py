"""Watching ends at a state or at Ctrl-C, bears a silent server, and writes a line only for a change."""

import io
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from rich.console import Console

from canary.commands.client import ServerNotReached
from canary.commands.status import Clock, StatusLines, StatusLook, looks, watch
from pages.status.terminal import picture
from tests.console.test_standing import MODELS

NOW = 1_800_000_000.0


def arm(**changed: Any) -> dict[str, Any]:
    return {
        "requests": 1000, "counted": 1000, "errors": 11, "aborted": 0, "p50_s": 0.4, "p95_s": 1.2,
        "ttft_p95_s": None, "cost_usd": 1.5, "last_ten_minutes": {"counted": 100, "errors": 1}, **changed,
    }  # fmt: skip


def rule(state: str = "ok", **changed: Any) -> dict[str, Any]:
    return {
        "rule": "error_rate", "state": state, "action": "rollback", "value": 0.03, "threshold": 0.05,
        "evidence": {"observations": 90.0, "ln_mixture": 3.0, "ln_cusum": 0.0}, "sentence": "it fails",
        **changed,
    }  # fmt: skip


def canary(**changed: Any) -> dict[str, Any]:
    steps = [{"share": 0.01, "for_s": 60.0}, {"share": 0.05, "for_s": 3600.0}, {"share": 0.2, "for_s": None}]
    return {
        "name": "support-nov", "models": MODELS, "breakers_open": 0,
        "state": "running", "share": 0.05, "actual_share": 0.048, "run": 1,
        "reason": "", "started_at": NOW - 7200.0, "incident": None, "rollback": None, "mirror": None,
        "ramp": {"steps": steps, "step": 1, "left_s": 900.0, "held": False},
        "arms": {"baseline": arm(), "candidate": arm(requests=52, errors=2)}, "guardrails": [rule()],
        **changed,
    }  # fmt: skip


def document(**changed: Any) -> dict[str, Any]:
    return {"canaries": [canary(**changed)]}


def answers(*told: Mapping[str, Any] | None) -> Callable[[], Mapping[str, Any]]:
    """The server's answers in turn, the last one for ever; None is silence."""
    left: Iterator[Mapping[str, Any] | None] = iter(told)

    def read() -> Mapping[str, Any]:
        answer = next(left, told[-1])
        if answer is None:
            raise ServerNotReached("nobody listens")
        return answer

    return read


def slept(seconds: float) -> None:
    assert seconds == 1.0


def written(*told: Mapping[str, Any] | None, until: str, form: str = "text") -> list[str]:
    lines: list[str] = []
    coming = looks(answers(*told), Clock(sleep=slept))
    watch(coming, StatusLines(lines.append, lambda: NOW, form=form).show, until)
    return lines


def test_each_change_is_a_line_and_a_request_more_is_none() -> None:
    more = document(arms={"baseline": arm(requests=1001), "candidate": arm()})
    told = (document(), more, document(guardrails=[rule("firing")]), document(state="paused"))
    assert written(*told, until="paused") == [
        "2027-01-15T08:00:00Z support-nov running, step 2/3, share 5 % set, 4.8 % actual",
        "2027-01-15T08:00:00Z support-nov running, step 2/3, share 5 % set, 4.8 % actual; error_rate firing",
        "2027-01-15T08:00:00Z support-nov paused, step 2/3, share 5 % set, 4.8 % actual",
    ]


def test_a_server_that_is_silent_for_a_while_is_told_once_and_waited_for() -> None:
    lines = written(document(), None, None, document(), document(state="promoted"), until="promoted")
    assert [line.partition(" ")[2] for line in lines][1:3] == ["no answer: nobody listens", "answers again"]
    assert len(lines) == 4


def test_a_server_that_never_answered_is_not_waited_for() -> None:
    with pytest.raises(ServerNotReached):
        written(None, until="paused")


def test_as_json_each_change_is_its_canarys_document() -> None:
    lines = written(document(), None, document(), document(state="paused"), until="paused", form="json")
    assert [json.loads(line)["state"] for line in lines] == ["running", "paused"]


def test_every_canary_must_be_there() -> None:
    both = [canary(), canary(name="other", state="paused")]
    lines = written({"canaries": both}, {"canaries": [canary(state="paused"), both[1]]}, until="paused")
    assert len(lines) == 3


def test_ctrl_c_ends_it_with_the_last_document() -> None:
    def interrupted() -> Iterator[StatusLook]:
        yield StatusLook(document=document(state="rolled_back"))
        raise KeyboardInterrupt

    last = watch(interrupted(), StatusLines(lambda text: None, lambda: NOW, form="text").show, None)
    assert last["canaries"][0]["state"] == "rolled_back"


def drawn(width: int = 120, **changed: Any) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(picture(document(**changed), NOW, width=width))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def test_a_candidate_whose_sessions_cost_less_is_not_drawn_near_its_limit() -> None:
    evidence = {"observations": 400.0, "ln_mixture": 6.5, "ln_cusum": 6.5}
    for value, near in ((0.34, False), (1.3, True)):
        text = drawn(guardrails=[rule(rule="session_cost", value=value, threshold=2.0, evidence=evidence)])
        assert ("near its limit" in text.replace("No guardrail is near its limit", "")) is near


def test_the_picture_has_state_step_both_shares_and_the_time_over_the_figures() -> None:
    text = drawn()
    for said in (
        "support-nov",
        "running",
        "gpt-4o → gpt-5",
        "5 % of the users set, 4.8 % of the requests so far",
        "Step 2 of 3, 15 min left, then 20 %.",
    ):
        assert said in text
    assert "45 min of 1 h" in text
    assert "started 2 h ago" in text
    assert "baseline" in text
    assert "candidate" in text


def test_an_open_incident_and_a_base_url_of_its_own_stand_in_the_header() -> None:
    incident = {"opened_at": NOW - 90.0, "sentence": "Answers of b fail: 4 of 17 requests."}
    text = drawn(open_incident=incident, base_path="/azure/v1")
    assert "open for 1 min 30 s. Answers of b fail: 4 of 17 requests." in text
    assert "the base URL http(s)://HOST:PORT/azure/v1" in text


def test_a_reason_says_of_which_state_it_is() -> None:
    assert "promoted: it must ship this week" in drawn(state="promoted", reason="it must ship this week")


def test_users_in_the_middle_of_something_stand_in_the_header() -> None:
    assert "The last change waits for 18 users" in drawn(held_units={"units": 18, "until": NOW + 3600.0})
    assert "The last change" not in drawn(held_units={"units": 0, "until": NOW + 3600.0})
    assert "waits for" not in drawn()


def test_a_guardrail_has_a_bar_for_its_value_and_one_for_its_evidence() -> None:
    (row,) = [line for line in drawn().splitlines() if line.startswith("Error rate")]
    assert row.count("━") > 8
    assert "20 of 1,000" in row


def test_traffic_that_goes_astray_is_a_line_as_soon_as_it_does() -> None:
    astray = {"kind": "no_unit", "sentence": "9 of 9 requests name no user", "said": ""}
    told = (document(), document(traffic=[astray]), document(traffic=[astray]), document(state="paused"))
    lines = written(*told, until="paused")
    assert [each.partition("; ")[2] for each in lines] == ["", "9 of 9 requests name no user.", ""]


def test_in_eighty_columns_a_guardrail_has_one_line_of_figures() -> None:
    loud = {"observations": 90.0, "ln_mixture": 20.0, "ln_cusum": 0.0}
    rules = [
        rule("latched", rule="error_rate_vs_baseline", threshold=1.5, value=None, evidence=loud),
        rule("warn", rule="csat", threshold=4.26, value=4.79, evidence=loud),
    ]
    lines = [" ".join(line.split()) for line in drawn(80, guardrails=rules).splitlines()]
    assert "Error rate vs. baseline tripped – 1.5× over 1,000,000 of 1,000" in lines
    assert "Satisfaction over its limit 4.79 ≥ 4.26 over 1,000,000 of 1,000" in lines


@pytest.mark.parametrize(("state", "said"), [("ok", False), ("firing", True)])
def test_a_loud_guardrail_says_why(state: str, said: bool) -> None:
    assert ("it fails" in drawn(guardrails=[rule(state)])) == said


def test_the_status_tells_faults_and_abandoned_requests_where_there_are_any() -> None:
    read: dict[str, Any] = {
        "finished": 240, "output_judged": 0, "ended": 250, "refused": 0, "cut_off": 12, "empty": 0,
        "answer_faults": 12, "invalid_output": None, "abandoned": 3,
        "shares": {"cut_off": 0.05, "abandoned": 0.012, "invalid_output": None},
    }  # fmt: skip
    failing = {"provider_timeout": 5, "breaker_open": 1}
    arms = {
        "baseline": arm(**{**read, "cut_off": 0, "abandoned": 0}),
        "candidate": arm(**read, error_types=failing),
    }
    shown = io.StringIO()
    Console(file=shown, width=120).print(picture(document(arms=arms), NOW, width=120))
    told = shown.getvalue()
    assert "candidate: 5 provider timeout, 1 breaker open, 12 of 240 answers cut off (5.0 %)" in told
    assert "3 of 250 requests abandoned (1.2 %)" in told
    assert "baseline: " not in told


def test_an_arm_without_a_price_stands_in_the_header() -> None:
    found = {"canary": "support-nov", "arm": "candidate", "provider": "azure", "model": "x"}
    told = {"says": "support-nov: the candidate azure/x has no known price", "do": "add `prices`"}
    assert "azure/x has no known price; add `prices`" in drawn(unpriced=[found | told])
    other = found | {"arm": "baseline", "model": "y"}
    text = " ".join(drawn(unpriced=[other | told, found | told]).split())
    assert text.lower().count("no known price") == 1
    assert "No known price, so costs are unknown: azure/y (baseline of support-nov); azure/x (" in text
