"""Compressed requests through the real server: assigned, priced, mirrored and captured as plain ones are."""

import gzip
import json
import sys
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice

import brotli
import httpx2
import pytest

from demo.provider.behaviour import Behaviour
from demo.provider.server import LocalProvider
from records.store import Store
from records.store.captures import CaptureStore
from tests.e2e.stage import Stage, on_stage, worker_pids
from tests.reliability.load import resident_kib
from tests.serving import eventually

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
  anthropic: {{api: anthropic, base_url: "{url}"}}
canaries:
  - name: openai
    match: {{models: [app]}}
    baseline: {{provider: openai, model: old}}
    candidate: {{provider: openai, model: new}}
    share: 50%
    mirror: 100%
    guardrails: []
    capture: {{rate: 100%}}
  - name: anthropic
    match: {{models: [claude]}}
    baseline: {{provider: anthropic, model: old}}
    candidate: {{provider: anthropic, model: new}}
    share: 50%
    guardrails: []
"""
PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstd.compress,
}
SHAPES = [
    ("openai", "/v1/chat/completions", {"model": "app", "messages": [{"role": "user", "content": "hello"}]}),
    ("openai", "/v1/responses", {"model": "app", "input": "hello", "store": False}),
    (
        "anthropic",
        "/v1/messages",
        {"model": "claude", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]},
    ),
]
BOMBS, LOAD = 24, 40


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    models = {name: Behaviour(words=40) for name in ("old", "new")}
    with on_stage(tmp_path_factory.mktemp("compressed"), CONFIG, provider=LocalProvider(models)) as up:
        yield up


def post(stage: Stage, path: str, body: bytes, user: str, coding: str = "") -> httpx2.Response:
    headers = {
        "content-type": "application/json",
        "authorization": "Bearer sk",
        "x-canary-unit": user,
        "anthropic-version": "2023-06-01",
    }
    if coding:
        headers["content-encoding"] = coding
    return httpx2.post(
        f"{stage.server.traffic}{path}", content=body, headers=headers, timeout=60.0, trust_env=False
    )


@pytest.mark.parametrize(("canary", "path", "document"), SHAPES, ids=[shape[1] for shape in SHAPES])
def test_a_compressed_request_counts_as_the_plain_one_does(
    stage: Stage, canary: str, path: str, document: dict[str, object]
) -> None:
    body = json.dumps(document).encode()
    kept = ("canary", "arm", "reason", "outcome", "input_tokens", "output_tokens", "cost_usd", "unit_hash")
    for arm in ("baseline", "candidate"):
        user = next(stage.users(arm, canary, 0.5))
        answers = [post(stage, path, body, user)]
        answers += [post(stage, path, pack(body), user, coding) for coding, pack in PACK.items()]
        assert [answer.status_code for answer in answers] == [200] * 5
        assert {answer.headers["x-canary-arm"] for answer in answers} == {arm}
        stored = [stage.outcome(answer.headers["x-canary-exchange"]) for answer in answers]
        plain, *packed = [{name: row.get(name) for name in kept} for row in stored]
        assert packed == [plain] * 4
        assert plain["canary"] == canary
        assert plain["input_tokens"]


def test_compressed_requests_are_mirrored_and_captured(stage: Stage) -> None:
    body = json.dumps(SHAPES[0][2] | {"messages": [{"role": "user", "content": "say it again"}]}).encode()
    users = list(islice(stage.users("baseline", "openai", 0.5, "mirrored"), 3))
    asked = {
        post(stage, SHAPES[0][1], zstd.compress(body), user, "zstd").headers["x-canary-exchange"]
        for user in users
    }

    def copied() -> bool:
        rows = [row for row in stage.outcomes() if row["mirror"]]
        return len([row for row in rows if row["outcome"] == "ok"]) >= len(users)

    eventually(copied)

    def captured() -> bool:
        with closing(Store.open("sqlite:///canary.db", stage.server.data)) as store:
            found = CaptureStore(store).read("openai")
            return asked <= {each.about.exchange_id for each in found if "again" in each.messages[0].content}

    eventually(captured)


def test_bombs_are_refused_while_others_are_answered_and_the_worker_stays_small(stage: Stage) -> None:
    packed = gzip.compress(b"\0" * (256 << 20))
    body = json.dumps(SHAPES[0][2]).encode()
    post(stage, SHAPES[0][1], packed, "bomber", "gzip")
    (pid,) = worker_pids(stage.server)
    before = resident_kib(pid)
    with ThreadPoolExecutor(8) as pool:
        bombs = [pool.submit(post, stage, SHAPES[0][1], packed, "bomber", "gzip") for _ in range(BOMBS)]
        waited = [
            post(stage, SHAPES[0][1], body, f"u{number}").elapsed.total_seconds() for number in range(LOAD)
        ]
        assert {bomb.result().status_code for bomb in bombs} == {413}
    assert sorted(waited)[LOAD // 2] < 0.5
    assert resident_kib(pid) - before < 160 << 10
