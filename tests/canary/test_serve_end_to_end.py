"""The server as a whole: an app changes its base URL, and nothing else."""

from collections.abc import Callable
from pathlib import Path

import httpx2
import openai

from tests.serving import ProviderThread, Running, eventually

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
canaries:
  - name: support-nov
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-4o-2024-11-20}}
    share: 50%
"""


def test_users_split_between_the_arms_and_stay_there(
    provider: ProviderThread, serve: Callable[..., Running]
) -> None:
    running = serve(CONFIG.format(url=provider.url))
    with openai.OpenAI(base_url=f"{running.traffic}/v1", api_key="sk-caller", max_retries=0) as sdk:

        def model_for(user: str) -> str:
            messages = [{"role": "user", "content": "hello"}]
            return sdk.chat.completions.create(model="gpt-4o", messages=messages, user=user).model  # type: ignore[arg-type]

        users = [f"user-{number}" for number in range(40)]
        first = [model_for(user) for user in users]
        assert {*first} == {"gpt-4o-2024-08-06", "gpt-4o-2024-11-20"}
        assert [model_for(user) for user in users] == first
    assert {entry.credentials["authorization"] for entry in provider.log.entries} == {"Bearer sk-caller"}


def test_it_drains_and_ends_cleanly_on_sigterm(
    provider: ProviderThread, serve: Callable[..., Running]
) -> None:
    running = serve(CONFIG.format(url=provider.url), workers=1)
    children = running.children()
    assert len(children) == 2
    assert httpx2.get(f"{running.admin}/healthz").status_code == 200
    assert running.stop() == 0
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))
