"""The runner asks over HTTP: every API, failures by their type, throttling, refusals, interruption."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from bench.answers.results import ExampleResult, SavedAnswers, run
from bench.dataset.file import Dataset
from bench.errors import BenchError, NoKey
from bench.models.asker import Answer, Asker, direct, key_of, read, total_cost
from demo.provider.behaviour import Behaviour
from proxy.dialects.operation import Api
from proxy.providers.provider import Kind, Provider
from records.captures.capture import CapturedMessage
from routing.canary import NO_CHANGES, RequestChanges
from tests.bench.asking import PRICES, entry, results_of, waited
from tests.bench.examples import dataset_of, example_of
from tests.servers.azure import LocalAzure
from tests.servers.vertex import LocalVertex
from tests.serving import ProviderThread

ASK = (CapturedMessage("system", "Be short."), CapturedMessage("user", "What is 2 + 2?"))
SUMS = dataset_of(*({"task": "exact", "input": f"{n} + 1 = ?", "expected": str(n + 1)} for n in range(6)))
KNOWS = {f"{n} + 1 = ?": str(n + 1) for n in range(6)}


def one(provider: ProviderThread, api: Api = "openai", model: str = "new", **options: Any) -> Answer:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async def story() -> Answer:
        where = entry(provider.url, api, **options)
        async with httpx2.AsyncClient(trust_env=False) as client:
            return await Asker(client, direct(where, model, PRICES, {}), sleep=sleep).ask(ASK)

    return waited(story())


@pytest.mark.parametrize("api", ["openai", "anthropic", "gemini"])
def test_every_api_answers_with_its_text_time_tokens_and_cost(provider: ProviderThread, api: Api) -> None:
    provider.behave("new", Behaviour(says={"2 + 2": "It is 4."}))
    answer = one(provider, api)
    assert (answer.text, answer.failure, answer.status) == ("It is 4.", None, 200)
    assert answer.latency_s is not None
    assert answer.input_tokens is not None
    assert answer.output_tokens == 3
    assert answer.cost_usd == pytest.approx((answer.input_tokens + 2 * 3) / 1e6)


@pytest.mark.parametrize("api", ["openai", "anthropic", "gemini"])
def test_a_cloud_is_asked_under_its_own_urls(api: Api) -> None:
    """The local clouds check path, credential, project and region."""
    cloud = {
        "openai": lambda: LocalAzure(key="own", deployments=["new"]),
        "anthropic": lambda: LocalVertex(project="p", region="r", token="own"),
        "gemini": lambda: LocalVertex(project="p", region="r", token="own"),
    }[api]()
    with ProviderThread(cloud) as running:
        kind: Kind = "azure" if api == "openai" else "vertex"
        where = Provider(
            name="it", api=api, kind=kind, base_url=running.url, api_key="own", project="p", region="r"
        )

        async def story() -> Answer:
            async with httpx2.AsyncClient(trust_env=False) as client:
                return await Asker(client, direct(where, "new", PRICES, {})).ask(ASK)

        answer = waited(story())
    assert (answer.failure, answer.status, bool(answer.text)) == (None, 200, True)


def test_a_model_without_a_price_costs_an_unknown_amount(provider: ProviderThread) -> None:
    assert one(provider, model="unheard-of").cost_usd is None
    assert total_cost([None, None]) is None
    assert total_cost([None, 0.5]) == 0.5


@pytest.mark.parametrize(
    ("behaviour", "failure"),
    [
        (Behaviour(faults={"status": 1}), "provider_5xx"),
        (Behaviour(faults={"status": 1}, status=403), "caller_unauthorized"),
        (Behaviour(faults={"status": 1}, status=404), "caller_not_found"),
        (Behaviour(faults={"status": 1}, status=422), "caller_rejected"),
        (Behaviour(faults={"reset": 1}), "provider_reset"),
        (Behaviour(faults={"truncate": 1}), "provider_reset"),
        (Behaviour(faults={"html": 1}), "provider_malformed"),
        (Behaviour(faults={"empty": 1}), "provider_malformed"),
        (Behaviour(faults={"bad_json": 1}), "provider_malformed"),
        (Behaviour(faults={"hang": 1}), "provider_timeout"),
    ],
)
def test_a_failure_has_its_type_and_no_text(
    provider: ProviderThread, behaviour: Behaviour, failure: str
) -> None:
    provider.behave("new", behaviour)
    answer = one(provider, total_s=0.3 if failure == "provider_timeout" else 10.0)
    assert (answer.text, answer.failure, answer.cost_usd) == (None, failure, None)


def test_nobody_there_is_a_failure_of_its_own(provider: ProviderThread) -> None:
    where = entry("http://127.0.0.1:9")

    async def story() -> Answer:
        async with httpx2.AsyncClient(trust_env=False) as client:
            return await Asker(client, direct(where, "new", PRICES, {})).ask(ASK)

    assert waited(story()).failure == "provider_connect"


def test_a_throttled_question_is_asked_again_after_as_long_as_the_provider_says(
    provider: ProviderThread,
) -> None:
    provider.behave("new", Behaviour(faults={"status": 1}, status=429, retry_after_s=7))
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            provider.behave("new", Behaviour())

    async def story() -> Answer:
        async with httpx2.AsyncClient(trust_env=False) as client:
            return await Asker(client, direct(entry(provider.url), "new", PRICES, {}), sleep=sleep).ask(ASK)

    assert waited(story()).text
    assert waits == [7, 7]
    provider.behave("new", Behaviour(faults={"status": 1}, status=429))
    assert one(provider).failure == "provider_429"


BODIES: dict[Api, dict[str, Any]] = {
    "openai": {
        "model": "new",
        "messages": [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": "What is 2 + 2?"},
        ],
    },
    "anthropic": {
        "model": "new",
        "max_tokens": 4096,
        "system": "Be short.",
        "messages": [{"role": "user", "content": "What is 2 + 2?"}],
    },
    "gemini": {
        "systemInstruction": {"parts": [{"text": "Be short."}]},
        "contents": [{"role": "user", "parts": [{"text": "What is 2 + 2?"}]}],
    },
}


@pytest.mark.parametrize("api", ["openai", "anthropic", "gemini"])
def test_no_parameter_is_the_benchmarks_own(provider: ProviderThread, api: Api) -> None:
    one(provider, api)
    (entry,) = provider.log.entries
    assert entry.json == BODIES[api]


@pytest.mark.parametrize(
    ("api", "parameters"),
    [
        ("openai", {"temperature": 0, "top_p": 0.5}),
        ("anthropic", {"temperature": 0, "max_tokens": 9}),
        ("gemini", {"generationConfig": {"temperature": 0}}),
    ],
)
def test_an_examples_parameters_are_members_of_its_request(
    provider: ProviderThread, api: Api, parameters: dict[str, Any]
) -> None:
    example = {"task": "exact", "input": "2 + 2", "expected": "4"}
    dataset = dataset_of({**example, "parameters": parameters}, example)
    asked(provider, api, dataset)
    sent, plain = (entry.json for entry in provider.log.entries)
    assert sent == {**plain, **parameters}


def test_an_example_is_asked_at_its_path_and_with_its_headers(provider: ProviderThread) -> None:
    provider.behave("new", Behaviour(says={"2 + 2": "4"}))
    example = {"task": "exact", "input": [*map(vars_of, ASK)], "expected": "4", "path": "/v1/responses"}
    extras = {"parameters": {"reasoning": {"effort": "low"}}, "headers": {"openai-beta": "b=1"}}
    (result,) = asked(provider, "openai", dataset_of(example | extras))
    (entry,) = provider.log.entries
    assert (entry.target, dict(entry.headers)["openai-beta"]) == ("/v1/responses", "b=1")
    assert entry.json == {
        "model": "new",
        "input": BODIES["openai"]["messages"],
        "reasoning": {"effort": "low"},
        "store": False,
    }
    assert (result.right, result.answer.text) == (True, "4")
    assert result.answer.input_tokens is not None


def vars_of(message: CapturedMessage) -> dict[str, str]:
    return {"role": message.role, "content": message.content}


def asked(
    provider: ProviderThread, api: Api, dataset: Dataset, request: RequestChanges = NO_CHANGES
) -> list[ExampleResult]:
    async def story() -> list[ExampleResult]:
        async with httpx2.AsyncClient(trust_env=False) as client:
            target = direct(entry(provider.url, api), "new", PRICES, {}, request)
            (found,) = await run([Asker(client, target)], dataset.scored, saved=None, at_once=1)
            return found

    return waited(story())


def test_an_arms_model_is_asked_with_the_arms_request(provider: ProviderThread) -> None:
    line = {"task": "exact", "input": "2 + 2", "expected": "4", "parameters": {"max_tokens": 9, "top_p": 1}}
    changes = RequestChanges(
        rename=[("max_tokens", "max_completion_tokens")],
        remove=["top_p"],
        set=[("reasoning_effort", '"low"')],
    )
    asked(provider, "openai", dataset_of(line), changes)
    (sent,) = (entry.json for entry in provider.log.entries)
    assert sent.keys() == {"model", "messages", "max_completion_tokens", "reasoning_effort"}


def test_a_judge_is_asked_without_a_parameter_too(provider: ProviderThread, tmp_path: Path) -> None:
    provider.behave("new", Behaviour(says={"Grade": "x"}))
    provider.behave("judge", Behaviour(says={"You grade": "Fine. MARK: 5"}))
    dataset = dataset_of({"task": "judge", "expected": "Grade", "parameters": {"temperature": 0}})
    results_of(entry(provider.url), dataset, tmp_path / "kept", models=("new",), judge="judge")
    assert [sorted(each.json) for each in provider.log.of("judge")] == [["messages", "model"]]


def test_a_model_that_refuses_a_parameter_has_failed(provider: ProviderThread, tmp_path: Path) -> None:
    provider.behave("new", Behaviour(says=KNOWS, rejects=("temperature",)))
    lines = [
        {"task": "exact", "input": f"{n} + 1 = ?", "expected": str(n + 1), "parameters": {"temperature": 0}}
        for n in range(6)
    ]
    (found,) = results_of(entry(provider.url), dataset_of(*lines), tmp_path / "kept", models=("new",))
    assert {(each.answer.failure, each.answer.said) for each in found} == {
        (
            "caller_rejected",
            "unsupported_parameter: Unsupported parameter: 'temperature' is not supported with this model.",
        )
    }
    assert len({each.answer.request_id for each in found if each.answer.request_id.startswith("req_")}) == 6
    assert len(provider.log.entries) == 6


def test_a_refusal_is_not_asked_again(provider: ProviderThread) -> None:
    provider.behave("new", Behaviour(rejects=("messages",)))
    answer = one(provider)
    assert (answer.failure, answer.status) == ("caller_rejected", 400)
    assert "messages" in answer.said
    assert len(provider.log.entries) == 1


def test_both_models_are_asked_every_example_and_scored(provider: ProviderThread, tmp_path: Path) -> None:
    provider.behave("old", Behaviour(says=KNOWS))
    provider.behave("new", Behaviour(says={**KNOWS, "3 + 1 = ?": "five"}))
    old, new = results_of(entry(provider.url), SUMS, tmp_path / "kept")
    assert [each.right for each in old] == [True] * 6
    assert [each.example.id for each in new if not each.right] == ["3"]
    assert len(provider.log.entries) == 12


def test_choices_are_shown_with_how_to_answer(provider: ProviderThread, tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [
        {"task": "choice", "choices": ["red", "blue"], "expected": "blue"},
        {"task": "classify", "choices": ["spam", "ham"], "expected": "ham"},
        {"task": "rank", "choices": ["b", "a"], "expected": ["a", "b"]},
    ]
    provider.behave("new", Behaviour(says={"B. blue": "B", "spam, ham": "ham", "- b\n- a": "a\nb"}))
    (found,) = results_of(entry(provider.url), dataset_of(*lines), tmp_path / "kept", models=("new",))
    assert [each.right for each in found] == [True, True, True]


def test_an_interrupted_run_asks_only_what_is_left_and_kept_answers_have_no_latency(
    provider: ProviderThread, tmp_path: Path
) -> None:
    provider.behave("new", Behaviour(says=KNOWS, faults={"status": 0.0}))
    file, where = tmp_path / "kept", entry(provider.url)
    half = dataset_of(*({"task": "exact", "input": f"{n} + 1 = ?", "expected": str(n + 1)} for n in range(3)))
    results_of(where, half, file, models=("new",), now=time.time())
    with file.open("ab") as torn:
        torn.write(b'{"model": "openai/new", "quest')
    (found,) = results_of(where, SUMS, file, models=("new",), now=time.time())
    assert [each.right for each in found] == [True] * 6
    assert [each.answer.latency_s is None for each in found] == [True] * 3 + [False] * 3
    assert [each.took_s is None for each in found] == [True] * 3 + [False] * 3
    assert len(provider.log.entries) == 6


def test_failures_and_answers_of_another_day_are_asked_again(
    provider: ProviderThread, tmp_path: Path
) -> None:
    provider.behave("new", Behaviour(faults={"status": 1}))
    file, where = tmp_path / "kept", entry(provider.url)
    results_of(where, SUMS, file, models=("new",), now=time.time())
    assert SavedAnswers(file, now=time.time()).found == 0
    provider.behave("new", Behaviour())
    results_of(where, SUMS, file, models=("new",), now=time.time())
    assert SavedAnswers(file, now=time.time()).found == 6
    assert SavedAnswers(file, now=time.time() + 86401).found == 0


def test_answers_that_cannot_be_kept_end_the_run_with_the_reason(
    provider: ProviderThread, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError):
        results_of(entry(provider.url), SUMS, tmp_path / "nowhere" / "kept")


def test_a_judge_is_paid_for_apart_and_one_without_a_mark_leaves_the_answer_open(
    provider: ProviderThread, tmp_path: Path
) -> None:
    lines = [{"task": "judge", "input": each, "expected": "sorry"} for each in ("Good one?", "Odd one?")]
    provider.behave("old", Behaviour(says={"Good": "Sorry!", "Odd": "Hm."}))
    provider.behave("new", Behaviour(says={"Good one": "Fine. MARK: 4", "Odd one": "I cannot say."}))
    (found,) = results_of(
        entry(provider.url), dataset_of(*lines), tmp_path / "kept", models=("old",), judge="new"
    )
    assert [(each.score, each.right) for each in found] == [(0.75, True), (None, False)]
    assert all(each.judge_cost_usd and each.answer.cost_usd for each in found)
    assert all(each.judge_cost_usd != each.answer.cost_usd for each in found)


def test_an_example_that_needs_a_judge_is_refused_without_one(
    provider: ProviderThread, tmp_path: Path
) -> None:
    lines = dataset_of({"task": "judge", "expected": "sorry"})
    with pytest.raises(BenchError, match="example 0"):
        results_of(entry(provider.url), lines, tmp_path / "kept", models=("old",))


def test_another_judge_is_asked_about_saved_answers_and_the_same_one_is_not(
    provider: ProviderThread, tmp_path: Path
) -> None:
    provider.behave("judge", Behaviour(says={"grade": "MARK: 5"}))
    elsewhere = entry(provider.url.replace("127.0.0.1", "localhost"))
    dataset = dataset_of({"task": "judge", "expected": "sorry"})

    def asked(where: Provider, judge: str = "judge", request: RequestChanges = NO_CHANGES) -> list[str]:
        async def story() -> None:
            async with httpx2.AsyncClient(trust_env=False) as client:
                model = Asker(client, direct(entry(provider.url), "new", PRICES, {}))
                by = Asker(client, direct(where, judge, PRICES, {}, request))
                saved = SavedAnswers(tmp_path / "kept", now=0.0)
                await run([model], dataset.scored, judge=by, saved=saved)

        provider.log.clear()
        waited(story())
        return [each.model for each in provider.log.entries]

    assert asked(entry(provider.url)) == ["new", "judge"]
    assert asked(entry(provider.url)) == []
    assert asked(elsewhere) == ["judge"]
    assert asked(entry(provider.url), request=RequestChanges(set=[("seed", "1")])) == ["judge"]
    assert asked(entry(provider.url), judge="other") == ["other"]


def test_progress_is_told_and_no_more_is_asked_at_once_than_allowed(
    provider: ProviderThread, tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []

    async def story() -> None:
        async with httpx2.AsyncClient(trust_env=False) as client:
            await run(
                [Asker(client, direct(entry(provider.url), "new", PRICES, {}))],
                SUMS.scored,
                saved=SavedAnswers(tmp_path / "kept", now=0.0),
                at_once=2,
                progress=lambda done, of: told.append((done, of)),
            )

    waited(story())
    assert told == [(number, 6) for number in range(1, 7)]
    spans = [(each.mono, each.ended_mono) for each in provider.log.entries]
    assert all(sum(a <= at < (b or at) for a, b in spans) <= 2 for at, _ in spans)


def test_a_key_comes_from_the_config_or_the_apis_own_variable() -> None:
    where = entry("http://127.0.0.1:9")
    assert key_of(where, {}) == "k"
    bare = replace(entry("http://127.0.0.1:9", "gemini"), api_key=None)
    assert key_of(bare, {"GOOGLE_API_KEY": "g"}) == "g"
    with pytest.raises(NoKey, match="GEMINI_API_KEY"):
        key_of(bare, {})


def test_an_error_with_status_200_is_no_answer() -> None:
    assert read("openai", b'{"error": {"message": "overloaded"}}').failure == "provider_malformed"
    assert example_of(task="exact", expected="x").classes == ()
