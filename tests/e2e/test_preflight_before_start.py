"""A canary that starts by itself asks its candidate first, and waits while the candidate refuses."""

import json
import re
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from demo.behaviour import Behaviour
from tests.serving import ProviderThread, Running, eventually

CONFIG = """
providers:
  it: {{api: openai, base_url: "{url}/v1"{key}}}
canaries:
  - name: trial
    match: {{models: [m]}}
    baseline: {{provider: it, model: old}}
    candidate: {{provider: it, model: new{request}}}
    share: 5%
    start: {start}
"""
Serve = Callable[..., Running]


def config(
    provider: ProviderThread, key: str = ", api_key: sk-it", request: str = "", start: str = "auto"
) -> str:
    return CONFIG.format(url=provider.url, key=key, request=request, start=start)


def api(server: Running, method: str, path: str, **document: Any) -> Any:
    headers = {"authorization": f"Bearer {server.token}"}
    content = json.dumps(document) if method == "POST" else None
    return httpx2.request(
        method, f"{server.admin}/api/{path}", headers=headers, content=content, timeout=30.0
    )


def status(server: Running) -> dict[str, Any]:
    found: dict[str, Any] = api(server, "GET", "status").json()["canaries"][0]
    return found


def test_a_candidate_that_takes_all_starts(serve: Serve, provider: ProviderThread) -> None:
    server = serve(config(provider), workers=1)
    found = status(server)
    assert (found["state"], found["preflight"]["state"]) == ("running", "taken")
    assert found["preflight"]["sentence"] == (
        "preflight: trial: 3 of 3 requests taken, 0 refused; "
        "no captured request to ask, so one minimal request of each operation was asked"
    )
    asked = [each.model for each in provider.log.entries]
    assert asked.count("new") == 4  # one of them is no operation of the demo provider
    newest = api(server, "GET", "audit").json()[0]
    assert (newest["action"], newest["who"]) == ("start", "config")


def test_a_candidate_that_refuses_waits_until_its_request_is_cured(
    serve: Serve, provider: ProviderThread
) -> None:
    provider.behave("new", Behaviour(rejects=("messages",)))
    server = serve(config(provider), workers=1)
    found = status(server)
    assert (found["state"], found["share"], found["preflight"]["state"]) == ("waiting", 0.0, "failed")
    assert found["reason"].startswith("preflight_failed: 1 of 3 requests refused: /chat/completions: 400")
    assert "Unsupported parameter: 'messages'" in found["reason"]
    incident = eventually(lambda: status(server)["open_incident"])
    assert incident["rules"] == ["preflight_failed"]
    assert incident["done"] == "the canary has not started: it waits"

    provider.behave("new", Behaviour())
    server.config.write_text(config(provider, request=", request: {set: {seed: 1}}"))
    eventually(lambda: status(server)["state"] == "running")
    assert api(server, "GET", "status").json()["degraded"] == []
    assert provider.log.of("new")[-1].json["seed"] == 1


def test_a_canary_that_was_to_be_started_by_hand_may_start_by_itself(
    serve: Serve, provider: ProviderThread
) -> None:
    server = serve(config(provider, start="manual"), workers=1)
    assert status(server)["state"] == "waiting"
    server.config.write_text(config(provider))
    eventually(lambda: status(server)["state"] == "running")
    assert status(server)["preflight"]["state"] == "taken"


def test_a_person_starts_it_all_the_same(serve: Serve, provider: ProviderThread) -> None:
    provider.behave("new", Behaviour(rejects=("messages",)))
    server = serve(config(provider), workers=1)
    assert (
        api(server, "POST", "canaries/trial/start", who="ann", reason="I know").json()["state"] == "running"
    )


def test_an_entry_without_a_credential_is_not_asked_and_not_waited_for(
    serve: Serve, provider: ProviderThread
) -> None:
    server = serve(config(provider, key=""), workers=1)
    found = status(server)
    assert (found["state"], found["preflight"]["state"]) == ("running", "not_preflighted")
    assert found["preflight"]["sentence"].startswith("not preflighted: it has no credential of its own")
    assert provider.log.entries == []


@pytest.mark.parametrize("faults", [{"status": 1.0}, {"reset": 1.0}])
def test_a_candidate_without_an_answer_is_not_waited_for(
    serve: Serve, provider: ProviderThread, faults: dict[Any, float]
) -> None:
    provider.behave("new", Behaviour(faults=faults))
    found = status(serve(config(provider), workers=1))
    assert (found["state"], found["preflight"]["state"]) == ("running", "not_preflighted")


def test_the_admin_asks_for_a_person(serve: Serve, provider: ProviderThread) -> None:
    server = serve(config(provider, start="manual"), workers=1)
    assert provider.log.entries == []
    assert status(server)["preflight"] is None
    answer = api(server, "POST", "canaries/trial/preflight")
    assert answer.status_code == 200
    assert (answer.json()["canary"], answer.json()["taken"], answer.json()["refusals"]) == ("trial", 3, [])
    assert status(server)["preflight"]["result"] == answer.json()
    assert status(server)["state"] == "waiting"
    assert api(server, "POST", "canaries/other/preflight").status_code == 404


def test_without_a_credential_the_admin_says_what_would_help(serve: Serve, provider: ProviderThread) -> None:
    server = serve(config(provider, key="", start="manual"), workers=1)
    answer = api(server, "POST", "canaries/trial/preflight")
    assert answer.status_code == 409
    assert "`canary preflight trial` asks with yours" in answer.json()["error"]


def hidden(page: str) -> dict[str, str]:
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))


def test_the_page_shows_it_before_the_start_button_and_asks_again(
    serve: Serve, provider: ProviderThread
) -> None:
    provider.behave("new", Behaviour(rejects=("messages",)))
    server = serve(config(provider), workers=1)
    with httpx2.Client(base_url=server.admin, trust_env=False, timeout=60.0) as browser:
        login = hidden(browser.get("/login").text)
        assert browser.post("/login", data={**login, "token": server.token}).status_code == 303
        page = browser.get("/canaries/trial").text
        assert "Preflight_failed: 1 of 3 requests refused" in page
        assert page.index("✗ 1 × /chat/completions: 400") < page.index('command="show-modal">Start…')
        assert "Ask the candidate now" in page

        provider.behave("new", Behaviour())
        form = {"form_token": hidden(browser.get("/canaries/trial").text)["form_token"]}
        asked = browser.post("/canaries/trial/preflight", data=form)
        assert "3 of 3 requests taken, 0 refused; no captured request to ask, so" in asked.text
        assert browser.post("/canaries/trial/preflight", data={}).status_code == 403
