"""The server as a whole: an app changes its base URL, and nothing else."""

from collections.abc import Callable
from pathlib import Path

import httpx2
import openai
import pytest

from routing.cohort import derive_key, in_cohort
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
KEY = {"authorization": "Bearer sk-caller"}


def chat(user: str) -> dict[str, object]:
    return {"model": "gpt-4o", "user": user, "messages": [{"role": "user", "content": "hello"}]}


@pytest.mark.more
def test_users_split_between_the_arms_and_stay_there(
    provider: ProviderThread, serve: Callable[..., Running]
) -> None:
    running = serve(CONFIG.format(url=provider.url), workers=2)
    with openai.OpenAI(base_url=f"{running.traffic}/v1", api_key="sk-caller", max_retries=0) as sdk:

        def model_for(user: str) -> str:
            messages = [{"role": "user", "content": "hello"}]
            return sdk.chat.completions.create(model="gpt-4o", messages=messages, user=user).model  # type: ignore[arg-type]

        users = [f"user-{number}" for number in range(40)]
        first = [model_for(user) for user in users]
        assert {*first} == {"gpt-4o-2024-08-06", "gpt-4o-2024-11-20"}
        assert [model_for(user) for user in users] == first
    assert {entry.credentials["authorization"] for entry in provider.log.entries} == {"Bearer sk-caller"}


@pytest.mark.more
def test_it_drains_and_ends_cleanly_on_sigterm(
    provider: ProviderThread, serve: Callable[..., Running]
) -> None:
    running = serve(CONFIG.format(url=provider.url), workers=1)
    children = running.children()
    assert len(children) == 2
    assert httpx2.get(f"{running.admin}/healthz").status_code == 200
    assert running.stop() == 0
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))


def test_a_new_secret_in_its_file_counts_for_all_workers_at_once_and_old_ids_stay_good(
    provider: ProviderThread, serve: Callable[..., Running], tmp_path: Path
) -> None:
    secret, previous = tmp_path / "secret", tmp_path / "previous"
    old, new = "o" * 32, "n" * 32
    secret.write_text(old)
    previous.write_text(old)
    files = {"CANARY_SECRET_FILE": str(secret), "CANARY_SECRET_PREVIOUS_FILE": str(previous)}
    running = serve(CONFIG.format(url=provider.url), workers=2, **files)
    users = [f"user-{number}" for number in range(60)]

    def arms(key: bytes) -> list[str]:
        return ["candidate" if in_cohort(key, "support-nov", user, 0.5) else "baseline" for user in users]

    def asked() -> tuple[list[str], str]:
        """Each user over a connection of its own: any worker may answer."""
        answers = [
            httpx2.post(f"{running.traffic}/v1/chat/completions", json=chat(user), headers=KEY)
            for user in users
        ]
        return [answer.headers["x-canary-arm"] for answer in answers], answers[0].headers["x-canary-exchange"]

    before, exchange = asked()
    assert before == arms(derive_key(old.encode(), "assignment"))
    secret.write_text(new)
    after = arms(derive_key(new.encode(), "assignment"))
    assert after != before
    eventually(lambda: asked()[0] == after)
    told = httpx2.get(
        f"{running.admin}/api/explain",
        params={"unit": users[0]},
        headers={"authorization": f"Bearer {running.token}"},
        timeout=60.0,
    )
    assert told.json()["canaries"][0]["arm"] == after[0]
    value = {"exchange_id": exchange, "metric": "csat", "value": 4}
    assert httpx2.post(f"{running.traffic}/canary/feedback", json=value).status_code == 202
