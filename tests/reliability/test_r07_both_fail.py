"""R7: with the breaker open and the baseline failing too, the baseline is asked every time, once, and its
error is what the caller gets, byte for byte."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice

import pytest

from proxy.network.upstream.breaker import SOON
from tests.e2e.stage import Stage, chat
from tests.reliability.answers import whole
from tests.reliability.callers import Answer, ask
from tests.reliability.fault_provider import Seen
from tests.reliability.rig import rigged
from tests.serving import eventually

CONFIG = """
providers:
  openai: {api: openai, base_url: "<baseline>/v1"}
  other: {api: openai, base_url: "<candidate>/v1", api_key: sk-candidate}
canaries:
  - name: both
    match: {models: [both]}
    baseline: {provider: openai, model: both-baseline}
    candidate: {provider: other, model: both-candidate}
    share: 50%
    guardrails: []
"""
USERS_OF_EACH_ARM = 150
AT_ONCE = 8
OURS = ("x-canary-exchange", "x-canary-arm", "x-canary-name", "x-canary-served-by")
MOST_ATTEMPTS = 1.2
MOST_TO_CANDIDATE = 5 + AT_ONCE + SOON
"""What opened the breaker, what was under way then, and probes."""
FAILURES = [
    (500, b'{"error": {"message": "boom \xe2\x98\xa0", "type": "server_error"}}', b"retry-after: 7\r\n"),
    (503, b"<html>\x00\xff no such backend</html>", b"x-request-id: req-1\r\n"),
    (429, b'{"error":{"message":"slow down"}}', b"retry-after-ms: 1200\r\nx-should-retry: true\r\n"),
]


def failure(number: int) -> bytes:
    status, body, fields = FAILURES[number % len(FAILURES)]
    return whole(body, status, fields + b"content-type: application/octet-stream\r\n")


async def baseline(seen: Seen) -> None:
    """Another failure by the number that the request carries."""
    number = int(seen.message.body.split(b"number ")[1].split(b".")[0])
    seen.write(failure(number))


async def candidate(seen: Seen) -> None:
    seen.write(whole(b"candidate", 500))


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, list[Answer]]]:
    plays = {"baseline": baseline, "candidate": candidate}
    with rigged(tmp_path_factory.mktemp("r07"), CONFIG, plays) as stage:
        arms = [
            islice(stage.users(arm, "both", 0.5, arm), USERS_OF_EACH_ARM) for arm in ("baseline", "candidate")
        ]
        users = list(chain.from_iterable(zip(*arms, strict=True)))

        def one(number: int) -> Answer:
            streaming = bool(number // 2 % 2)
            body = chat("both", users[number], stream=streaming, text=f"number {number}.")
            return ask(stage.server.traffic, body)

        with ThreadPoolExecutor(AT_ONCE) as pool:
            answers = list(pool.map(one, range(len(users))))
        eventually(lambda: len(stage.outcomes()) == len(answers))
        yield stage, answers


def test_the_baselines_error_arrives_verbatim(asked: tuple[Stage, list[Answer]]) -> None:
    _, answers = asked
    for number, told in enumerate(answers):
        status, body, _ = FAILURES[number % len(FAILURES)]
        assert (told.status, told.ending, told.body) == (status, "clean", body)
        theirs = [b": ".join(field) for field in told.fields if field[0].decode() not in OURS]
        given = failure(number).partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]
        assert theirs[:-1] == given[:-1]  # the last one frames the body


def test_the_baseline_is_asked_once_for_each_request_and_the_candidate_left_alone(
    asked: tuple[Stage, list[Answer]],
) -> None:
    stage, answers = asked
    attempts = Counter(seen.door for seen in stage.provider.log)
    assert attempts["baseline"] == len(answers)
    assert 5 <= attempts["candidate"] <= MOST_TO_CANDIDATE
    ratio = attempts.total() / len(answers)
    print(
        f"\nR7: {len(answers)} requests, {attempts.total()} upstream attempts: x{ratio:.3f}, "
        "the baseline asked for all"
    )
    assert ratio <= MOST_ATTEMPTS


def test_no_exchange_is_anybodys_success(asked: tuple[Stage, list[Answer]]) -> None:
    stage, _ = asked
    found = Counter((row["arm"], row["outcome"], row["error_type"]) for row in stage.outcomes())
    assert {name for _, name, _ in found} == {"error"}
    assert found["candidate", "error", "breaker_open"] >= USERS_OF_EACH_ARM - MOST_TO_CANDIDATE
    assert (
        found["baseline", "error", "provider_5xx"] + found["baseline", "error", "provider_throttled"]
        == USERS_OF_EACH_ARM
    )
