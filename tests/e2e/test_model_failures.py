"""Eight ways in which a language model fails without an error status, over HTTP, at default settings.

One server watches one canary for each way; no guardrail is configured. Users are mixed one of the candidate's
to nineteen of the baseline's, as a share of 5 % has them, and each asks once.
"""

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from demo.provider.behaviour import Behaviour
from tests.e2e.crowd import MOST_REQUESTS, Crowd, RareCategory
from tests.e2e.receivers import Hook, listening_hook
from tests.e2e.stage import Stage, on_stage
from tests.serving import eventually

SECRET = "a-secret-of-the-model-failure-tests-012345"
STEADY = Behaviour(ttft_s=0.02, spread=0.3)
BUSY = Behaviour(ttft_s=1.8, spread=0.5)
"""A baseline whose p95 is 4 s."""
TOOL = {
    "type": "function",
    "function": {
        "name": "refund",
        "parameters": {"type": "object", "properties": {"order": {"type": "string"}}, "required": ["order"]},
    },
}
pytestmark = pytest.mark.alone  # hundreds of requests wait at the same time


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to fail: how the arms behave, what the app sends, and what has to happen.

    `rules`: one of these rolls back, or pages where `state` is "running". `most`: the candidate's requests
    within which it does.
    """

    candidate: Behaviour
    rules: frozenset[str]
    most: int
    baseline: Behaviour = STEADY
    state: str = "rolled_back"
    at_once: int = 24
    app_timeout_s: float = 60.0
    extra: Mapping[str, Any] = field(default_factory=dict)
    rare: RareCategory | None = None


HANGS = Behaviour(faults={"hang": 1.0})
LATENCY = frozenset({"latency_p95", "latency_vs_baseline"})
WAYS: Mapping[str, Way] = {
    "hangs": Way(candidate=HANGS, rules=LATENCY | {"error_rate"}, most=60),
    "hangs-and-the-app-leaves": Way(
        candidate=HANGS, rules=LATENCY | {"abandoned"}, most=60, app_timeout_s=1.0
    ),
    "slow": Way(
        candidate=Behaviour(ttft_s=5.4, spread=0.5),
        baseline=BUSY,
        rules=frozenset({"latency_vs_baseline"}),
        most=100,
        at_once=96,
    ),
    "empty": Way(
        candidate=Behaviour(ttft_s=0.02, answer_faults={"empty": 1.0}), rules=frozenset({"empty"}), most=45
    ),
    "empty-at-times": Way(
        candidate=Behaviour(ttft_s=0.02, answer_faults={"empty": 0.25}), rules=frozenset({"empty"}), most=120
    ),
    "refuses": Way(
        candidate=Behaviour(ttft_s=0.02, answer_faults={"refused": 0.25}),
        rules=frozenset({"answer_faults", "refused"}),
        most=120,
        state="running",
    ),
    "breaks-tool-calls": Way(
        candidate=Behaviour(ttft_s=0.02, answer_faults={"tool_args_invalid": 0.25}),
        rules=frozenset({"invalid_output"}),
        most=120,
        extra={"tools": [TOOL], "tool_choice": "required"},
    ),
    "is-cut-off": Way(
        candidate=Behaviour(ttft_s=0.02, answer_faults={"cut_off": 0.25}),
        rules=frozenset({"answer_faults", "cut_off"}),
        most=120,
        state="running",
    ),
    "fails-refunds": Way(
        candidate=Behaviour(ttft_s=0.02, rejects=("logit_bias",)),
        rules=frozenset({"error_rate", "error_rate_vs_baseline"}),
        most=300 * 20 // 19,
        rare=RareCategory("refund", {"logit_bias": {}}),
    ),
}


@pytest.fixture(scope="module")
def hook() -> Iterator[Hook]:
    with listening_hook() as listening:
        yield listening


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, hook: Hook) -> Iterator[Stage]:
    canaries = "".join(
        f"  - {{{{name: {name}, match: {{{{models: [app-{name}]}}}}, share: 5%,\n"
        f"     baseline: {{{{provider: openai, model: steady-{name}}}}},\n"
        f"     candidate: {{{{provider: openai, model: candidate-{name}}}}}}}}}\n"
        for name in WAYS
    )
    config = f'providers: {{{{openai: {{{{api: openai, base_url: "{{url}}/v1"}}}}}}}}\ncanaries:\n{canaries}'
    config += f"notify: [{{{{webhook: '{hook.url}'}}}}]\n"
    folder = tmp_path_factory.mktemp("model-failures")
    with on_stage(folder, config, workers=2, env={"CANARY_SECRET": SECRET}) as playing:
        for name, way in WAYS.items():
            playing.provider.behave(f"steady-{name}", way.baseline)
            playing.provider.behave(f"candidate-{name}", way.candidate)
        yield playing


QUICK = ("hangs", "empty", "refuses", "fails-refunds")
"""What `make test` tries; `make test-more` tries the other ways."""


@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=() if each in QUICK else pytest.mark.more) for each in WAYS]
)
def test_the_candidate_is_found_out_soon(stage: Stage, hook: Hook, name: str) -> None:
    way = WAYS[name]
    crowd = Crowd(
        stage,
        name,
        f"app-{name}",
        at_once=way.at_once,
        patience_s=way.app_timeout_s,
        extra=way.extra,
        rare=way.rare,
    )
    stop, began = threading.Event(), time.monotonic()
    asking = threading.Thread(target=crowd.ask, args=(stop,))
    asking.start()
    try:
        rule = eventually(lambda: acting_rule(stage, hook, name, way))
        asked, took_s = len(stage.provider.log.of(f"candidate-{name}")), time.monotonic() - began
    finally:
        stop.set()
        asking.join()
    print(f"\n{name}: {rule} after {asked} candidate requests, {took_s:.1f} s; {crowd.left} callers left")
    assert rule in way.rules
    assert stage.status(name)["state"] == way.state
    assert len(hook.events(name, "page")) == 1
    assert asked <= way.most
    assert len(crowd.statuses) + crowd.left < MOST_REQUESTS


def acting_rule(stage: Stage, hook: Hook, name: str, way: Way) -> str | None:
    """The rule that rolled back, or the one that paged where nothing is rolled back; None before."""
    if way.state == "running":
        pages = hook.events(name, "page")
        return str(pages[0]["rules"][0]) if pages else None
    rollbacks = stage.api("GET", f"/api/canaries/{name}/rollbacks").json()
    return str(rollbacks[0]["rule"]) if rollbacks else None


def test_the_page_names_the_category_that_fails_and_the_providers_words(stage: Stage) -> None:
    (rollback,) = stage.api("GET", "/api/canaries/fails-refunds/rollbacks").json()
    print(f"\n{rollback}")
    assert "category refund" in str(rollback)
    assert "Unsupported parameter: 'logit_bias'" in str(rollback)


def test_nobody_saw_an_error_and_waiting_callers_got_the_baselines_answer(stage: Stage) -> None:
    rows = [row for row in stage.outcomes() if row["canary"] == "hangs" and row["arm"] == "candidate"]
    assert {row["outcome"] for row in rows} == {"fallback"}
