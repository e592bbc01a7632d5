"""How sure the demo provider's models are, and how examples are told apart by it."""

from typing import Any

import httpx2
import pytest

from bench.answers.results import ExampleResult
from bench.benchmark.comparison import levels
from bench.benchmark.figures import ResultPair
from bench.models.asker import Answer, Asker, direct
from bench.models.wires import RequestExtras, confidence_in
from demo.provider.behaviour import Behaviour
from proxy.dialects.operation import Api
from records.captures.capture import CapturedMessage
from tests.bench.asking import PRICES, entry, waited
from tests.bench.examples import example_of
from tests.serving import ProviderThread

ASK = (CapturedMessage("user", "What is 2 + 2?"),)


def asked(provider: ProviderThread, api: Api, parameters: dict[str, Any] | None = None) -> list[Answer]:
    """Two answers with the model's confidence, one after the other."""
    extras = RequestExtras(parameters=parameters or {})

    async def story() -> list[Answer]:
        async with httpx2.AsyncClient(trust_env=False) as client:
            asker = Asker(client, direct(entry(provider.url, api), "new", PRICES, {}))
            return [await asker.ask(ASK, extras, logprobs=True) for _ in range(2)]

    return waited(story())


@pytest.mark.parametrize(
    ("api", "sent"),
    [
        ("openai", {"logprobs": True, "seed": 1}),
        ("gemini", {"generationConfig": {"temperature": 0, "responseLogprobs": True}}),
    ],
)
def test_confidence_is_the_mean_probability_of_the_tokens(
    provider: ProviderThread, api: Api, sent: dict[str, Any]
) -> None:
    provider.behave("new", Behaviour(says={"2 + 2": "It is 4."}, sure={"2 + 2": 0.6}))
    given: dict[str, dict[str, Any]] = {
        "openai": {"seed": 1},
        "gemini": {"generationConfig": {"temperature": 0}},
    }
    answers = asked(provider, api, given[api])
    assert [each.confidence for each in answers] == [pytest.approx(0.6)] * 2
    assert provider.log.entries[0].json.items() >= sent.items()


def test_an_api_without_log_probabilities_is_asked_as_ever(provider: ProviderThread) -> None:
    assert [each.confidence for each in asked(provider, "anthropic")] == [None, None]
    assert sorted(provider.log.entries[0].json) == ["max_tokens", "messages", "model"]


@pytest.mark.parametrize("status", [400, 403, 422])
@pytest.mark.parametrize(("api", "member"), [("openai", "logprobs"), ("gemini", "responseLogprobs")])
def test_a_model_that_refuses_them_is_asked_without_from_then_on(
    provider: ProviderThread, api: Api, member: str, status: int
) -> None:
    behaviour = Behaviour(says={"2 + 2": "4"}, rejects=(member,), reject_status=status)
    provider.behave("new", behaviour)
    answers = asked(provider, api)
    assert [(each.text, each.confidence) for each in answers] == [("4", None)] * 2
    assert [each.status for each in provider.log.entries] == [status, 200, 200]


def test_another_refusal_is_not_asked_again(provider: ProviderThread) -> None:
    provider.behave("new", Behaviour(rejects=("seed",)))
    answers = asked(provider, "openai", {"seed": 1})
    assert [(each.failure, each.status) for each in answers] == [("caller_rejected", 400)] * 2
    assert len(provider.log.entries) == 2


@pytest.mark.parametrize(
    ("api", "body"),
    [
        ("openai", b""),
        ("openai", b"[]"),
        ("openai", b'{"choices": []}'),
        ("openai", b'{"choices": [{"logprobs": null}]}'),
        ("openai", b'{"choices": [{"logprobs": {"content": null}}]}'),
        ("openai", b'{"choices": [{"logprobs": {"content": []}}]}'),
        ("openai", b'{"choices": [{"logprobs": {"content": [{"token": "a"}]}}]}'),
        ("gemini", b'{"promptFeedback": {}}'),
        ("gemini", b'{"candidates": [{"content": {}}]}'),
        ("anthropic", b"{}"),
    ],
)
def test_an_answer_without_them_has_no_confidence(api: Api, body: bytes) -> None:
    assert confidence_in(api, body) is None


def pair(current: float | None, new: float | None = None, tag: str | None = None) -> ResultPair:
    tags = {} if tag is None else {"confidence": tag}
    example = example_of(task="exact", expected="a", tags=tags)
    one, other = (
        ExampleResult(example=example, answer=Answer(text="a", confidence=each), score=1.0, right=True)
        for each in (current, new)
    )
    return one, other


def test_examples_are_split_at_the_median_of_the_current_models_confidence() -> None:
    found, by, threshold = levels([pair(0.9, 0.1), pair(0.5, 0.9), pair(None, 0.9), pair(0.8), pair(0.2)])
    assert found == ["high", "low", None, "high", "low"]
    assert by == ("baseline",)
    assert threshold == pytest.approx(0.65)


def test_the_candidates_confidence_counts_where_the_current_model_has_none() -> None:
    found, by, _ = levels([pair(None, 0.9), pair(None, 0.5)])
    assert (found, by) == (["high", "low"], ("candidate",))


def test_the_apps_word_comes_first() -> None:
    found, by, threshold = levels(
        [pair(0.9, tag="low"), pair(0.8), pair(0.7), pair(None, tag="high"), pair(0.6, tag="0.3")]
    )
    assert found == ["low", "high", "high", "high", "low"]
    assert by == ("tags", "baseline")
    assert threshold == pytest.approx(0.7)


def test_without_any_confidence_nothing_is_known() -> None:
    assert levels([pair(None), pair(None)]) == ([None, None], (), None)
    assert levels([pair(1.0), pair(1.0)])[0] == ["high", "high"]
