"""In several replicas each agent sends the spans of its own machine; the admins send none."""

from pathlib import Path

import httpx2
import pytest

from tests.e2e.otlp import collecting
from tests.e2e.replicas import fleet
from tests.e2e.stage import chat
from tests.servers.postgres import Postgres
from tests.servers.redis import RedisServer
from tests.serving import ProviderThread, eventually

pytestmark = pytest.mark.more  # in several replicas

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
canaries:
  - name: support-nov
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-4o-2024-11-20}}
    share: 50%
    guardrails: []
"""


def test_every_exchange_of_every_replica_is_one_span(
    tmp_path: Path,
    postgres: Postgres,
    redis_server: RedisServer,
    provider: ProviderThread,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = CONFIG.format(url=provider.url)
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        with fleet(tmp_path, config, store=postgres.fresh(), shared=redis_server.url) as members:
            for role in ("admin", "traffic", "traffic"):
                members.add(role)
            members.ready(2)
            asked = [
                httpx2.post(
                    f"{member.traffic}/v1/chat/completions",
                    json=chat("gpt-4o", f"user-{number}"),
                    headers={"authorization": "Bearer sk"},
                    timeout=60.0,
                    trust_env=False,
                ).headers["x-canary-exchange"]
                for member in members.replicas
                for number in range(3)
            ]
            eventually(lambda: all(collector.of(each) for each in asked))
            eventually(lambda: len(members.outcomes()) == len(asked))
        assert len(collector.spans) == len(asked)
