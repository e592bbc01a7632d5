"""A real model under one name, and what `docs/drift.md` says of it: the same one, and quantised otherwise."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from bench.drift import CONFIRM_EVERY_S, REFERENCE, REFERENCE_EVERY_S, ProbeRound, assess
from bench.models.prober import ModelProber
from canary.config import Config, parse
from control.jobs.drift import histories, since_drift
from records.store import Store
from records.store.drift import DriftStore
from tests.control.test_drift import DAY_S, Watch
from tests.servers.ports import free_port
from tests.servers.small_model import requantised, small_model

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(3600)]

CONFIG = """
providers: {{own: {{api: openai, base_url: "http://127.0.0.1:{port}/v1", api_key: k}}}}
prices: {{smollm2: {{input: 0.1, output: 0.4}}}}
probes: {{models: [smollm2], daily_budget: 0.10}}
"""
UNCHANGED_DAYS = 8
OTHERS: Mapping[str, Callable[[Path], dict[str, Any]]] = {
    "keys and values in 8 bits": lambda folder: {"cache": "Q8_0"},
    "weights of Q4_1 as Q4_0": lambda folder: {"weights": requantised("Q4_0", folder / "q4_0.gguf")},
    "weights of Q4_1 as Q8_0": lambda folder: {"weights": requantised("Q8_0", folder / "q8_0.gguf")},
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as opened:
        yield opened


def test_a_real_model_is_found_once_it_is_quantised_otherwise_and_not_before(
    tmp_path: Path, store: Store
) -> None:
    port = free_port()
    watch = Watch(store, parse(CONFIG.format(port=port), "canary.yaml", {}))
    with small_model(port=port):
        watch.turn(*(place * REFERENCE_EVERY_S for place in range(REFERENCE)))
        watch.turn(*(day * DAY_S for day in range(1, UNCHANGED_DAYS + 1)))
    (history,) = histories(store)
    assert history.probed is not None
    print(f"unchanged: {[len(each.outside) for each in history.probed.findings]} of 30 outside")
    assert (history.probed.state, len(history.probed.findings)) == ("steady", UNCHANGED_DAYS)
    assert watch.told == []
    known, day = since_drift(DriftStore(store), "own/smollm2"), UNCHANGED_DAYS + 1
    for name, change in OTHERS.items():
        with small_model(port=port, **change(tmp_path)):
            (now,) = asyncio.run(asked(watch.config, day * DAY_S))
            again = replace(now, at=day * DAY_S + CONFIRM_EVERY_S)
        standing = assess([*known, now, again])
        print(f"{name}: {len(standing.findings[-1].outside)} of {standing.findings[-1].of} outside")
        assert standing.state == "drifted"
    with small_model(port=port, cache="Q8_0"):
        watch.turn(day * DAY_S, day * DAY_S + CONFIRM_EVERY_S)
    assert [each.kind for each in watch.told] == ["model_drifted"]


async def asked(config: Config, *at: float) -> list[ProbeRound]:
    """Rounds of probes at these UTC seconds."""
    prober = ModelProber.of(config.bench, "smollm2", {})
    try:
        return [(await prober.round(0, each))[0] for each in at]
    finally:
        await prober.close()
