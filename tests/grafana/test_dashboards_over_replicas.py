"""Over several replicas, with the Compose file's own config, nothing is counted twice or missing."""

import math
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from tests.e2e.replicas import Fleet, fleet
from tests.e2e.stage import chat
from tests.grafana.reading import filled, queries
from tests.servers.postgres import Postgres, postgres  # noqa: F401 - a fixture
from tests.servers.prometheus import scraping
from tests.servers.redis import RedisServer
from tests.serving import ProviderThread, eventually

pytestmark = pytest.mark.more  # in several replicas

COMPOSED = Path(__file__).parents[2] / "deploy" / "compose" / "config" / "canary.yaml"
REQUESTS = 40
NOT_HERE = "http://127.0.0.1:9"


def composed(provider_url: str) -> str:
    """The Compose file's canary.yaml, but for its addresses and what `Fleet` adds by itself."""
    text = COMPOSED.read_text().replace("https://api.openai.com", provider_url)
    lines = text.replace("http://alertmanager:9093", NOT_HERE).splitlines()
    return "\n".join(line for line in lines if not line.startswith(("store:", "shared:")))


def model(config: str) -> str:
    """The model that the config's one canary matches."""
    (name,) = re.findall(r"match: \{models: \[(.+?)\]\}", config)
    return str(name)


@pytest.fixture
def members(tmp_path: Path, provider: ProviderThread, postgres: Postgres) -> Iterator[Fleet]:  # noqa: F811
    """Two replicas and an admin, after some requests to a started canary."""
    with ExitStack() as stack:
        server = RedisServer()
        stack.callback(server.close)
        config = composed(provider.url)
        members = stack.enter_context(fleet(tmp_path, config, store=postgres.fresh(), shared=server.url))
        admin = members.add("admin")
        replicas = [members.add("traffic") for _ in range(2)]
        members.ready(2)
        order = {"who": "a test", "reason": "as docs/deploy.md has it"}
        admin.ask("POST", "/api/canaries/support-nov/start", order).raise_for_status()
        eventually(lambda: members.status("support-nov")["state"] == "running")
        for number in range(REQUESTS):
            url = f"{replicas[number % 2].traffic}/v1/chat/completions"
            headers = {"authorization": "Bearer sk-caller"}
            document = chat(model(config), f"user-{number}")
            httpx2.post(url, json=document, headers=headers, trust_env=False).raise_for_status()
        yield members


def test_each_figure_is_there_once(members: Fleet, tmp_path: Path) -> None:
    targets = [each.admin.removeprefix("http://") for each in (*members.replicas, *members.admins)]
    with scraping(targets, tmp_path) as prometheus:

        def now(expr: str) -> list[float]:
            return [value for _, [(_, value)] in prometheus.at(expr) if math.isfinite(value)]

        eventually(lambda: now("count(up == 1)") == [3.0])
        eventually(lambda: now('sum(canary_requests_total{canary="support-nov"})') == [REQUESTS])
        eventually(lambda: now('sum(canary_records_total{state="stored"})') == [REQUESTS])
        (replicas,) = [each for each in queries() if each.panel == "Replicas"]
        assert now(replicas.expr) == [2.0]
        assert now('sum(canary_requests_total{canary="support-nov"})') == [REQUESTS]
        assert now('sum(canary_state{canary="support-nov"} == 1)') == [1.0]
        fleet_only = [each for each in queries() if each.of_replicas]
        assert len(fleet_only) == 3
        for asked in fleet_only:
            expr = filled(asked.expr, canary="support-nov", range_s=60, rate_s=5)
            eventually(lambda expr=expr: now(expr))  # type: ignore[misc]
        assert now("sum(canary_leader)") == [1.0]
