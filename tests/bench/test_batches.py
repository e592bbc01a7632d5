"""Models of the demo provider as they are asked by batch."""

import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from bench.answers.batches import BatchRun, batch_wire
from bench.answers.results import SavedAnswers
from bench.errors import NoBatch
from bench.models.asker import Answer, Asker, client_for, direct
from demo.provider.behaviour import Behaviour
from proxy.dialects.operation import Api
from proxy.providers.provider import Kind, Provider
from records.facts.prices import Prices, TokenPrices
from routing.canary import RequestChanges
from tests.bench.asking import PRICES, entry, waited
from tests.bench.examples import dataset_of
from tests.serving import ProviderThread

SUMS = dataset_of(*({"task": "exact", "input": f"{n} + 1 = ?", "expected": str(n + 1)} for n in range(6)))
KNOWS = {f"{n} + 1 = ?": str(n + 1) for n in range(6)}
APIS: tuple[Api, ...] = ("openai", "anthropic")


class Waiting:
    """The waits between two looks, of which each may change something."""

    def __init__(self, *steps: Callable[[], None]) -> None:
        self.waits: list[float] = []
        self._steps = list(steps)

    async def __call__(self, seconds: float) -> None:
        self.waits.append(seconds)
        if self._steps:
            self._steps.pop(0)()


def asked(
    provider: Provider,
    file: Path,
    *,
    sleep: Waiting | None = None,
    told: list[str] | None = None,
    prices: Prices = PRICES,
    request: RequestChanges | None = None,
    logprobs: bool = False,
) -> list[Answer]:
    """The answers of the model `new` to all examples, by batch."""

    async def story() -> list[Answer]:
        async with AsyncExitStack() as open_:
            client = await open_.enter_async_context(client_for(provider, at_once=2))
            changes = {} if request is None else {"request": request}
            asker = Asker(client, direct(provider, "new", prices, {}, **changes))
            batches = BatchRun(
                saved=SavedAnswers(file, now=0.0),
                progress=lambda name, done, of: None,
                tell=(told if told is not None else []).append,
                sleep=sleep or Waiting(),
            )
            hashes = frozenset(each.hash for each in SUMS.scored) if logprobs else frozenset()
            found = await batches.ask([(asker, batch_wire(provider, "new"))], SUMS.scored, hashes)
            answers = [found.get(asker.target.name, each.hash) for each in SUMS.scored]
            return [each for each in answers if each is not None]

    return waited(story())


def sent(provider: ProviderThread) -> list[str]:
    """The paths of all POST requests."""
    return [each.target for each in provider.log.entries if each.method == "POST"]


@pytest.mark.parametrize("api", APIS)
def test_answers_come_with_tokens_and_half_the_price_and_without_a_latency(
    provider: ProviderThread, tmp_path: Path, api: Api
) -> None:
    provider.behave("new", Behaviour(says=KNOWS))
    answers = asked(entry(provider.url, api), tmp_path / "saved.jsonl")
    assert [each.text for each in answers] == ["1", "2", "3", "4", "5", "6"]
    first = answers[0]
    assert (first.latency_s, first.status, first.output_tokens) == (None, 200, 1)
    assert first.request_id.startswith("req_") is (api == "openai"), "Anthropic's batches have none"
    assert first.input_tokens is not None
    assert first.cost_usd == pytest.approx((first.input_tokens + 2 * 1) / 2e6)
    paths = {"openai": ["/v1/files", "/v1/batches"], "anthropic": ["/v1/messages/batches"]}
    assert sent(provider) == paths[api]


def test_a_cost_that_the_provider_states_is_not_halved(provider: ProviderThread) -> None:
    from bench.answers.batches import at_batch_price
    from records.outcome import Usage

    target = at_batch_price(direct(entry(provider.url), "unknown", Prices({}), {}))
    usage = Usage(input_tokens=10, output_tokens=5, stated_usd=0.25)
    assert target.cost(usage) == 0.25
    own = at_batch_price(
        direct(entry(provider.url), "new", Prices({"new": TokenPrices(input=1, output=2)}), {})
    )
    assert own.cost(usage) == pytest.approx(20e-6 / 2)


@pytest.mark.parametrize("api", APIS)
def test_refused_failed_and_expired_questions_are_failures_in_the_providers_words(
    provider: ProviderThread, tmp_path: Path, api: Api
) -> None:
    provider.behave("new", Behaviour(says=KNOWS, faults={"status": 0.4, "hang": 0.3}, status=529))
    answers = asked(entry(provider.url, api), tmp_path / "saved.jsonl")
    kinds = {each.failure for each in answers}
    assert kinds == {None, "provider_5xx", "provider_timeout"}
    failed = next(each for each in answers if each.failure == "provider_5xx")
    assert (failed.status, failed.text, failed.cost_usd) == (529, None, None)
    assert "status 529 on purpose" in failed.said
    expired = next(each for each in answers if each.failure == "provider_timeout")
    assert "expired" in expired.said
    provider.behave("new", Behaviour(rejects=("temperature",)))
    changed = RequestChanges(set=(("temperature", "0"),))
    refused = asked(entry(provider.url, api), tmp_path / "other.jsonl", request=changed)
    assert {(each.failure, each.status) for each in refused} == {("caller_rejected", 400)}
    assert "temperature" in refused[0].said


@pytest.mark.parametrize("api", APIS)
def test_the_batch_of_an_interrupted_run_is_not_sent_again(
    provider: ProviderThread, tmp_path: Path, api: Api
) -> None:
    class Interrupted(Exception):
        pass

    def interrupt() -> None:
        raise Interrupted

    provider.behave("new", Behaviour(says=KNOWS, batch_s=1e9))
    file = tmp_path / "saved.jsonl"
    with pytest.raises(Interrupted):
        asked(entry(provider.url, api), file, sleep=Waiting(interrupt))
    before = sent(provider)
    provider.behave("new", Behaviour(says=KNOWS))
    told: list[str] = []
    assert [each.text for each in asked(entry(provider.url, api), file, told=told)] == list("123456")
    assert sent(provider) == before
    assert "goes on with batch" in told[0]


def test_a_batch_is_gone_on_with_for_two_days_and_an_answer_for_one(tmp_path: Path) -> None:
    file = tmp_path / "saved.jsonl"
    saved = SavedAnswers(file, now=0.0)
    saved.put_batch("openai/new", "batch_1")
    saved.put("openai/new", "question", Answer(text="4"))
    now, day_s = time.time(), 86400.0
    found = {days: SavedAnswers(file, now=now + days * day_s) for days in (0.5, 1.5, 2.5)}
    assert [each.batches("openai/new") for each in found.values()] == [["batch_1"], ["batch_1"], []]
    assert [each.found for each in found.values()] == [1, 0, 0]
    assert found[0.5].batches("openai/old") == []


@pytest.mark.parametrize("api", APIS)
def test_a_saved_batch_that_is_gone_or_answered_nothing_is_replaced(
    provider: ProviderThread, tmp_path: Path, api: Api
) -> None:
    file = tmp_path / "saved.jsonl"
    SavedAnswers(file, now=0.0).put_batch(f"{api}/new", "batch_gone")
    provider.behave("new", Behaviour(faults={"status": 1}))
    assert {each.failure for each in asked(entry(provider.url, api), file)} == {"provider_5xx"}
    provider.behave("new", Behaviour(says=KNOWS))
    assert [each.text for each in asked(entry(provider.url, api), file)] == list("123456")


def test_a_look_that_fails_is_repeated_and_looks_become_seldom(
    provider: ProviderThread, tmp_path: Path
) -> None:
    def behave(status: int | None, batch_s: float) -> Callable[[], None]:
        def change() -> None:
            looks = Behaviour() if status is None else Behaviour(faults={"status": 1}, status=status)
            provider.behave("", looks)
            provider.behave("new", Behaviour(says=KNOWS, batch_s=batch_s))

        return change

    behave(None, 1e9)()
    waiting = Waiting(behave(503, 1e9), behave(429, 1e9), *[behave(None, 1e9)] * 12, behave(None, 0))
    answers = asked(entry(provider.url), tmp_path / "saved.jsonl", sleep=waiting)
    assert [each.text for each in answers] == list("123456")
    assert (waiting.waits[:3], waiting.waits[-1]) == ([1.0, 1.5, 2.25], 60.0)
    behave(None, 1e9)()
    with pytest.raises(NoBatch, match=r"GET /batches/batch_.* refused with 401"):
        asked(entry(provider.url), tmp_path / "other.jsonl", sleep=Waiting(behave(401, 1e9)))
    behave(None, 1e9)()
    with pytest.raises(NoBatch, match="refused with 503"):
        asked(entry(provider.url), tmp_path / "third.jsonl", sleep=Waiting(behave(503, 1e9)))


def test_what_a_model_refuses_for_its_log_probabilities_is_asked_again_without(
    provider: ProviderThread, tmp_path: Path
) -> None:
    provider.behave("new", Behaviour(says=KNOWS, sure={"": 0.5}))
    sure = asked(entry(provider.url), tmp_path / "saved.jsonl", logprobs=True)
    assert [each.confidence for each in sure] == [pytest.approx(0.5)] * 6
    provider.log.clear()
    provider.behave("new", Behaviour(says=KNOWS, rejects=("logprobs",)))
    file = tmp_path / "other.jsonl"
    unsure = asked(entry(provider.url), file, logprobs=True)
    assert [(each.text, each.confidence) for each in unsure] == [(text, None) for text in "123456"]
    assert sent(provider) == ["/v1/files", "/v1/batches"] * 2
    again = asked(entry(provider.url), file, logprobs=True)
    assert [each.text for each in again] == list("123456")
    assert sent(provider) == ["/v1/files", "/v1/batches"] * 2


def test_a_provider_without_batches_is_an_error_in_its_words(
    provider: ProviderThread, tmp_path: Path
) -> None:
    elsewhere = Provider(name="own", api="openai", base_url=f"{provider.url}/other/v1", api_key="k")
    with pytest.raises(NoBatch, match=r"own/new: POST /files was refused with 404: .*Invalid URL"):
        asked(elsewhere, tmp_path / "saved.jsonl")


@pytest.mark.parametrize(
    ("api", "kind"),
    [("gemini", "plain"), ("openai", "azure"), ("anthropic", "bedrock"), ("anthropic", "vertex")],
)
def test_an_entry_that_takes_no_batch_is_refused_by_name(api: Api, kind: Kind) -> None:
    where = Provider(name="there", api=api, base_url="http://127.0.0.1:9", kind=kind)
    with pytest.raises(NoBatch, match=r"there/new cannot be asked by batch: .*leave out --batch"):
        batch_wire(where, "new")
