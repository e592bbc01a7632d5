"""Captured texts through the real server: redacted before anything reaches a disk, and in nobody's way."""

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from typing import Any

import httpx2
import pytest

from records.captures.capture import Capture
from records.store import Store
from records.store.captures import CaptureStore
from tests.e2e.echo_provider import EchoProvider
from tests.e2e.planted import holding
from tests.e2e.stage import worker_pids
from tests.serving import Running, child_processes, eventually

CONFIG = """
redact: ['N-\\d{{4,}}']
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
canaries:
  - name: watched
    match: {{models: [watched]}}
    baseline: {{provider: openai, model: old}}
    candidate: {{provider: openai, model: new}}
    share: 50%
    mirror: 100%
    guardrails: []
    capture: {{rate: 100%, redact: ['K-\\d{{4,}}']}}
  - name: rare
    match: {{models: [rare]}}
    baseline: {{provider: openai, model: old}}
    candidate: {{provider: openai, model: new}}
    share: 50%
    guardrails: []
    capture: {{per_category: 2}}
  - name: unwatched
    match: {{models: [unwatched]}}
    baseline: {{provider: openai, model: old}}
    candidate: {{provider: openai, model: new}}
    share: 50%
    guardrails: []
capture:
  - {{models: [plain, unwatched], rate: 100%, redact: ['K-\\d{{4,}}']}}
"""
SECRETS = [
    "sk-proj-PLANTEDplantedPLANTED1234",
    "AKIAPLANTEDPLANTED99",
    "ghp_PLANTEDplantedPLANTEDplantedPLANTED99",
    "eyJhbGciOiJIUzI1NiJ9.eyJwbGFudGVkIjoxfQ.cGxhbnRlZC1wbGFudGVk",
    "planted-bearer-0123456789",
    "planted-hunter22",
    "anna.planted@example.com",
    "4242 4242 4242 4242",
    "+49 30 90182034",
    "K-90210",
    "DE89 3704 0044 0532 0130 00",
    "203.0.113.77",
    "2001:db8::7:77",
    "N-31337",
]
TEXT = (
    "My keys: {}, {}, {}, {}; Authorization: Bearer {}; password: {}. I am {}, card {}, "
    "telephone {}, customer {}, account {}, from {} or {}, note {}."
).format(*SECRETS)
CALLERS_KEY = "sk-PLANTED-callers-own-key-0001"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("capture")
    with EchoProvider() as provider:
        config = CONFIG.format(url=provider.url)
        running = Running(folder, config, workers=2, grace_s=5.0, env={})
        try:
            yield running
        finally:
            running.kill()


def ask(
    server: Running, model: str, user: str, *, stream: bool = False, category: str = "", text: str = TEXT
) -> httpx2.Response:
    document: dict[str, Any] = {
        "model": model,
        "user": user,
        "stream": stream,
        "messages": [{"role": "system", "content": f"Keep {SECRETS[0]}"}, {"role": "user", "content": text}],
    }
    headers = {"authorization": f"Bearer {CALLERS_KEY}", "x-canary-category": category}
    url = f"{server.traffic}/v1/chat/completions"
    answer = httpx2.post(url, json=document, headers=headers, trust_env=False)
    assert answer.status_code == 200
    return answer


def captured(server: Running, canary: str) -> list[Capture]:
    with closing(Store.open("sqlite:///canary.db", server.data)) as store:
        return list(CaptureStore(store).read(canary))


def test_no_planted_secret_reaches_a_file_or_a_row_whole_or_streamed_or_copied(server: Running) -> None:
    for number in range(12):
        answer = ask(server, "watched", f"user-{number}", stream=bool(number % 2))
        if not number % 2:
            assert answer.json()["choices"][0]["message"]["content"] == f"You said: {TEXT}"
    found = eventually(lambda: each if len(each := captured(server, "watched")) == 12 else None)

    for each in found:
        assert each.messages[0].content == "Keep [secret]"
        assert each.messages[1].content == (
            "My keys: [secret], [secret], [secret], [secret]; Authorization: Bearer [secret]; "
            "password: [secret] I am [email], card [card], telephone [phone], customer [redacted], "
            "account [iban], from [ip] or [ip], note [redacted]."
        )
        assert each.answer == f"You said: {each.messages[1].content}"
    assert {each.about.arm for each in found} == {"baseline", "candidate"}

    def paired() -> bool:
        with closing(Store.open("sqlite:///canary.db", server.data)) as store:
            pairs = list(CaptureStore(store).pairs("watched"))
        assert all(copy.about.arm == "candidate" and copy.answer == real.answer for real, copy in pairs)
        return len(pairs) == sum(each.about.arm == "baseline" for each in found)

    eventually(paired)
    assert holding((*server.data.rglob("*"), server.log_file), (*SECRETS, CALLERS_KEY)) == []


def test_a_rare_category_is_kept_and_a_common_one_no_more_than_that(server: Running) -> None:
    for number in range(20):
        ask(server, "rare", f"user-{number}", category="common", text="hello")
    ask(server, "rare", "user-x", category="uncommon", text="hello")

    def settled() -> list[str] | None:
        kept = sorted(each.about.category for each in captured(server, "rare"))
        return kept if "uncommon" in kept and "common" in kept else None

    assert set(eventually(settled)) == {"common", "uncommon"}
    waiting = server.data / "captures"
    eventually(lambda: not list(waiting.iterdir()))
    assert sorted(each.about.category for each in captured(server, "rare")) == [
        "common",
        "common",
        "uncommon",
    ]


def test_a_canary_that_does_not_ask_for_it_keeps_no_text(server: Running) -> None:
    for number in range(5):
        ask(server, "unwatched", f"user-{number}", text="never kept, whatever it says")
    assert captured(server, "unwatched") == []
    assert holding(server.data.rglob("*"), ["never kept"]) == []


def test_a_model_without_a_canary_is_captured_by_its_name_and_redacted(server: Running) -> None:
    for number in range(4):
        ask(server, "plain", f"user-{number}", stream=bool(number % 2))
    ask(server, "plainer", "user-x", text="never kept either")
    found = eventually(lambda: each if len(each := captured(server, "model:plain")) == 4 else None)
    assert {(each.about.canary, each.about.model, each.about.kept) for each in found} == {
        ("", "plain", "rate")
    }
    assert all(each.messages[0].content == "Keep [secret]" for each in found)
    assert all(each.answer == f"You said: {each.messages[1].content}" for each in found)
    assert captured(server, "model:unwatched") == []
    assert holding((*server.data.rglob("*"), server.log_file), (*SECRETS, "never kept either")) == []


def test_a_capture_process_that_dies_costs_no_answer_and_is_started_again(server: Running) -> None:
    ask(server, "watched", "before", text="before")
    killed = eventually(lambda: capturers(server))
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: not set(killed) & set(capturers(server)))  # another may be there for what still waited

    def comes_again() -> bool:
        ask(server, "watched", "after", text="after the death")
        return any("after the death" in each.answer for each in islice(captured(server, "watched"), 500))

    eventually(comes_again)


def capturers(server: Running) -> list[int]:
    """The pids of the workers' capture processes that live."""
    found = []
    for worker in worker_pids(server):
        found += [
            pid for pid, command in child_processes(worker).items() if "canary.programs.capturer" in command
        ]
    return found
