"""An arm's prompt by way of PostgreSQL: every replica has the text of the start, whatever files it has."""

import json
from pathlib import Path

import httpx2
import pytest

from demo.provider.server import LocalProvider
from tests.e2e.replicas import fleet
from tests.servers.postgres import Postgres
from tests.servers.redis import RedisServer
from tests.serving import ProviderThread, eventually

pytestmark = pytest.mark.more  # in several replicas

CONFIG = """
providers:
  openai: {api: openai, base_url: "URL/v1", api_key: k}
canaries:
  - name: prompt
    match: {models: [bot]}
    baseline: {provider: openai, model: bot}
    candidate: {provider: openai, model: bot, prompt: {find: v7.md, put: v8.md}}
    share: 50%
    settle: 0s
"""
BODY = {"model": "bot", "messages": [{"role": "system", "content": "The old text."}]}


def test_a_replica_with_other_files_or_none_serves_the_text_of_the_start(
    tmp_path: Path, postgres: Postgres, redis_server: RedisServer
) -> None:
    files = {"admin-0": "The new text.", "traffic-1": "A newer text."}  # and traffic-2 has none
    for member, text in files.items():
        (tmp_path / member).mkdir()
        (tmp_path / member / "v7.md").write_text("The old text.")
        (tmp_path / member / "v8.md").write_text(text)
    with ProviderThread(LocalProvider()) as provider:
        text = CONFIG.replace("URL", provider.url)
        with fleet(tmp_path, text, store=postgres.fresh(), shared=redis_server.url) as members:
            members.add("admin")
            eventually(lambda: members.status("prompt")["state"] == "running" or None)
            user = next(members.users("candidate", "prompt", 0.5))

            def asked(url: str | None) -> str:
                headers = {"x-canary-unit": user}
                answer = httpx2.post(f"{url}/v1/chat/completions", json=BODY, headers=headers, timeout=30.0)
                assert answer.status_code == 200, answer.text
                return str(json.loads(provider.log.entries[-1].body)["messages"][0]["content"])

            for _ in range(2):
                replica = members.add("traffic")
                eventually(lambda replica=replica: replica.answers(replica.traffic))  # type: ignore[misc]
                eventually(lambda replica=replica: asked(replica.traffic) == "The new text." or None)  # type: ignore[misc]
