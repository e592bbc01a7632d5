"""The task `similar`, scored by the demo provider's embeddings."""

from contextlib import AsyncExitStack

import pytest

from bench.answers.embeddings import Embedder, embedder_for, scored
from bench.answers.results import ExampleResult
from bench.dataset.example import Example
from bench.errors import BenchError
from bench.models.asker import Answer
from bench.settings import BenchSettings, EmbeddingSource
from demo.provider.behaviour import Behaviour
from proxy.dialects.operation import Api
from records.facts.prices import Prices, TokenPrices
from tests.bench.asking import entry, waited
from tests.bench.examples import dataset_of
from tests.serving import ProviderThread

PRICES = Prices({"meanings": TokenPrices(input=1, output=0)})
REFUND = "Your money comes back within a week."
MEANS = {"The refund takes seven days at most.": REFUND}
APIS: tuple[Api, ...] = ("openai", "gemini")


def similar(expected: object, **more: object) -> Example:
    return dataset_of({"task": "similar", "expected": expected, **more}).examples[0]


def answered(example: Example, text: str | None) -> ExampleResult:
    answer = Answer(failure="provider_5xx") if text is None else Answer(text=text)
    return ExampleResult(example=example, answer=answer, score=0.0, right=False)


def by_meaning(
    provider: ProviderThread, api: Api, *results: ExampleResult, embedders: list[Embedder] | None = None
) -> list[ExampleResult]:
    """The results as `scored` leaves them."""

    async def story() -> list[ExampleResult]:
        settings = BenchSettings(
            providers={api: entry(provider.url, api)},
            canaries=[],
            embeddings=EmbeddingSource(provider=api, model="meanings"),
        )
        examples = [result.example for result in results]
        async with AsyncExitStack() as clients:
            by = await embedder_for(settings, examples, PRICES, {}, clients)
            if by is None:
                return list(results)
            if embedders is not None:
                embedders.append(by)
            ((*found,),) = await scored([results], by)
            return found

    return waited(story())


@pytest.mark.parametrize("api", APIS)
def test_an_answer_in_other_words_is_right_and_one_of_another_meaning_is_not(
    provider: ProviderThread, api: Api
) -> None:
    provider.behave("meanings", Behaviour(means=MEANS))
    example = similar(REFUND)
    texts = ("The refund takes seven days at most.", "We never pay money back.", "  ", None)
    embedders: list[Embedder] = []
    given = [answered(example, text) for text in texts]
    same, other, empty, failed = by_meaning(provider, api, *given, embedders=embedders)
    assert same.score == pytest.approx(1.0)
    assert same.right
    assert other.score is not None
    assert 0 <= other.score < 0.75
    assert (other.right, empty.score, empty.right) == (False, 0.0, False)
    assert failed == given[-1]
    asked = [each.json for each in provider.log.of("meanings")]
    assert len(asked) == 2  # the expected text before any question, the answers after them
    assert embedders[0].name == f"{api}/meanings"
    assert embedders[0].cost_usd is not None
    assert 1e-6 < embedders[0].cost_usd < 1e-4


def test_the_closest_of_several_texts_counts_and_an_examples_own_threshold(provider: ProviderThread) -> None:
    provider.behave("meanings", Behaviour(means=MEANS))
    several = answered(similar(["Nothing.", REFUND]), "The refund takes seven days at most.")
    strict = answered(similar(REFUND, threshold=0.0001), "We never pay money back.")
    one, other = by_meaning(provider, "openai", several, strict)
    assert one.right
    assert other.right is (other.score is not None and other.score >= 0.0001)


def test_texts_go_in_batches_each_once(provider: ProviderThread) -> None:
    given = [answered(similar(REFUND), f"Answer {number % 100}") for number in range(200)]
    by_meaning(provider, "openai", *given)
    sizes = [len(str(each.json["input"]).split(",")) for each in provider.log.of("meanings")]
    assert sizes == [1, 64, 36]


def test_other_tasks_ask_for_no_embeddings(provider: ProviderThread) -> None:
    exact = dataset_of({"task": "exact", "expected": "a"}).examples[0]
    given = answered(exact, "a")
    assert by_meaning(provider, "openai", given) == [given]
    assert provider.log.entries == []


def test_a_refused_embedding_is_an_error_in_the_providers_words(provider: ProviderThread) -> None:
    provider.behave("meanings", Behaviour(faults={"status": 1}, status=404))
    with pytest.raises(BenchError, match=r"openai/meanings gave no embeddings: caller_not_found .*404"):
        by_meaning(provider, "openai", answered(similar(REFUND), "a"))
    provider.behave("meanings", Behaviour(faults={"bad_json": 1}))
    with pytest.raises(BenchError, match="provider_malformed"):
        by_meaning(provider, "openai", answered(similar(REFUND), "a"))
