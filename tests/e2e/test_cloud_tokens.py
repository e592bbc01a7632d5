"""Entries with `auth: azure` and `auth: google`: their tokens are fetched, renewed, and missed."""

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from google import genai
from google.genai import types as genai_types
from google.oauth2 import credentials as google_credentials
from typer.testing import CliRunner

from canary.cli import app
from demo.provider.server import LocalProvider
from tests.e2e.stage import Stage, chat, on_stage
from tests.servers.token_issuers import TokenIssuer, entra, service_account
from tests.servers.token_provider import TokenProvider
from tests.serving import ProviderThread, Running, eventually

pytestmark = pytest.mark.more  # for two providers

CALLERS = "planted-callers-key"
CLOUD = """
providers:
  cloud: {{api: openai, base_url: "{url}/v1", auth: azure}}
"""
BESIDE = """
  beside: {{api: openai, base_url: "{url}/v1"}}
"""


@dataclass
class Azure:
    """The token server, the provider behind it, and the environment of a machine with an identity."""

    issuer: TokenIssuer
    provider: TokenProvider
    environment: dict[str, str]

    def config(self, text: str = CLOUD) -> str:
        return text.format(url=self.provider.url)


@pytest.fixture
def azure() -> Iterator[Azure]:
    issuer, environment = entra()
    with issuer, TokenProvider(issuer) as provider:
        yield Azure(issuer, provider, environment)


def asked(running: Running, entry: str = "cloud", model: str = "gpt-4o") -> httpx2.Response:
    return httpx2.post(
        f"{running.traffic}/{entry}/v1/chat/completions",
        json=chat(model, "alice"),
        headers={"authorization": f"Bearer {CALLERS}", "api-key": CALLERS},
        timeout=30.0,
    )


def ready(running: Running) -> str:
    return httpx2.get(f"{running.traffic}/readyz").text.strip()


def degraded(running: Running) -> list[str]:
    headers = {"authorization": f"Bearer {running.token}"}
    found: list[str] = httpx2.get(f"{running.admin}/api/status", headers=headers).json()["degraded"]
    return found


def test_an_app_of_openais_sdk_reaches_azure_with_the_machines_token(
    azure: Azure, serve: Callable[..., Running]
) -> None:
    running = serve(azure.config(), workers=2, **azure.environment)
    with openai.OpenAI(base_url=f"{running.traffic}/v1", api_key=CALLERS, max_retries=0) as sdk:
        answers = [
            sdk.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hello"}])
            for _ in range(8)
        ]
    assert [answer.choices[0].message.content for answer in answers] == ["Hello"] * 8
    assert (azure.provider.refused, azure.issuer.wrong) == ([], [])
    assert azure.provider.served.keys() <= azure.issuer.issued.keys()
    assert len(azure.issuer.issued) == 2  # one for each worker
    assert ready(running) == "ready" and degraded(running) == []


def test_an_app_of_googles_sdk_reaches_google_with_the_machines_token(
    tmp_path: Path, serve: Callable[..., Running]
) -> None:
    issuer, environment = service_account(tmp_path)
    with issuer, TokenProvider(issuer) as provider:
        text = f'providers:\n  cloud: {{api: gemini, base_url: "{provider.url}", auth: google}}\n'
        running = serve(text, workers=1, **environment)
        options = genai_types.HttpOptions(base_url=running.traffic)
        with genai.Client(api_key=CALLERS, http_options=options) as sdk:
            answer = sdk.models.generate_content(model="gemini-2.5-flash", contents="hello")
        assert answer.text == "Hello"
        assert (provider.refused, issuer.wrong) == ([], [])
        assert list(provider.served) == list(issuer.issued) == ["planted-token-1"]


@pytest.mark.parametrize("with_vertex", [False, True], ids=["gemini-api", "vertex-api"])
def test_apps_of_googles_sdk_reach_vertex_with_the_machines_token(
    tmp_path: Path, serve: Callable[..., Running], with_vertex: bool
) -> None:
    issuer, environment = service_account(tmp_path)
    with issuer, TokenProvider(issuer) as provider:
        where = "kind: vertex, project: ours, region: europe-west1"
        text = f'providers:\n  vertex: {{api: gemini, {where}, base_url: "{provider.url}"}}\n'
        running = serve(text, workers=1, **environment)
        options = genai_types.HttpOptions(base_url=f"{running.traffic}/vertex")
        with genai.Client(**_as_app(with_vertex), http_options=options) as sdk:
            answer = sdk.models.generate_content(model="gemini-2.5-flash", contents="hello")
        assert answer.text == "Hello"
        assert (provider.refused, issuer.wrong) == ([], [])
        assert list(provider.served) == ["planted-token-1"]
        (path,) = provider.paths
        assert path.endswith(
            "/projects/ours/locations/europe-west1/publishers/google/models/gemini-2.5-flash:generateContent"
        )


def _as_app(with_vertex: bool) -> dict[str, Any]:
    """How the app makes its client: for Vertex with a token of its own."""
    if not with_vertex:
        return {"api_key": CALLERS}
    token = google_credentials.Credentials(CALLERS)
    return {"vertexai": True, "project": "ours", "location": "europe-west1", "credentials": token}


@pytest.mark.alone
def test_a_token_is_renewed_under_load_before_it_expires(azure: Azure, serve: Callable[..., Running]) -> None:
    azure.issuer.life_s = 5
    running = serve(azure.config(), workers=2, **azure.environment)
    with httpx2.Client(timeout=30.0) as http, ThreadPoolExecutor(4) as pool:

        def once(_: int) -> tuple[int, float]:
            began = time.monotonic()
            answer = http.post(f"{running.traffic}/v1/chat/completions", json=chat("gpt-4o", "alice"))
            return answer.status_code, time.monotonic() - began

        answers: list[tuple[int, float]] = []
        while len(azure.provider.served) < 6:  # of two workers, so each has renewed its token twice
            answers += pool.map(once, range(20))
    assert {status for status, _ in answers} == {200}
    assert max(took_s for _, took_s in answers) < 2.0
    assert azure.provider.refused == []


def test_without_its_token_server_requests_go_on_until_the_token_expires(
    azure: Azure, serve: Callable[..., Running]
) -> None:
    azure.issuer.life_s = 6
    running = serve(azure.config() + azure.config(BESIDE), workers=1, **azure.environment)
    azure.issuer.down = True
    answer, statuses = asked(running), []
    while answer.status_code != 502 and len(azure.provider.refused) <= 1:
        statuses.append(answer.status_code)
        answer = asked(running)
    # The proxy knew that the token had expired; one request may have been on its way at that moment.
    assert set(statuses[:-1]) == {200}
    assert len(azure.provider.refused) == statuses.count(401) <= 1
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (502, "proxy_no_credential")
    assert error["message"].startswith(
        "no credential for the provider entry cloud (auth: azure): managed identity: "
    )
    assert "set AZURE_TENANT_ID" in error["message"]
    assert ready(running) == f"degraded: {error['message']}"
    assert eventually(lambda: degraded(running)) == [error["message"]]
    eventually(lambda: httpx2.get(f"{running.traffic}/readyz").status_code == 200)  # for the other entries
    assert asked(running, "beside").status_code == 401  # it was asked, with the caller's key
    azure.issuer.down = False
    eventually(lambda: asked(running).status_code == 200)
    assert ready(running) == "ready"
    eventually(lambda: degraded(running) == [])
    assert "planted-token" not in running.log_file.read_text()


CANARY = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
  cloud: {{api: openai, base_url: "CLOUD/v1", auth: azure}}
canaries:
  - name: to-azure
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: old}}
    candidate: {{provider: cloud, model: MODEL}}
    share: 50%
"""
RUBRIC = """
    rubric: [{{metric: error_rate, acceptable: "< 3%", ideal: "< 1%", weight: 1, question: "?"}}]
"""
NO_IDENTITY = {"AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential", "AZURE_CLIENT_ID": ""}


def through(stage: Stage, user: str) -> httpx2.Response:
    return httpx2.post(
        f"{stage.server.traffic}/v1/chat/completions",
        json=chat("gpt-4o", user),
        headers={"authorization": f"Bearer {CALLERS}"},
        timeout=30.0,
    )


def test_a_candidate_without_a_credential_is_covered_and_not_blamed(tmp_path: Path) -> None:
    text = CANARY.replace("CLOUD", "http://127.0.0.1:9").replace("MODEL", "new")
    with on_stage(tmp_path, text, provider=LocalProvider(), env=NO_IDENTITY) as stage:
        waits = stage.status("to-azure")  # it does not start by itself
        assert (waits["state"], waits["preflight"]["state"]) == ("waiting", "failed")
        assert waits["reason"].startswith("preflight_failed: not sent: no credential for the provider entry")
        _start(stage)
        users = stage.users("candidate", "to-azure", 0.5)
        for _ in range(8):  # more than open a breaker
            answer = through(stage, next(users))
            assert (answer.status_code, answer.headers["x-canary-served-by"]) == (200, "baseline")
        row = stage.outcome(answer.headers["x-canary-exchange"])
        assert (row["outcome"], row["error_type"], row["arm"]) == (
            "fallback",
            "proxy_no_credential",
            "candidate",
        )
        status = stage.status("to-azure")
        assert status["state"] == "running"
        assert status["arms"]["candidate"]["errors"] == 0
        states = {rule["rule"]: rule["state"] for rule in status["guardrails"]}
        assert states["error_rate"] == states["error_rate_vs_baseline"] == "not_enough_data"
        assert "no credential for the provider entry cloud" in degraded(stage.server)[0]


def test_a_candidate_that_no_request_reached_is_neither_healthy_nor_shipped(tmp_path: Path) -> None:
    text = (CANARY + RUBRIC).replace("auth: azure", "auth: google").replace("CLOUD", "http://127.0.0.1:9")
    nobody = {"GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "none.json"), "NO_GCE_CHECK": "true"}
    said = "were answered by the baseline or not at all: no credential for the provider entry."
    with on_stage(tmp_path, text.replace("MODEL", "new"), provider=LocalProvider(), env=nobody) as stage:
        _start(stage)
        for arm, number in (("candidate", 110), ("baseline", 110)):
            users = stage.users(arm, "to-azure", 0.5)
            exchanges = [through(stage, next(users)).headers["x-canary-exchange"] for _ in range(number)]
        stage.outcome(exchanges[-1])
        eventually(lambda: len(stage.outcomes()) == 220)
        missed = f"110 of 110 of the candidate's exchanges {said}"

        done = stage.canary("report", "to-azure", "--config", str(stage.server.config), "-o", "json")
        assert done.stdout, done.stderr
        report = json.loads(done.stdout)
        assert (done.returncode, report["verdict"]) == (4, "extend")
        assert (report["metrics"][0]["state"], report["metrics"][0]["units"]) == ("NODATA", 0)
        assert any(reason.startswith(missed) for reason in report["reasons"])

        eventually(lambda: stage.status("to-azure")["arms"]["candidate"]["requests"] == 110)
        told = stage.status("to-azure")["arms"]["candidate"]
        assert (told["counted"], told["unreached"]) == (0, {"proxy_no_credential": 110})
        assert missed in " ".join(stage.canary("status").stdout.split())


def test_a_token_that_a_provider_quotes_is_not_recorded(tmp_path: Path, azure: Azure) -> None:
    text = CANARY.replace("CLOUD", azure.provider.url).replace("MODEL", "quotes")
    with on_stage(tmp_path, text, provider=LocalProvider(), env=azure.environment) as stage:
        refused = stage.status("to-azure")  # its preflight met the refusal
        assert (refused["state"], refused["preflight"]["state"]) == ("waiting", "failed")
        assert "cannot do this for [secret]" in refused["reason"]
        assert "planted-token" not in str(refused)
        _start(stage)
        answer = through(stage, next(stage.users("candidate", "to-azure", 0.5)))
        row = stage.outcome(answer.headers["x-canary-exchange"])
        assert row["error_type"] == "candidate_rejects"
        assert "cannot do this for [secret]" in str(row)
        assert "planted-token" not in str(row)


def _start(stage: Stage) -> None:
    """Start the canary; returns when the worker follows."""
    order = {"who": "ann", "reason": "to see its refusals"}
    stage.api("POST", "/api/canaries/to-azure/start", order).raise_for_status()
    following = {"alive": 1, "confirmed": 1}
    eventually(lambda: stage.api("GET", "/api/status").json()["workers"] == following)


def test_entries_come_and_go_while_the_server_runs(azure: Azure, serve: Callable[..., Running]) -> None:
    running = serve(azure.config("providers:" + BESIDE), **azure.environment)
    assert azure.issuer.issued == {}
    _configure(running, azure.config("providers:" + BESIDE + CLOUD.partition("providers:\n")[2]))
    seen: list[int] = []

    def reloaded() -> bool:
        seen.append(asked(running).status_code)
        return seen[-20:] == [200] * 20

    eventually(reloaded)
    assert set(seen) <= {404, 200}  # the first request after a reload has its token
    azure.issuer.life_s = 1
    _configure(running, azure.config("providers:" + BESIDE))
    eventually(lambda: {asked(running).status_code for _ in range(10)} == {404})
    assert ready(running) == "ready"


def _configure(running: Running, text: str) -> None:
    fresh = running.config.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(running.config)


def test_preflight_asks_with_the_machines_token_and_says_when_there_is_none(
    tmp_path: Path, azure: Azure, provider: ProviderThread
) -> None:
    config = tmp_path / "canary.yaml"
    text = CANARY.replace("models: [gpt-4o]", "models: [gpt-4o], paths: [/v1/chat/completions]")
    text = text.replace("CLOUD", azure.provider.url).replace("MODEL", "new")
    config.write_text(text.format(url=provider.url))

    def preflight() -> Any:
        command = ["preflight", "to-azure", "--config", str(config)]
        return CliRunner().invoke(app, command, env=azure.environment)

    assert preflight().exit_code == 0
    assert list(azure.provider.served) == ["planted-token-1"]
    azure.issuer.down = True
    done = preflight()
    assert done.exit_code == 1
    assert "no credential for the provider entry cloud (auth: azure)" in done.output


def doctor(tmp_path: Path, azure: Azure, environment: dict[str, str]) -> Any:
    config = tmp_path / "canary.yaml"
    config.write_text(azure.config())
    return CliRunner().invoke(app, ["doctor", "--config", str(config)], env=environment)


def test_doctor_says_whether_this_machine_gets_a_credential(tmp_path: Path, azure: Azure) -> None:
    done = doctor(tmp_path, azure, azure.environment)
    assert "✓ credential cloud: auth: azure gives this machine a credential" in done.stdout
    azure.issuer.down = True
    done = doctor(tmp_path, azure, azure.environment)
    assert "✗ credential cloud: no credential for the provider entry cloud (auth: azure)" in done.stdout
    assert done.exit_code == 1
