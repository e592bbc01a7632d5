"""A canary that starts by itself asks its candidate first, and waits while the candidate refuses."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest

from demo.provider.behaviour import Behaviour
from demo.provider.server import LocalProvider, ReceivedRequest
from tests.serving import ProviderThread, Running, eventually

PROVIDERS = """
providers:
  it: {{api: openai, base_url: "{url}/v1", api_key: sk-it}}
  keyless: {{api: openai, base_url: "{url}/v1"}}
canaries:
"""
CANARY = """
  - name: {name}
    match: {{models: [{name}]}}
    baseline: {{provider: {provider}, model: old}}
    candidate: {{provider: {provider}, model: new-{name}{request}}}
    share: 5%
    settle: 0s
    start: {start}
"""
REFUSES = Behaviour(rejects=("messages",))
BEHAVIOURS: Mapping[str, Behaviour] = {
    "takes": Behaviour(),
    "cured": REFUSES,
    "by-hand": Behaviour(),
    "insisted": REFUSES,
    "without-key": Behaviour(),
    "fails": Behaviour(faults={"status": 1.0}),
    "resets": Behaviour(faults={"reset": 1.0}),
    "asked": Behaviour(),
    "cannot-be-asked": Behaviour(),
    "on-the-page": REFUSES,
}
"""How the candidate of each canary answers, by the canary's name."""

WITHOUT_KEY = ("without-key", "cannot-be-asked")
BY_HAND = ("by-hand", "asked", "cannot-be-asked")


class Started:
    """One server with all the canaries, and its config."""

    def __init__(self, folder: Path, provider: ProviderThread) -> None:
        self.provider = provider
        self._requests: dict[str, str] = {}
        self._starts = dict.fromkeys(BY_HAND, "manual")
        for name, behaviour in BEHAVIOURS.items():
            provider.behave(f"new-{name}", behaviour)
        self.server = Running(folder, self._config(), workers=1, grace_s=5.0, env={})

    def rewrite(self, name: str, *, request: str = "", start: str = "auto") -> None:
        """Change one canary in the file."""
        self._requests[name], self._starts[name] = request, start
        self.server.config.write_text(self._config())

    def api(self, method: str, path: str, **document: Any) -> Any:
        headers = {"authorization": f"Bearer {self.server.token}"}
        content = json.dumps(document) if method == "POST" else None
        url = f"{self.server.admin}/api/{path}"
        return httpx2.request(method, url, headers=headers, content=content, timeout=30.0)

    def status(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(
            each for each in self.api("GET", "status").json()["canaries"] if each["name"] == name
        )
        return found

    def asked(self, name: str) -> list[ReceivedRequest]:
        """What reached the canary's candidate."""
        return self.provider.log.of(f"new-{name}")

    def _config(self) -> str:
        return PROVIDERS.format(url=self.provider.url) + "".join(
            CANARY.format(
                name=name,
                provider="keyless" if name in WITHOUT_KEY else "it",
                request=self._requests.get(name, ""),
                start=self._starts.get(name, "auto"),
            )
            for name in BEHAVIOURS
        )


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    with ProviderThread(LocalProvider()) as provider:
        found = Started(tmp_path_factory.mktemp("preflight"), provider)
        yield found
        found.server.kill()


def test_a_candidate_that_takes_all_starts(started: Started) -> None:
    found = started.status("takes")
    assert (found["state"], found["preflight"]["state"]) == ("running", "taken")
    assert found["preflight"]["sentence"] == (
        "preflight: takes: 3 of 3 requests taken, 0 refused; "
        "no captured request to ask, so one minimal request of each operation was asked"
    )
    assert len(started.asked("takes")) == 4  # one of them is no operation of the demo provider
    orders = [each for each in started.api("GET", "audit").json() if each["canary"] == "takes"]
    assert (orders[0]["action"], orders[0]["who"]) == ("start", "config")


def test_a_candidate_that_refuses_waits_until_its_request_is_cured(started: Started) -> None:
    found = started.status("cured")
    assert (found["state"], found["share"], found["preflight"]["state"]) == ("waiting", 0.0, "failed")
    assert found["reason"].startswith("preflight_failed: 1 of 3 requests refused: /chat/completions: 400")
    assert "Unsupported parameter: 'messages'" in found["reason"]
    incident = eventually(lambda: started.status("cured")["open_incident"])
    assert incident["rules"] == ["preflight_failed"]
    assert incident["done"] == "the canary has not started: it waits"

    started.provider.behave("new-cured", Behaviour())
    started.rewrite("cured", request=", request: {set: {seed: 1}}")
    eventually(lambda: started.status("cured")["state"] == "running")
    assert started.api("GET", "status").json()["degraded"] == []
    assert started.asked("cured")[-1].json["seed"] == 1


def test_a_canary_that_was_to_be_started_by_hand_may_start_by_itself(started: Started) -> None:
    assert started.status("by-hand")["state"] == "waiting"
    started.rewrite("by-hand")
    eventually(lambda: started.status("by-hand")["state"] == "running")
    assert started.status("by-hand")["preflight"]["state"] == "taken"


def test_a_person_starts_it_all_the_same(started: Started) -> None:
    assert started.status("insisted")["state"] == "waiting"
    answer = started.api("POST", "canaries/insisted/start", who="ann", reason="I know")
    assert answer.json()["state"] == "running"


def test_an_entry_without_a_credential_is_not_asked_and_not_waited_for(started: Started) -> None:
    found = started.status("without-key")
    assert (found["state"], found["preflight"]["state"]) == ("running", "not_preflighted")
    assert found["preflight"]["sentence"].startswith("not preflighted: keyless has no credential of its own")
    assert started.asked("without-key") == []


@pytest.mark.parametrize("name", ["fails", "resets"])
def test_a_candidate_without_an_answer_is_not_waited_for(started: Started, name: str) -> None:
    found = started.status(name)
    assert (found["state"], found["preflight"]["state"]) == ("running", "not_preflighted")


def test_the_admin_asks_for_a_person(started: Started) -> None:
    assert started.asked("asked") == []
    assert started.status("asked")["preflight"] is None
    answer = started.api("POST", "canaries/asked/preflight")
    assert answer.status_code == 200
    assert (answer.json()["canary"], answer.json()["taken"], answer.json()["refusals"]) == ("asked", 3, [])
    assert started.status("asked")["preflight"]["result"] == answer.json()
    assert started.status("asked")["state"] == "waiting"
    assert started.api("POST", "canaries/other/preflight").status_code == 404


def test_without_a_credential_the_admin_says_what_would_help(started: Started) -> None:
    answer = started.api("POST", "canaries/cannot-be-asked/preflight")
    assert answer.status_code == 409
    assert "`canary preflight cannot-be-asked` asks with yours" in answer.json()["error"]


def hidden(page: str) -> dict[str, str]:
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))


def test_the_page_shows_it_before_the_start_button_and_asks_again(started: Started) -> None:
    with httpx2.Client(base_url=started.server.admin, trust_env=False, timeout=60.0) as browser:
        login = hidden(browser.get("/login").text)
        assert browser.post("/login", data={**login, "token": started.server.token}).status_code == 303
        page = browser.get("/canaries/on-the-page").text
        assert "Preflight_failed: 1 of 3 requests refused" in page
        assert page.index("✗ 1 × /chat/completions: 400") < page.index('command="show-modal">Start…')
        assert "Ask the candidate now" in page

        started.provider.behave("new-on-the-page", Behaviour())
        form = {"form_token": hidden(browser.get("/canaries/on-the-page").text)["form_token"]}
        asked = browser.post("/canaries/on-the-page/preflight", data=form)
        assert "3 of 3 requests taken, 0 refused; no captured request to ask, so" in asked.text
        assert browser.post("/canaries/on-the-page/preflight", data={}).status_code == 403
