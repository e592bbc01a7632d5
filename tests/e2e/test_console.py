"""The operator's listener: who may come in, what orders do and leave behind, what it shows."""

import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import httpx2
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from starlette.routing import Route

from console.access.guard import Access
from console.app import admin_app
from console.page import WATCHERS
from demo.provider.behaviour import Behaviour
from tests.e2e.stage import Stage, chat, on_stage
from tests.serving import eventually

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
canaries:
  - name: support-nov
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-4o-2024-11-20}}
    share: 5%
    rubric:
      - {{metric: error_rate, acceptable: "< 3%", ideal: "< 1%", weight: 1, question: "Do answers arrive?"}}
  - name: by-hand
    start: manual
    match: {{models: [gpt-4o-mini]}}
    baseline: {{provider: openai, model: gpt-4o-mini-2024-07-18}}
    candidate: {{provider: openai, model: gpt-4.1-nano-2025-04-14}}
    share: 5%
    guardrails: []
"""
OPEN = {"/healthz", "/readyz", "/metrics", "/login", "/oidc/login", "/oidc/callback", "/static/page.css"}
REQUESTS = 40


NOBODY: Any = None
"""An operator that is never reached: only the app's route table is asked for."""


def every_route() -> list[tuple[str, str]]:
    """(method, path) of the whole admin app, its parameters filled in."""
    access = Access(admin_token=lambda: None, metrics_token=lambda: None, loopback=True)
    routes = [
        each for each in admin_app(NOBODY, CollectorRegistry(), access).routes if isinstance(each, Route)
    ]
    names = {
        "name": "support-nov",
        "order": "rollback",
        "key": "0",
        "file": "page.css",
        "id": "0",
        "which": "0",
        "named": "0",
    }
    return [
        (method, route.path.replace(":path}", "}").format(**names))
        for route in routes
        for method in sorted((route.methods or set()) - {"HEAD"})
    ]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with on_stage(tmp_path_factory.mktemp("console"), CONFIG, workers=2) as up:
        for model in ("gpt-4o-2024-08-06", "gpt-4o-2024-11-20"):
            up.provider.behave(model, Behaviour(ttft_s=0.01))
        url = f"{up.server.traffic}/v1/chat/completions"
        with httpx2.Client(headers={"authorization": "Bearer sk-caller"}, trust_env=False) as http:
            for number in range(REQUESTS):
                http.post(url, json=chat("gpt-4o", f"user-{number}"))
        yield up


# Who may come in


def test_the_route_table_is_the_one_that_is_checked() -> None:
    assert ("POST", "/api/canaries/support-nov/rollback") in every_route()
    assert ("POST", "/canaries/support-nov/rollback") in every_route()
    assert len(every_route()) >= 24
    assert {path for _, path in every_route()} >= OPEN


@pytest.mark.parametrize(("method", "path"), [route for route in every_route() if route[1] not in OPEN])
@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer guessed"}, {"cookie": "canary_session=x"}])
def test_no_route_but_the_open_ones_lets_anybody_in_without_the_token(
    stage: Stage, method: str, path: str, headers: dict[str, str]
) -> None:
    url = f"{stage.server.admin}{path}"
    answer = httpx2.request(
        method, url, headers=headers, json={} if method == "POST" else None, trust_env=False
    )
    assert answer.status_code == 401
    if path.startswith("/api/"):
        assert "admin token" in answer.json()["error"]
    else:
        assert "Admin token" in answer.text
    assert stage.status("support-nov")["state"] == "running"


@pytest.mark.parametrize("path", ["/api/nothing", "/nothing", "//api/status", "/api/../api/status"])
def test_a_path_that_is_none_lets_nobody_in_either(stage: Stage, path: str) -> None:
    answer = httpx2.get(f"{stage.server.admin}{path}", trust_env=False)
    assert answer.status_code == 401
    assert "canaries" not in answer.text


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1beta/models/m:generateContent", "/canary/feedback"]
)
def test_an_app_that_asks_the_admin_listener_is_told_of_the_other_one(stage: Stage, path: str) -> None:
    answer = httpx2.post(f"{stage.server.admin}{path}", json={"model": "gpt-4o"}, trust_env=False)
    assert answer.status_code == 404
    assert "send LLM requests and feedback to the traffic listener" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_health_and_metrics_are_open(stage: Stage, path: str) -> None:
    assert httpx2.get(f"{stage.server.admin}{path}", trust_env=False).status_code == 200


@pytest.mark.parametrize("path", ["/", "/api/status", "/metrics", "/login"])
def test_a_host_that_is_not_this_machine_is_refused(stage: Stage, path: str) -> None:
    headers = {"host": "evil.example", "authorization": f"Bearer {stage.server.token}"}
    answer = httpx2.get(f"{stage.server.admin}{path}", headers=headers, trust_env=False)
    assert answer.status_code == 400
    assert "support-nov" not in answer.text


def test_a_foreign_origin_is_refused_even_with_the_token(stage: Stage) -> None:
    url = f"{stage.server.admin}/api/canaries/support-nov/rollback"
    with httpx2.Client(headers={"authorization": f"Bearer {stage.server.token}"}, trust_env=False) as http:
        for origin in ("http://evil.example", "http://127.0.0.1:1", "null"):
            answer = http.post(url, json={"reason": "because"}, headers={"origin": origin})
            assert answer.status_code == 403
    assert stage.status("support-nov")["state"] == "running"


def test_the_form_takes_the_token_and_opens_the_page_that_was_asked_for(stage: Stage) -> None:
    with httpx2.Client(base_url=stage.server.admin, trust_env=False, timeout=30.0) as browser:
        asked = browser.get("/canaries/support-nov")
        assert (asked.status_code, "Admin token" in asked.text) == (401, True)
        wrong = browser.post("/login", data={**hidden(asked.text), "token": "guessed"})
        assert (wrong.status_code, "canary_session" in wrong.headers.get("set-cookie", "")) == (403, False)
        done = browser.post("/login", data={**hidden(wrong.text), "token": stage.server.token})
        assert (done.status_code, done.headers["location"]) == (303, "/canaries/support-nov")
        cookie = done.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert stage.server.token not in cookie
        page = browser.get("/")
        assert page.status_code == 200
        assert all(name in page.text for name in ("support-nov", "by-hand"))
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "unsafe" not in page.headers["content-security-policy"]
        assert browser.get("/canaries/support-nov/report").status_code == 200
        assert browser.get("/canaries/unknown/report").status_code == 404


@pytest.fixture
def logged_in(stage: Stage) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=stage.server.admin, trust_env=False, timeout=30.0) as browser:
        form = hidden(browser.get("/login").text)
        assert browser.post("/login", data={**form, "token": stage.server.token}).status_code == 303
        yield browser


def hidden(page: str) -> dict[str, str]:
    """The hidden fields of a page's forms."""
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))


def test_a_login_that_comes_from_no_page_of_ours_is_refused(stage: Stage) -> None:
    for check in ({}, {"check": ""}, {"check": "guessed"}):
        answer = httpx2.post(
            f"{stage.server.admin}/login", data={"token": stage.server.token, **check}, trust_env=False
        )
        assert (answer.status_code, "canary_session" in answer.headers["set-cookie"]) == (403, False)


@pytest.mark.parametrize(
    "onwards", ["//evil.example", "https://evil.example", "/\\evil.example", "/\t/evil.example", "evil"]
)
def test_a_login_leads_to_no_other_host(stage: Stage, onwards: str) -> None:
    with httpx2.Client(base_url=stage.server.admin, trust_env=False) as browser:
        form = {**hidden(browser.get("/login").text), "token": stage.server.token, "onwards": onwards}
        assert browser.post("/login", data=form).headers["location"] == "/"


def test_no_form_changes_anything_without_what_its_page_gave_it(
    stage: Stage, logged_in: httpx2.Client
) -> None:
    forms = [path for method, path in every_route() if method == "POST" and path not in OPEN]
    pages = [path for path in forms if not path.startswith("/api/")]
    of_canary = {f"/canaries/support-nov/{each}" for each in ("rollback", "preflight", "label", "decide")}
    others = {"/logout", "/issues", "/datasets/support-nov/label"}
    others |= {f"/standing/support-nov/{each}" for each in ("begin", "revert")}
    assert others | of_canary == {*pages}
    asked = len(stage.provider.log.entries)
    for path in pages:
        for form in ({}, {"form_token": "guessed"}, {"form_token": ""}):
            answer = logged_in.post(path, data={"who": "eve", "reason": "because", **form})
            assert answer.status_code == 403
    assert len(stage.provider.log.entries) == asked
    assert stage.status("support-nov")["state"] == "running"
    assert logged_in.get("/").status_code == 200


def test_a_session_opens_the_pages_and_not_the_api(logged_in: httpx2.Client) -> None:
    assert logged_in.get("/canaries/support-nov").status_code == 200
    assert logged_in.get("/api/status").status_code == 401
    assert logged_in.post("/api/canaries/support-nov/rollback", json={}).status_code == 401


def test_after_a_logout_the_cookie_opens_nothing_any_more(logged_in: httpx2.Client) -> None:
    cookie = logged_in.cookies["canary_session"]
    form = hidden(logged_in.get("/").text)
    assert logged_in.post("/logout", data=form).headers["location"] == "/login"
    assert "canary_session" not in logged_in.cookies
    assert logged_in.get("/", headers={"cookie": f"canary_session={cookie}"}).status_code == 401


def test_an_order_that_was_given_looking_at_another_state_is_refused(logged_in: httpx2.Client) -> None:
    form = {"form_token": hidden(logged_in.get("/").text)["form_token"], "who": "anna", "reason": "because"}
    old = logged_in.post("/canaries/support-nov/pause", data={**form, "seen": "1-paused-0.05"})
    assert (old.status_code, "has changed since" in old.text) == (409, True)
    nobody = logged_in.post("/canaries/support-nov/pause", data={**form, "who": " "})
    assert nobody.status_code == 409  # nor was it seen
    assert logged_in.post("/canaries/unknown/rollback", data=form).status_code == 404


def test_too_many_watchers_are_sent_away_until_others_go(logged_in: httpx2.Client) -> None:
    with ExitStack() as open_streams:
        watching = []
        for _ in range(WATCHERS):
            stream = open_streams.enter_context(logged_in.stream("GET", "/canaries/support-nov/events"))
            watching.append(stream.iter_lines())  # kept: the end of a generator ends its stream
            assert next(watching[-1]) == "event: look"
        assert logged_in.get("/canaries/support-nov/events").status_code == 503
        assert logged_in.get("/canaries/support-nov/figures").status_code == 200
    eventually(lambda: _watched(logged_in))
    assert logged_in.get("/canaries/unknown/events").status_code == 404


def test_the_page_of_a_new_canary_says_how_likely_it_ships(logged_in: httpx2.Client) -> None:
    assert 'hx-get="/canaries/support-nov/plan"' in logged_in.get("/canaries/support-nov").text
    line = logged_in.get("/canaries/support-nov/plan").text
    assert line.startswith("support-nov: a candidate halfway between acceptable and ideal ships with")
    assert logged_in.get("/canaries/by-hand/plan").text.strip() == ""  # it has no rubric
    assert logged_in.get("/canaries/unknown/plan").status_code == 404


def _watched(browser: httpx2.Client) -> bool:
    with browser.stream("GET", "/canaries/support-nov/events") as stream:
        return stream.status_code == 200


def test_a_login_form_without_end_is_not_read_to_its_end(stage: Stage) -> None:
    host, port = stage.server.admin.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60.0) as line:
        line.sendall(f"POST /login HTTP/1.1\r\nhost: {host}\r\ncontent-length: 1000000000\r\n\r\n".encode())
        line.sendall(b"token=" + b"x" * 10_000)
        assert line.recv(65536).startswith(b"HTTP/1.1 403 ")


# Orders


def order(stage: Stage, name: str, action: str, **document: object) -> httpx2.Response:
    return stage.api("POST", f"/api/canaries/{name}/{action}", {"who": "anna", **document})


def test_orders_change_the_state_and_stand_in_the_audit_log(stage: Stage) -> None:
    name = "by-hand"
    assert stage.status(name)["state"] == "waiting"
    told = [
        order(stage, name, "start", reason="the provider announced it"),
        order(stage, name, "ramp", share=0.1, reason="looks fine"),
        order(stage, name, "pause", reason="a holiday"),
        order(stage, name, "resume", reason="back"),
        order(stage, name, "rollback", reason="complaints"),
        order(stage, name, "resume", reason="they were about something else"),
        order(stage, name, "promote", reason="it won", against_verdict=True),
    ]
    assert [answer.status_code for answer in told] == [200] * 7
    done = [answer.json() for answer in told]
    assert [(each["state"], each["share"]) for each in done] == [
        ("running", 0.05),
        ("running", 0.1),
        ("paused", 0.1),
        ("running", 0.1),
        ("rolled_back", 0.0),
        ("running", 0.05),
        ("promoted", 1.0),
    ]
    assert {(each["confirmed"], each["workers"]) for each in done} == {(2, 2)}
    audit = [each for each in stage.api("GET", "/api/audit").json() if each["canary"] == name]
    assert [each["action"] for each in audit[:7]] == [
        *("promote", "resume", "rollback", "resume", "pause", "ramp", "start")
    ]
    assert {each["who"] for each in audit[:7]} == {"anna"}
    assert (audit[2]["reason"], audit[2]["share_before"], audit[2]["share_after"]) == ("complaints", 0.1, 0.0)


def test_an_order_that_cannot_be_carried_out_says_why_and_changes_nothing(stage: Stage) -> None:
    before = stage.api("GET", "/api/audit").json()
    refused = {
        "there is no such canary": (order(stage, "unknown", "pause"), 404),
        "there is no such order": (order(stage, "support-nov", "explode"), 404),
        "it runs already": (order(stage, "support-nov", "start"), 409),
        "a reason is missing": (order(stage, "support-nov", "promote"), 400),
        "a share is missing": (order(stage, "support-nov", "ramp"), 400),
        "a share over all": (order(stage, "support-nov", "ramp", share=1.5), 400),
        "a share that is none": (order(stage, "support-nov", "ramp", share="much"), 400),
        "a share that is true": (order(stage, "support-nov", "ramp", share=True), 400),
    }
    assert {why: answer.status_code for why, (answer, _) in refused.items()} == {
        why: status for why, (_, status) in refused.items()
    }
    assert all(answer.json()["error"] for answer, _ in refused.values())
    assert stage.api("GET", "/api/audit").json() == before


# What it shows


def test_the_report_comes_as_json_markdown_and_a_page(stage: Stage) -> None:
    eventually(lambda: len(stage.outcomes()) >= REQUESTS)
    url = "/api/canaries/support-nov/report"
    document = stage.api("GET", url).json()
    assert (document["canary"], document["verdict"]) == ("support-nov", "extend")
    assert [metric["metric"] for metric in document["metrics"]] == ["error_rate"]
    assert sum(document["units"].values()) == REQUESTS
    markdown = stage.api("GET", f"{url}?form=markdown")
    assert markdown.headers["content-type"].startswith("text/markdown")
    assert markdown.text.startswith("#")
    page = stage.api("GET", f"{url}?form=html")
    assert page.headers["content-type"].startswith("text/html")
    for text in (markdown.text, page.text):
        assert "Do answers arrive?" in text
    assert stage.api("GET", f"{url}?form=pdf").status_code == 400
    assert stage.api("GET", "/api/canaries/unknown/report").status_code == 404


def test_the_status_document_is_the_contracts(stage: Stage) -> None:
    arms = eventually(lambda: found if requests(found := stage.status("support-nov")["arms"]) else None)
    assert all(
        {*arm} >= {"requests", "errors", "aborted", "p50_s", "p95_s", "ttft_p95_s", "cost_usd"}
        for arm in arms.values()
    )
    canary = stage.status("support-nov")
    assert {*canary} >= {"name", "state", "share", "actual_share", "arms", "guardrails"}
    assert (canary["orders"], canary["open_incident"]) == (["ramp", "pause", "rollback", "promote"], None)
    steps = [{"share": 0.05, "for_s": None, "users": None}]
    assert canary["ramp"].items() >= {"steps": steps, "step": 0, "left_s": None, "held": False}.items()
    assert all({*rule} >= {"rule", "state", "evidence"} for rule in canary["guardrails"])


def requests(arms: Mapping[str, Mapping[str, int]]) -> bool:
    return sum(arm["requests"] for arm in arms.values()) == REQUESTS


def test_metrics_parse_and_count_what_was_served(stage: Stage) -> None:
    def served() -> float:
        text = httpx2.get(f"{stage.server.admin}/metrics", trust_env=False).text
        families = {each.name: each for each in text_string_to_metric_families(text)}
        assert families.keys() >= {"canary_requests", "canary_request_duration_seconds", "canary_share_ratio"}
        assert all(family.documentation for family in families.values())
        named = [each for each in families["canary_requests"].samples if each.labels.get("canary")]
        return sum(each.value for each in named if each.name == "canary_requests_total")

    eventually(lambda: served() == REQUESTS)
