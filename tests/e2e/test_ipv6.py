"""The traffic listener on an IPv6 address: every endpoint answers, as on an IPv4 one."""

from collections.abc import Iterator

import httpx2
import pytest

from tests.e2e.stage import Stage, chat, on_stage

CONFIG = """
providers: {{openai: {{api: openai, base_url: "{url}/v1"}}}}
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with on_stage(tmp_path_factory.mktemp("ipv6"), CONFIG, traffic="[::1]:0") as running:
        yield running


def exchange(stage: Stage) -> httpx2.Response:
    headers = {"authorization": "Bearer sk"}
    document = chat("gpt-4o", "user-1")
    return httpx2.post(f"{stage.server.traffic}/v1/chat/completions", json=document, headers=headers)


def test_health_readiness_and_exchanges_are_answered(stage: Stage) -> None:
    assert stage.server.traffic.startswith("http://[::1]:")
    assert httpx2.get(f"{stage.server.traffic}/healthz").text == "ok\n"
    assert httpx2.get(f"{stage.server.traffic}/readyz").text == "ready\n"
    assert exchange(stage).status_code == 200


def test_feedback_is_taken(stage: Stage) -> None:
    said = {"exchange_id": exchange(stage).headers["x-canary-exchange"], "metric": "thumbs", "value": 1}
    answer = httpx2.post(f"{stage.server.traffic}/canary/feedback", json=said)
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1})
