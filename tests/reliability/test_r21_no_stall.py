"""R21: nothing that a stranger sends, and nothing that an operator does, holds up the streams of a worker.

200 streams with ten events a second each go through the server; an event says when it was sent, so that every
half millisecond some event measures how long it takes. What holds a worker's event loop for S seconds makes
the events late that came at its beginning, by about S. On cores that do other work events are late by chance,
too; but chance does not strike each time. So each disturbance is repeated, up to ROUNDS times, and the least
of the rounds' worst delays counts, less the least worst delay of the quiet phases between them: what holds
the loop is in every round. A disturbance that holds nothing passes in one of its first rounds. Each of the
two workers has about half of the streams, so it does not matter which of them something is sent to.

Callers, provider and disturber share a process, so what is sent is written before and sent as it stands.
"""

import json
import signal
import time
from collections.abc import Callable, Iterator, Mapping

import httpx2
import pytest

from tests.e2e.stage import Stage, chat
from tests.reliability.answers import answer, streams
from tests.reliability.callers import ask
from tests.reliability.fault_provider import Seen
from tests.reliability.paced import PacedStreams, paced, paced_streams
from tests.reliability.rig import rigged
from tests.serving import eventually

CANARIES = 100
STREAMS = 200
MOST_ADDED_S = 0.05
ROUNDS = 20
QUIET_S, AFTERWARDS_S = 1.0, 0.5
IN_FORCE_S = 1.5
"""Time for every process to have a new config in force, whoever tells of it."""

pytestmark = [pytest.mark.alone, pytest.mark.more]
Disturbances = Mapping[str, Callable[[], None]]


def config(retention: int) -> str:
    """Some 500 lines."""
    canaries = "".join(
        f"""
  - name: canary-{number}
    match: {{models: [model-{number}]}}
    baseline: {{provider: openai, model: gpt-4o}}
    candidate: {{provider: openai, model: gpt-4o-mini-{number}}}
    share: 5%"""
        for number in range(CANARIES)
    )
    providers = 'providers: {openai: {api: openai, base_url: "<only>/v1"}}'
    return f"retention: {retention}d\n{providers}\ncanaries:{canaries}\n"


async def play(seen: Seen) -> None:
    await (paced if streams(seen) else answer)(seen)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with rigged(tmp_path_factory.mktemp("r21"), config(90), {"only": play}, workers=2) as up:
        yield up


@pytest.fixture(scope="module")
def under_way(stage: Stage) -> Iterator[PacedStreams]:
    with paced_streams(stage, lambda number: f"model-{number % CANARIES}", STREAMS) as streams:
        yield streams


@pytest.fixture(scope="module")
def disturbances(stage: Stage) -> Iterator[Disturbances]:
    """What is done beside the streams, by name."""
    exchange = ask(stage.server.traffic, chat("model-1", "user-1")).first("x-canary-exchange")
    good = {"exchange_id": exchange, "metric": "helped", "value": True, "comment": "so so " * 500}
    with httpx2.Client(timeout=30.0, trust_env=False) as http:
        yield {
            "a metric of 4 MB": feedback(stage, {"metric": "x" * 4_000_000, "value": 1}, 400),
            "1,000 values": feedback(stage, [good | {"feedback_id": f"f-{n}"} for n in range(1000)], 202),
            "1,000 unknown metrics": feedback(
                stage, [good | {"metric": f"help-{n}", "comment": ""} for n in range(1000)], 200, "?check"
            ),
            "a scrape": lambda: scrape(stage, http),
            "a reload": lambda: reload(stage),
        }


def feedback(stage: Stage, document: object, status: int, query: str = "") -> Callable[[], None]:
    body = json.dumps(document).encode()

    def send() -> None:
        assert ask(stage.server.traffic, body, path=f"/canary/feedback{query}").status == status

    return send


def scrape(stage: Stage, http: httpx2.Client) -> None:
    found = http.get(
        f"{stage.server.admin}/metrics", headers={"authorization": f"Bearer {stage.server.token}"}
    )
    assert f'canary="canary-{CANARIES - 1}"' in found.text


def reload(stage: Stage) -> None:
    def reloads() -> int:
        return stage.server.log_file.read_text().count("config.reloaded")

    before = reloads()
    text = config(91 + before).replace("<only>", stage.provider.url("only"))  # type: ignore[attr-defined]
    stage.configure(text)
    stage.server.process.send_signal(signal.SIGHUP)
    eventually(lambda: reloads() > before)
    time.sleep(IN_FORCE_S)


@pytest.mark.parametrize(
    "name", ["a metric of 4 MB", "1,000 values", "1,000 unknown metrics", "a scrape", "a reload"]
)
def test_streams_go_on_beside(name: str, under_way: PacedStreams, disturbances: Disturbances) -> None:
    quiet, beside = [], []
    for _ in range(ROUNDS):
        quiet.append(worst_s(under_way, lambda: time.sleep(QUIET_S)))
        beside.append(worst_s(under_way, disturbances[name]))
        if min(beside) - min(quiet) <= MOST_ADDED_S:
            break
    figures = f"worst delay {min(beside) * 1e3:.0f} ms, in quiet {min(quiet) * 1e3:.0f} ms"
    print(f"\nR21 {name}: {figures}; {len(beside)} round(s)")
    assert min(beside) - min(quiet) <= MOST_ADDED_S


def worst_s(streams: PacedStreams, act: Callable[[], None]) -> float:
    """The longest that an event took which was sent meanwhile."""
    streams.begin()
    before = streams.events
    act()
    time.sleep(AFTERWARDS_S)
    assert streams.events - before >= AFTERWARDS_S * STREAMS, "the streams stand still"
    return streams.worst_s
