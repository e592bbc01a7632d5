"""Each replica fetches the price list for itself, and its workers price by it."""

from functools import partial
from pathlib import Path

import httpx2
import pytest

from canary.config.server import Role
from demo.provider.server import LocalProvider
from tests.e2e.replicas import fleet
from tests.e2e.stage import chat
from tests.records.test_price_list import a_list
from tests.servers.postgres import Postgres
from tests.servers.redis import RedisServer
from tests.serving import ProviderThread, eventually

pytestmark = pytest.mark.more  # in several replicas

_ROLES: tuple[Role, ...] = ("admin", "traffic")
CONFIG = """
providers:
  openai: {api: openai, base_url: "URL/v1", api_key: k}
canaries:
  - name: move
    match: {models: [bot]}
    baseline: {provider: openai, model: gpt-next}
    candidate: {provider: openai, model: gpt-next-mini}
    share: 50%
prices: {update: daily, from: "LIST"}
"""


def test_a_replicas_requests_cost_what_the_list_says(
    tmp_path: Path, postgres: Postgres, redis_server: RedisServer
) -> None:
    listed = tmp_path / "list.json"
    listed.write_text(a_list(3))
    with ProviderThread(LocalProvider()) as provider:
        text = CONFIG.replace("URL", provider.url).replace("LIST", str(listed))
        with fleet(tmp_path, text, store=postgres.fresh(), shared=redis_server.url) as members:
            for role in _ROLES:
                members.add(role)
            (replica,) = members.replicas
            eventually(partial(replica.answers, replica.traffic))

            def costs_something() -> bool:
                url = f"{replica.traffic}/v1/chat/completions"
                asked = httpx2.post(url, json=chat("bot", "u1"), trust_env=False, timeout=30)
                assert asked.status_code == 200
                return any(each["cost_usd"] for each in members.outcomes())

            eventually(costs_something)
            assert len(list(tmp_path.rglob("prices.json"))) == 2
