"""Copies for the candidate through a real server: the callers notice nothing, and the copies stand apart."""

import socket
from collections.abc import Iterator
from itertools import islice
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from demo.provider.behaviour import Behaviour
from demo.provider.server import LocalProvider
from tests.e2e.stage import Stage, chat, on_stage
from tests.serving import eventually

HEAD = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
  alone: {{api: openai, base_url: "{elsewhere}/v1", api_key: sk-alone}}
  nobody: {{api: openai, base_url: "http://127.0.0.1:CLOSED/v1", api_key: sk-nobody}}
canaries:
"""
CASE = """
  - name: NAME
    match: {{models: [NAME]}}
    baseline: {{provider: openai, model: NAME-baseline}}
    candidate: {{provider: WHERE, model: NAME-candidate}}
    share: 5%
    mirror: MIRROR
"""
PRICES = """
prices:
  calm-baseline: {{input: 1.0, output: 10.0}}
  calm-candidate: {{input: 2.0, output: 20.0}}
"""
KEY = {"authorization": "Bearer sk-caller"}
MOST_COPIES = 64
REQUESTS = 20


def case(name: str, where: str = "openai", mirror: str = "100%") -> str:
    return CASE.replace("NAME", name).replace("WHERE", where).replace("MIRROR", mirror)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    behaviours = {
        "failing-candidate": Behaviour(faults={"status": 1.0}),
        "cut-candidate": Behaviour(faults={"truncate": 1.0}),
    }
    cases = (
        case("calm", "alone"),
        case("failing"),
        case("cut"),
        case("down", "nobody"),
        case("later", mirror="0%"),
    )
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        config = HEAD.replace("CLOSED", str(closed.getsockname()[1])) + "".join(cases) + PRICES
        with on_stage(tmp_path_factory.mktemp("mirror"), config, provider=LocalProvider(behaviours)) as up:
            yield up


def ask(stage: Stage, name: str, user: str, *, stream: bool = False) -> httpx2.Response:
    url = f"{stage.server.traffic}/v1/chat/completions"
    return httpx2.post(url, json=chat(name, user, stream=stream), headers=KEY, trust_env=False)


def ask_as_baseline(stage: Stage, name: str, requests: int) -> list[httpx2.Response]:
    """As many users outside the cohort ask once each, every other one for a stream."""
    users = islice(stage.users("baseline", name, 0.05), requests)
    return [ask(stage, name, user, stream=bool(number % 2)) for number, user in enumerate(users)]


def copies(stage: Stage, name: str, count: int) -> dict[str, Any]:
    """The copies as the status shows them, once so many have ended."""

    def ended() -> dict[str, Any] | None:
        mirror: dict[str, Any] | None = stage.status(name)["mirror"]
        return mirror if mirror is not None and mirror["requests"] == count else None

    return eventually(ended)


def metric(stage: Stage, sample: str, **labels: str) -> float | None:
    text = httpx2.get(f"{stage.server.admin}/metrics", trust_env=False).text
    found = (each for family in text_string_to_metric_families(text) for each in family.samples)
    values = [each.value for each in found if each.name == sample and labels.items() <= each.labels.items()]
    return sum(values) if values else None


@pytest.fixture(scope="module")
def calm(stage: Stage) -> list[httpx2.Response]:
    """What the callers of the canary that is well got, when every copy has ended."""
    stage.provider.log.clear()  # the preflight's
    answers = ask_as_baseline(stage, "calm", REQUESTS)
    copies(stage, "calm", REQUESTS)
    return answers


def test_the_callers_get_the_baselines_answers(stage: Stage, calm: list[httpx2.Response]) -> None:
    assert {(each.status_code, each.headers["x-canary-arm"]) for each in calm} == {(200, "baseline")}
    for answer in calm:
        assert '"calm-baseline"' in answer.text
        assert "candidate" not in answer.text
    assert all(answer.text.endswith("data: [DONE]\n\n") for answer in calm[1::2])


@pytest.mark.usefixtures("calm")
def test_copies_stand_in_no_figure_of_an_arm(stage: Stage) -> None:
    mirror = copies(stage, "calm", REQUESTS)
    assert (mirror["share"], mirror["errors"], mirror["aborted"], mirror["dropped"]) == (1.0, 0, 0, 0)
    status = stage.status("calm")
    assert status["actual_share"] == 0.0
    assert status["arms"]["baseline"]["requests"] == REQUESTS
    assert status["arms"]["candidate"]["requests"] == 0
    assert status["arms"]["candidate"]["cost_usd"] is None
    assert metric(stage, "canary_requests_total", canary="calm", arm="baseline") == REQUESTS
    assert metric(stage, "canary_requests_total", canary="calm", arm="candidate") == 0
    assert metric(stage, "canary_cost_usd_total", canary="calm", arm="candidate") is None
    assert metric(stage, "canary_mirror_requests_total", canary="calm", outcome="ok") == REQUESTS
    cost = metric(stage, "canary_mirror_cost_usd_total", canary="calm")
    assert cost == pytest.approx(mirror["cost_usd"])
    assert metric(stage, "canary_inflight_requests") == 0


@pytest.mark.usefixtures("calm")
def test_a_copy_carries_the_candidates_model_and_credential_and_no_callers(stage: Stage) -> None:
    entries = stage.provider.log.of("calm-candidate")
    assert len(entries) == REQUESTS
    for entry in entries:
        assert entry.credentials == {"authorization": "Bearer sk-alone"}
        assert not [name for name, _ in entry.headers if name.startswith("x-canary-")]


@pytest.mark.usefixtures("calm")
def test_a_copy_is_stored_as_an_exchange_of_its_own_with_its_own_cost(stage: Stage) -> None:
    def stored() -> list[dict[str, Any]] | None:
        found = [row for row in stage.outcomes() if row["canary"] == "calm"]
        return found if len(found) >= 2 * REQUESTS else None

    rows = eventually(stored)
    real = [row for row in rows if not row["mirror"]]
    copied = [row for row in rows if row["mirror"]]
    assert (len(real), len(copied)) == (REQUESTS, REQUESTS)
    assert len({row["exchange_id"] for row in rows}) == 2 * REQUESTS
    assert {(row["arm"], row["model"]) for row in real} == {("baseline", "calm-baseline")}
    assert {(row["arm"], row["model"], row["outcome"]) for row in copied} == {
        ("candidate", "calm-candidate", "ok")
    }
    assert sorted(row["unit"] for row in copied) == sorted(row["unit"] for row in real)
    assert len({row["provider_request_id"] for row in rows if row["provider_request_id"]}) == 2 * REQUESTS
    for row in copied:
        assert row["cost_usd"] == pytest.approx((2 * row["input_tokens"] + 20 * row["output_tokens"]) / 1e6)


@pytest.mark.usefixtures("calm")
def test_the_command_line_the_page_and_the_report_show_copies_apart(stage: Stage) -> None:
    shown = " ".join(stage.canary("status").stdout.split())
    assert f"mirror 100 % {REQUESTS} copies, 0 errors, 0 aborted, p50" in shown
    page = " ".join(stage.api("GET", "/?open=calm").text.split())
    copied = "100 % of the baseline's requests, copied to the candidate"
    assert f"<dt>Mirror</dt><dd>{copied}: {REQUESTS} so far, 0 failed" in page

    def reported() -> dict[str, Any] | None:
        found: dict[str, Any] = stage.api("GET", "/api/canaries/calm/report?form=json").json()
        return found if found.get("mirror", {}).get("copies") == REQUESTS else None

    report = eventually(reported)
    assert (report["mirror"]["failed"], report["mirror"]["cost_usd"] > 0) == (0, True)
    spent = report["details"]["evaluation"]
    assert (spent["mirror_usd"], spent["unknown"]) == (report["mirror"]["cost_usd"], [])
    assert report["units"] == {"baseline": REQUESTS, "candidate": 0}


@pytest.mark.parametrize(
    ("name", "error_type"),
    [("failing", "provider_5xx"), ("cut", "provider_truncated"), ("down", "provider_connect")],
)
def test_copies_that_fail_harm_nobody(stage: Stage, name: str, error_type: str) -> None:
    answers = ask_as_baseline(stage, name, REQUESTS)
    assert {each.status_code for each in answers} == {200}
    for answer in answers:
        assert f'"{name}-baseline"' in answer.text
        assert "x-canary-served-by" not in answer.headers
    assert copies(stage, name, REQUESTS)["errors"] == REQUESTS
    assert metric(stage, "canary_mirror_errors_total", canary=name, error_type=error_type) == REQUESTS
    assert metric(stage, "canary_errors_total", canary=name) == 0
    assert metric(stage, "canary_breaker_open", canary=name) == 0
    status = stage.status(name)
    assert (status["state"], status["incident"]) == ("running", None)
    assert not [rule for rule in status["guardrails"] if rule["state"] in ("warn", "firing", "latched")]


def test_mirroring_begins_with_a_reload(stage: Stage) -> None:
    ask_as_baseline(stage, "later", 1)
    assert stage.status("later")["mirror"] is None
    stage.configure(stage.config_text.replace("mirror: 0%", "mirror: 100%"))
    users = stage.users("baseline", "later", 0.05, "reloaded")

    def copied() -> bool:
        ask(stage, "later", next(users))
        return bool(stage.provider.log.of("later-candidate"))

    eventually(copied)

    def shown() -> bool:
        mirror = stage.status("later")["mirror"]
        return mirror is not None and mirror["share"] == 1.0 and mirror["requests"] >= 1

    eventually(shown)


def test_a_hanging_candidate_holds_a_bounded_number_of_copies_and_no_answer(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    hanging = LocalProvider({"hanging-candidate": Behaviour(faults={"hang": 1.0})})
    config = HEAD.replace("CLOSED", "9") + case("hanging")
    with on_stage(tmp_path_factory.mktemp("hanging"), config, provider=hanging) as stage:
        answers = ask_as_baseline(stage, "hanging", MOST_COPIES + 8)
        assert {each.status_code for each in answers} == {200}
        assert all(each.text.endswith("data: [DONE]\n\n") for each in answers[1::2])
        eventually(lambda: metric(stage, "canary_mirror_dropped_total", canary="hanging") == 8)
        assert stage.status("hanging")["mirror"]["dropped"] == 8
        held = stage.provider.log.of("hanging-candidate")
        assert len(held) == MOST_COPIES
        assert {copy.ending for copy in held} == {"open"}  # while every answer is whole
        user = next(stage.users("candidate", "hanging", 0.05))
        stage.provider.behave("hanging-candidate", Behaviour())
        real = ask(stage, "hanging", user)  # the candidate's own connections are not the copies'
        assert (real.headers["x-canary-arm"], "x-canary-served-by" in real.headers) == ("candidate", False)
        stage.server.stop()
        rows = [row for row in stage.outcomes() if row["mirror"]]
        assert [(row["outcome"], row["error_type"]) for row in rows] == [("aborted", "aborted")] * MOST_COPIES
        assert {copy.ending for copy in held} == {"caller_left"}
