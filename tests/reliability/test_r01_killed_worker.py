"""R1: a worker killed under load breaks its own exchanges and no other, what callers got whole is stored
once, and it is back within two seconds, be the config file good or bad by then."""

import asyncio
import os
import signal
import time
from collections import Counter
from pathlib import Path

import httpx2
import pytest
import uvloop

from tests.e2e.stage import Stage, chat
from tests.reliability.askers import Askers, paced, until
from tests.reliability.rig import percentile, rigged
from tests.reliability.workers import callers_of, serving, sums
from tests.serving import eventually

CONFIG = """
providers:
  openai: {api: openai, base_url: "<model>/v1"}
canaries:
  - name: killed
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: gpt-4o-2024-08-06}
    candidate: {provider: openai, model: gpt-4o-2024-11-20}
    share: 50%
    guardrails: []
"""
CALLERS = 16
BETWEEN_KILLS = 100


async def kill_them(stage: Stage, askers: Askers, kills: int) -> tuple[list[int], list[float]]:
    """Kill the older worker so often under load: the exchanges each death broke, and the seconds until its
    replacement served."""
    broke, back_s = [], []
    async with askers.asking(CALLERS):
        for _ in range(kills):
            await askers.more(BETWEEN_KILLS)
            await until(lambda: len(serving(stage)) == 2)
            victim, before = serving(stage)[0], len(askers.broken)
            os.kill(
                victim, signal.SIGSTOP
            )  # its connections are the same when it is looked at and when it dies
            its_own = callers_of(victim)
            os.kill(victim, signal.SIGKILL)
            killed_at = time.monotonic()
            await until(lambda victim=victim: len({*serving(stage)} - {victim}) == 2)  # type: ignore[misc]
            back_s.append(time.monotonic() - killed_at)
            await askers.more(1)
            assert {*askers.broken[before:]} <= its_own
            broke.append(len(askers.broken) - before)
        await askers.more(BETWEEN_KILLS)
    return broke, back_s


def killed_so_often(stage: Stage, kills: int) -> None:
    askers = Askers(stage.server.traffic)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        broke, back_s = runner.run(kill_them(stage, askers, kills))
    got_whole = {*askers.whole}
    eventually(lambda: got_whole <= {row["exchange_id"] for row in stage.outcomes()})
    rows = Counter(row["exchange_id"] for row in stage.outcomes())
    print(
        f"\nR1: {kills} kills: {len(got_whole)} exchanges that callers got whole, each once in the store; "
        f"{len(askers.broken)} broke ({max(broke)} a kill at most, all of them the killed worker's), "
        f"{askers.refused} connections refused; back after p50 {percentile(back_s, 0.5):.2f} s, at most "
        f"{max(back_s):.2f} s (target 2 s); longest wait of a caller {max(askers.waits_s):.2f} s"
    )
    assert len(got_whole) == len(askers.whole)
    assert {*rows.values()} == {1}
    assert {row["reason"] for row in stage.outcomes()} == {"cohort"}  # a new worker's first requests count
    assert askers.refused == 0
    assert len(rows) <= len(askers.whole) + len(askers.broken)
    counted = Counter({"accepted": len(rows), "stored": len(rows), "dropped": 0, "quarantined": 0})
    eventually(lambda: sums(stage, "canary_records_total") == counted)
    eventually(lambda: sums(stage, "canary_requests_total").total() == len(rows))


def test_a_completed_exchange_is_stored_once_whichever_worker_is_killed(tmp_path: Path) -> None:
    with rigged(tmp_path, CONFIG, {"model": paced}, workers=2, crash_free=False) as stage:
        killed_so_often(stage, kills=5)


@pytest.mark.slow
def test_twenty_kills(tmp_path: Path) -> None:
    with rigged(tmp_path, CONFIG, {"model": paced}, workers=2, crash_free=False) as stage:
        killed_so_often(stage, kills=20)


def test_a_worker_is_back_with_the_last_good_config_while_the_file_is_bad(tmp_path: Path) -> None:
    with rigged(tmp_path, CONFIG, {"model": paced}, workers=1, crash_free=False) as stage:
        (before,) = serving(stage)
        good = stage.server.config.read_text()
        stage.configure(good.replace("killed", "renamed"))
        eventually(lambda: stage.server.log_file.read_text().count("config.reloaded") == 2)
        stage.configure("providers: [this is no config")
        eventually(lambda: stage.server.log_file.read_text().count("config.refused") == 1)
        os.kill(before, signal.SIGKILL)
        eventually(lambda: serving(stage) and serving(stage) != [before])
        headers = {"authorization": "Bearer sk-caller"}
        url = f"{stage.server.traffic}/v1/chat/completions"
        answer = httpx2.post(url, json=chat("gpt-4o", "user-1"), headers=headers, trust_env=False)
        assert (answer.status_code, answer.headers["x-canary-name"]) == (200, "renamed")
