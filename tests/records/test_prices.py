"""Costs from tokens, held against genai-prices as the oracle."""

import subprocess
import sys

import genai_prices
import pytest
from genai_prices.data_snapshot import get_snapshot

from records.outcome import Usage
from records.prices import Prices, Rates

APIS = {"openai": "openai", "anthropic": "anthropic", "gemini": "google"}
USAGES = [
    Usage(input_tokens=0, output_tokens=0),
    Usage(input_tokens=1, output_tokens=1),
    Usage(input_tokens=1200, output_tokens=345, reasoning_tokens=100),
    Usage(input_tokens=1200, cached_input_tokens=600, output_tokens=345),
    Usage(input_tokens=90_000, cached_input_tokens=30_000, cache_write_tokens=20_000, output_tokens=4_000),
    Usage(input_tokens=128_000, output_tokens=10),
    Usage(input_tokens=200_000, output_tokens=10),
    Usage(input_tokens=200_001, cached_input_tokens=150_000, output_tokens=10),
    Usage(input_tokens=272_001, cached_input_tokens=1, output_tokens=10),
    Usage(input_tokens=900_000, cached_input_tokens=400_000, cache_write_tokens=10, output_tokens=60_000),
    Usage(input_tokens=9_000, cache_write_tokens=8_000, cache_write_1h_tokens=6_000, output_tokens=10),
    Usage(input_tokens=250_000, cache_write_tokens=80_000, cache_write_1h_tokens=80_000, output_tokens=10),
]


def oracle(vendor: str, model: str, usage: Usage) -> float:
    theirs = genai_prices.Usage(
        input_tokens=usage.input_tokens,
        cache_read_tokens=usage.cached_input_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        output_tokens=usage.output_tokens,
    )
    return float(genai_prices.calc_price(theirs, model, provider_id=vendor).total_price)


def token_models(vendor: str) -> list[str]:
    """The vendor's models that genai-prices prices by input tokens and finds by their own id."""
    (provider,) = [each for each in get_snapshot().providers if each.id == vendor]
    return [
        model.id
        for model in provider.models
        if provider.find_model(model.id)
        and genai_prices.calc_price(genai_prices.Usage(), model.id, provider_id=vendor).model_price.input_mtok
    ]


@pytest.mark.parametrize("api", APIS)
def test_every_token_priced_model_costs_what_the_oracle_says(api: str) -> None:
    vendor, prices = APIS[api], Prices({})
    models = token_models(vendor)
    assert len(models) >= 20
    for model in models:
        for usage in USAGES:
            assert prices.cost(api, model, usage) == pytest.approx(
                oracle(vendor, model, usage), rel=1e-9, abs=1e-15
            ), (model, usage)


def test_some_of_those_models_have_tiers() -> None:
    small, large = Usage(input_tokens=200_000, output_tokens=0), Usage(input_tokens=400_000, output_tokens=0)
    prices = Prices({})
    steeper = [
        model
        for model in token_models("google")
        if (prices.cost("gemini", model, large) or 0) > 2.5 * (prices.cost("gemini", model, small) or 0)
    ]
    assert "gemini-2.5-pro" in steeper


def test_an_unknown_model_costs_nobody_knows_what() -> None:
    usage = Usage(input_tokens=10, output_tokens=10)
    for api, model in [
        ("openai", "my-finetune"),
        ("openai", ""),
        ("cohere", "gpt-4o"),
        ("anthropic", "gpt-4o"),
    ]:
        assert Prices({}).cost(api, model, usage) is None


def test_unknown_tokens_cost_nobody_knows_what() -> None:
    prices = Prices({})
    assert prices.cost("openai", "gpt-4o", Usage()) is None
    assert prices.cost("openai", "gpt-4o", Usage(input_tokens=10)) is None
    assert prices.cost("openai", "gpt-4o", Usage(output_tokens=10)) is None
    more_cached_than_sent = Usage(input_tokens=10, cached_input_tokens=11, output_tokens=1)
    assert prices.cost("openai", "gpt-4o", more_cached_than_sent) is None


def test_what_is_written_for_an_hour_costs_more() -> None:
    prices = Prices({"mine": Rates(input=4, output=8, cache_write=5, cache_write_1h=8)})
    written = Usage(input_tokens=100, cache_write_tokens=100, output_tokens=0)
    hour = Usage(input_tokens=100, cache_write_tokens=100, cache_write_1h_tokens=100, output_tokens=0)
    assert prices.cost("anthropic", "mine", written) == pytest.approx(500e-6)
    assert prices.cost("anthropic", "mine", hour) == pytest.approx(800e-6)
    more_than_written = Usage(input_tokens=9, cache_write_tokens=1, cache_write_1h_tokens=2, output_tokens=0)
    assert prices.cost("anthropic", "mine", more_than_written) is None


def test_embeddings_need_no_output_tokens() -> None:
    cost = Prices({}).cost("openai", "text-embedding-3-small", Usage(input_tokens=1_000_000))
    assert cost == pytest.approx(oracle("openai", "text-embedding-3-small", Usage(input_tokens=1_000_000)))


def test_speech_by_the_hour_has_no_price_by_tokens() -> None:
    assert Prices({}).cost("openai", "whisper-1", Usage(input_tokens=10, output_tokens=10)) is None


def test_anthropic_and_google_models_are_priced_behind_openais_api_too() -> None:
    usage = Usage(input_tokens=1000, output_tokens=100)
    prices = Prices({})
    for own, model in [("anthropic", "claude-3-5-haiku-latest"), ("gemini", "gemini-2.5-flash")]:
        assert prices.cost("openai", model, usage) == prices.cost(own, model, usage) != None  # noqa: E711


def test_a_persons_own_price_wins() -> None:
    prices = Prices(
        {"gpt-4o": Rates(input=2.0, output=10.0, cached_input=1.0), "mine": Rates(input=4, output=8)}
    )
    usage = Usage(input_tokens=1_000_000, cached_input_tokens=500_000, output_tokens=100_000)
    assert prices.cost("openai", "gpt-4o", usage) == pytest.approx(0.5 * 2 + 0.5 * 1 + 0.1 * 10)
    assert prices.cost("anywhere", "mine", usage) == pytest.approx(4 + 0.1 * 8)


def test_looking_up_ahead_and_refreshing_change_no_cost() -> None:
    prices, usage = Prices({}), Usage(input_tokens=10, output_tokens=10)
    prices.load([("openai", "gpt-4o"), ("openai", "no-such-model")])
    before = prices.cost("openai", "gpt-4o", usage)
    prices.refresh()
    assert prices.cost("openai", "gpt-4o", usage) == before is not None


def test_a_worker_with_its_own_prices_never_imports_the_price_list() -> None:
    script = (
        "import sys; from records.prices import Prices, Rates; from records.outcome import Usage;"
        "p = Prices({'m': Rates(input=1, output=1)});"
        "assert p.cost('openai', 'm', Usage(input_tokens=1, output_tokens=1)) == 2e-6;"
        "sys.exit('genai_prices' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_names_that_callers_make_up_are_not_kept_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("records.prices.MOST_KNOWN", 3)
    prices = Prices({})
    usage = Usage(input_tokens=1, output_tokens=1)
    for serial in range(10):
        assert prices.cost("openai", f"made-up-{serial}", usage) is None
    assert len(prices._known) <= 3
    assert prices.cost("openai", "gpt-4o-2024-11-20", usage) is not None


def test_looking_up_ahead_leaves_no_import_to_the_first_request() -> None:
    script = (
        "import sys; from records.prices import Prices; Prices({}).load([]);"
        "before = set(sys.modules); from records.outcome import Usage;"
        "assert Prices({}).cost('openai', 'gpt-4o', Usage(input_tokens=1, output_tokens=1)) is not None;"
        "assert not [name for name in set(sys.modules) - before if name.startswith('genai_prices')]"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
