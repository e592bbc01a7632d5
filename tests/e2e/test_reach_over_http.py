"""Which requests reach a canary, and where operators are told when hardly any does."""

import json
from collections.abc import Iterator

import httpx2
import pytest

from tests.e2e.stage import Stage, chat, on_stage
from tests.serving import eventually

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
  other: {{api: openai, base_url: "{elsewhere}/v1"}}
  rootless: {{api: openai, base_url: "{url}"}}
canaries:
  - name: at-other
    match: {{models: [gpt-4o]}}
    baseline: {{provider: other, model: gpt-4o-2024-08-06}}
    candidate: {{provider: other, model: gpt-4o-2024-11-20}}
    share: 50%
  - name: at-root
    match: {{models: [gpt-4o]}}
    baseline: {{provider: rootless, model: gpt-4o-2024-08-06}}
    candidate: {{provider: rootless, model: gpt-4o-2024-11-20}}
    share: 50%
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with on_stage(tmp_path_factory.mktemp("reach"), CONFIG) as running:
        yield running


def ask(stage: Stage, base: str, model: str = "gpt-4o") -> httpx2.Response:
    url = f"{stage.server.traffic}{base}/chat/completions"
    return httpx2.post(url, json=chat(model, "user-1"), headers={"authorization": "Bearer sk"})


def page(stage: Stage, path: str) -> str:
    return " ".join(stage.api("GET", path).text.split())


def test_a_canary_of_an_entry_that_is_not_its_apis_first_is_reached_by_its_base_url_only(
    stage: Stage,
) -> None:
    reached = [ask(stage, base).headers.get("x-canary-name") for base in ("/v1", "/other/v1")]
    assert reached == [None, "at-other"]


def test_status_page_and_doctor_name_that_base_url(stage: Stage) -> None:
    assert stage.status("at-other")["base_path"] == "/other/v1"
    assert "<code>http(s)://HOST:PORT/other/v1</code>" in page(stage, "/canaries/at-other")
    doctor = stage.canary("doctor", "--config", str(stage.server.config)).stdout
    assert "! config" in doctor
    assert "base URL http://127.0.0.1:8080/other/v1 reach this canary" in doctor


def test_traffic_that_matches_no_canary_is_shown_by_model_wherever_an_operator_looks(stage: Stage) -> None:
    before = stage.api("GET", "/api/status").json()["unmatched"]
    for _ in range(8):
        ask(stage, "/v1", "gpt-4o-mini")

    def counted() -> bool:
        found = stage.api("GET", "/api/status").json()["unmatched"]
        return bool(found["of"] == before["of"] + 8)

    eventually(counted)
    found = stage.api("GET", "/api/status").json()["unmatched"]
    assert {"model": "gpt-4o-mini", "requests": 8} in found["models"]
    assert found["share"] == found["requests"] / found["of"]

    said = "matched no canary ("
    assert said in stage.canary("status").stdout
    assert json.loads(stage.canary("status", "-o", "json").stdout)["unmatched"] == found
    assert said in page(stage, "/")
    assert "gpt-4o-mini" not in stage.api("GET", "/metrics").text
    doctor = stage.canary("doctor", "--config", str(stage.server.config)).stdout
    (line,) = [each for each in doctor.splitlines() if said in each]
    assert line.startswith("! traffic: ")
    assert "models seen: gpt-4o-mini (8)" in line
    assert (
        "→ at-other matches gpt-4o; at-root matches gpt-4o; change `match` if it should take more" in doctor
    )


def told(stage: Stage, sentence: str) -> dict[str, str]:
    """Where an operator is told this: every place that says it, with its text.

    The log says it at the server's next look, the other places at once: so this waits for the log.
    """
    config = str(stage.server.config)
    eventually(lambda: sentence in stage.server.log_file.read_text())
    places = {
        "status": " ".join(stage.canary("status").stdout.split()),
        "json": stage.canary("status", "-o", "json").stdout,
        "overview": page(stage, "/?open=at-root,at-other"),
        "page": page(stage, "/canaries/at-root") + page(stage, "/canaries/at-other"),
        "doctor": stage.canary("doctor", "--config", config).stdout,
        "log": stage.server.log_file.read_text(),
    }
    return {name: text for name, text in places.items() if sentence in text}


EVERYWHERE = {"status", "json", "overview", "page", "doctor", "log"}


def test_a_provider_that_answers_404_to_everybody_is_said_wherever_an_operator_looks(stage: Stage) -> None:
    for _ in range(8):  # of which a slow machine may lose some to the candidate's patience
        assert ask(stage, "/rootless/v1").status_code == 404
    places = told(stage, "requests of the last ten minutes got 404 from provider entry rootless")
    assert places.keys() == EVERYWHERE
    doctor = places["doctor"]
    assert "✗ traffic: at-root: " in doctor
    assert f'rootless: base_url: "{stage.provider.url}/v1"' in doctor


def test_requests_that_name_no_user_are_said_wherever_an_operator_looks(stage: Stage) -> None:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
    before = sum(each["requests"] for each in stage.status("at-other")["arms"].values())
    for _ in range(9 + 2 * before):
        url = f"{stage.server.traffic}/other/v1/chat/completions"
        httpx2.post(url, json=body, headers={"authorization": "Bearer sk"})
    places = told(stage, "requests of the last ten minutes name no user, so the baseline serves them")
    assert places.keys() == EVERYWHERE
    assert "! traffic: at-other: " in places["doctor"]
