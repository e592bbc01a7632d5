"""What leaves for the judge's provider, over HTTP: redacted texts, and nothing that tells whose they are."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from judge.judgements import JudgedExchange, Judgements
from records.store import Store
from records.store.captures import CaptureStore
from tests.e2e.echo_provider import EchoProvider
from tests.e2e.planted import holding
from tests.e2e.test_capture_over_http import CALLERS_KEY, SECRETS, TEXT
from tests.serving import Running, eventually

CONFIG = """
redact: ['N-\\d{{4,}}']
providers:
  serving: {{api: openai, base_url: "{arms}/v1"}}
  judging: {{api: openai, base_url: "{judge}/v1", api_key: sk-judges-own-key}}
prices: {{the-judge: {{input: 1, output: 2}}}}
judge: {{provider: judging, model: the-judge, daily_budget: 5.00}}
canaries:
  - name: planted-canary
    match: {{models: [planted-asked]}}
    baseline: {{provider: serving, model: planted-old-model}}
    candidate: {{provider: serving, model: planted-new-model}}
    share: 50%
    mirror: 100%
    guardrails: []
    capture: {{rate: 100%, redact: ['K-\\d{{4,}}']}}
    judge: {{pairs: 100, criteria: "Short and kind."}}
"""
USERS, SESSION, CATEGORY = range(12), "planted-session", "planted-category"
IDENTITIES = ["planted-user", SESSION, CATEGORY, "planted-region", "planted-request", "planted-canary"]
MODELS = ["planted-old-model", "planted-new-model", "planted-asked"]
LEFT = (
    "My keys: [secret], [secret], [secret], [secret]; Authorization: Bearer [secret]; password: [secret] "
    "I am [email], card [card], telephone [phone], customer [redacted], account [iban], from [ip] or [ip], "
    "note [redacted]."
)


@pytest.fixture(scope="module")
def judge() -> Iterator[EchoProvider]:
    with EchoProvider() as provider:
        yield provider


@pytest.fixture(scope="module")
def server(judge: EchoProvider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("judged")
    with EchoProvider() as arms:
        config = CONFIG.format(arms=arms.url, judge=judge.url)
        running = Running(
            folder,
            config,
            workers=1,
            grace_s=5.0,
            env={"CANARY_SECRET": "a-secret-of-the-tests-of-a-judge-0123456789"},
        )
        try:
            yield running
        finally:
            running.kill()


def ask(server: Running, number: int) -> None:
    """One request with everything that must not leave, half of them as a stream."""
    document = {
        "model": "planted-asked",
        "user": f"planted-user-{number}",
        "stream": bool(number % 2),
        "metadata": {"user_id": f"planted-user-{number}"},
        "messages": [{"role": "system", "content": f"Keep {SECRETS[0]}"}, {"role": "user", "content": TEXT}],
    }
    headers = {
        "authorization": f"Bearer {CALLERS_KEY}",
        "x-canary-session": f"{SESSION}-{number}",
        "x-canary-category": CATEGORY,
        "x-canary-tags": "region=planted-region",
        "x-canary-request-id": "planted-request",
    }
    url = f"{server.traffic}/v1/chat/completions"
    answer = httpx2.post(url, json=document, headers=headers, trust_env=False)
    assert answer.status_code == 200


def judged(data: Path) -> list[JudgedExchange]:
    with closing(Store.open("sqlite:///canary.db", data)) as store:
        found = Judgements(store).of("planted-canary")
    return [each for each in found if each.result]


def test_what_the_judges_provider_gets_is_redacted_and_names_nobody(
    server: Running, judge: EchoProvider
) -> None:
    for number in USERS:
        ask(server, number)

    def every_pair() -> list[JudgedExchange] | None:
        with closing(Store.open("sqlite:///canary.db", server.data)) as store:
            arms = [each.about.arm for each in CaptureStore(store).read("planted-canary")]
        found = judged(server.data)
        return found if len(arms) == len(USERS) and len(found) == arms.count("baseline") else None

    found = eventually(every_pair)
    received = list(judge.received)
    assert len(received) == 2 * len(found)
    hashes = [part for each in found for part in (each.unit, each.exchange_id)]
    forbidden = [*SECRETS, CALLERS_KEY, *IDENTITIES, *MODELS, "PLANTED", *filter(None, hashes)]
    assert [(text, word) for text in received for word in forbidden if word in text] == []
    assert [text for text in received if "x-canary" in text.lower()] == []
    for text in received:
        (question,) = json.loads(text[text.index("{") :])["messages"]
        assert "system: Keep [secret]" in question["content"]
        assert question["content"].count(LEFT) == 3  # the conversation's and both answers'
        assert "Short and kind." in question["content"]


def test_what_the_judge_says_is_redacted_before_it_reaches_a_disk(server: Running) -> None:
    assert judged(server.data)
    assert holding((*server.data.rglob("*"), server.log_file), (*SECRETS, CALLERS_KEY)) == []


def test_the_metrics_show_what_was_judged_and_what_the_day_has_cost(server: Running) -> None:
    def shown() -> str | None:
        text = httpx2.get(f"{server.admin}/metrics", trust_env=False).text
        return text if "canary_judge_cost_usd " in text and "canary_judged_pairs{" in text else None

    text = eventually(shown, 150.0)
    assert 'canary_judged_pairs{canary="planted-canary",result="tie"}' in text
    assert "canary_judge_budget_usd 5.0" in text
    assert 'canary_judge_paused{reason="provider"} 0.0' in text
