"""Costs from tokens, held against genai-prices as the oracle."""

import subprocess
import sys

import genai_prices
import pytest
from genai_prices.data_snapshot import get_snapshot

from proxy.dialects.operation import Api
from proxy.providers.provider import Kind, Provider
from records.facts.prices import Prices, TokenPrices
from records.outcome import Usage


def at(url: str, api: Api = "openai", kind: Kind = "plain") -> Provider:
    """A provider entry."""
    return Provider(name="entry", api=api, base_url=url, kind=kind)


LLAMA = "meta-llama/Llama-3.3-70B-Instruct-Turbo"
OWN = "https://gateway.example/v1"
"""A host that no price list knows."""
ENTRIES = {api: at(OWN, api) for api in ("openai", "anthropic", "gemini")}
OPENAI = at("https://api.openai.com/v1")
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
            assert prices.cost(ENTRIES[api], model, usage) == pytest.approx(
                oracle(vendor, model, usage), rel=1e-9, abs=1e-15
            ), (model, usage)


def test_some_of_those_models_have_tiers() -> None:
    small, large = Usage(input_tokens=200_000, output_tokens=0), Usage(input_tokens=400_000, output_tokens=0)
    prices = Prices({})
    steeper = [
        model
        for model in token_models("google")
        if (prices.cost(ENTRIES["gemini"], model, large) or 0)
        > 2.5 * (prices.cost(ENTRIES["gemini"], model, small) or 0)
    ]
    assert "gemini-2.5-pro" in steeper


def test_an_unknown_model_costs_nobody_knows_what() -> None:
    usage = Usage(input_tokens=10, output_tokens=10)
    for api, model in [
        ("openai", "my-finetune"),
        ("openai", ""),
        ("anthropic", "gpt-4o"),
    ]:
        assert Prices({}).cost(ENTRIES[api], model, usage) is None


def test_unknown_tokens_cost_nobody_knows_what() -> None:
    prices = Prices({})
    assert prices.cost(ENTRIES["openai"], "gpt-4o", Usage()) is None
    assert prices.cost(ENTRIES["openai"], "gpt-4o", Usage(input_tokens=10)) is None
    assert prices.cost(ENTRIES["openai"], "gpt-4o", Usage(output_tokens=10)) is None
    more_cached_than_sent = Usage(input_tokens=10, cached_input_tokens=11, output_tokens=1)
    assert prices.cost(ENTRIES["openai"], "gpt-4o", more_cached_than_sent) is None


def test_what_is_written_for_an_hour_costs_more() -> None:
    prices = Prices({"mine": TokenPrices(input=4, output=8, cache_write=5, cache_write_1h=8)})
    written = Usage(input_tokens=100, cache_write_tokens=100, output_tokens=0)
    hour = Usage(input_tokens=100, cache_write_tokens=100, cache_write_1h_tokens=100, output_tokens=0)
    assert prices.cost(ENTRIES["anthropic"], "mine", written) == pytest.approx(500e-6)
    assert prices.cost(ENTRIES["anthropic"], "mine", hour) == pytest.approx(800e-6)
    more_than_written = Usage(input_tokens=9, cache_write_tokens=1, cache_write_1h_tokens=2, output_tokens=0)
    assert prices.cost(ENTRIES["anthropic"], "mine", more_than_written) is None


def test_embeddings_need_no_output_tokens() -> None:
    cost = Prices({}).cost(ENTRIES["openai"], "text-embedding-3-small", Usage(input_tokens=1_000_000))
    assert cost == pytest.approx(oracle("openai", "text-embedding-3-small", Usage(input_tokens=1_000_000)))


def test_speech_by_the_hour_has_no_price_by_tokens() -> None:
    assert Prices({}).cost(ENTRIES["openai"], "whisper-1", Usage(input_tokens=10, output_tokens=10)) is None


def test_anthropic_and_google_models_are_priced_behind_openais_api_too() -> None:
    usage = Usage(input_tokens=1000, output_tokens=100)
    prices = Prices({})
    for own, model in [("anthropic", "claude-3-5-haiku-latest"), ("gemini", "gemini-2.5-flash")]:
        assert prices.cost(ENTRIES["openai"], model, usage) == prices.cost(ENTRIES[own], model, usage) != None  # noqa: E711


def test_a_persons_own_price_wins() -> None:
    prices = Prices(
        {
            "gpt-4o": TokenPrices(input=2.0, output=10.0, cached_input=1.0),
            "mine": TokenPrices(input=4, output=8),
        }
    )
    usage = Usage(input_tokens=1_000_000, cached_input_tokens=500_000, output_tokens=100_000)
    assert prices.cost(ENTRIES["openai"], "gpt-4o", usage) == pytest.approx(0.5 * 2 + 0.5 * 1 + 0.1 * 10)
    assert prices.cost(OPENAI, "mine", usage) == pytest.approx(4 + 0.1 * 8)


def test_looking_up_ahead_changes_no_cost() -> None:
    prices, usage = Prices({}), Usage(input_tokens=10, output_tokens=10)
    prices.load([(OPENAI, "gpt-4o"), (OPENAI, "no-such-model")])
    assert prices.cost(ENTRIES["openai"], "gpt-4o", usage) == oracle("openai", "gpt-4o", usage)


def test_a_worker_with_its_own_prices_never_imports_the_price_list() -> None:
    script = (
        "import sys; from records.facts.prices import Prices, TokenPrices; from records.outcome import Usage;"
        "p = Prices({'m': TokenPrices(input=1, output=1)});"
        "from proxy.providers.provider import Provider; e = Provider(name='e', api='openai', base_url='https://e');"
        "assert p.cost(e, 'm', Usage(input_tokens=1, output_tokens=1)) == 2e-6;"
        "sys.exit('genai_prices' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_names_that_callers_make_up_are_not_kept_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("records.facts.prices.MOST_KNOWN", 3)
    prices = Prices({})
    usage = Usage(input_tokens=1, output_tokens=1)
    for serial in range(10):
        assert prices.cost(ENTRIES["openai"], f"made-up-{serial}", usage) is None
    assert len(prices._known) <= 3
    assert prices.cost(ENTRIES["openai"], "gpt-4o-2024-11-20", usage) is not None


def test_looking_up_ahead_leaves_no_import_to_the_first_request() -> None:
    script = (
        "import sys; from records.facts.prices import Prices; Prices({}).load([]);"
        "before = set(sys.modules); from records.outcome import Usage;"
        "from proxy.providers.provider import Provider; e = Provider(name='e', api='openai', base_url='https://e');"
        "assert Prices({}).cost(e, 'gpt-4o', Usage(input_tokens=1, output_tokens=1)) is not None;"
        "assert not [name for name in set(sys.modules) - before if name.startswith('genai_prices')]"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


AWS, AZURE, VERTEX = (
    "https://bedrock-runtime.eu-west-1.amazonaws.com",
    "https://res.openai.azure.com",
    "https://europe-west1-aiplatform.googleapis.com",
)


@pytest.mark.parametrize(
    ("entry", "model", "vendor", "known"),
    [
        (at("https://api.groq.com/openai/v1"), "openai/gpt-oss-120b", "groq", "openai/gpt-oss-120b"),
        (at("https://api.groq.com/openai/v1"), "llama-3.3-70b-versatile", "groq", "llama-3.3-70b-versatile"),
        (at("https://api.mistral.ai/v1"), "mistral-small-latest", "mistral", "mistral-small-latest"),
        (at("https://api.deepseek.com"), "deepseek-reasoner", "deepseek", "deepseek-reasoner"),
        (at("https://api.x.ai/v1"), "grok-3-mini", "x-ai", "grok-3-mini"),
        (at("https://api.together.ai/v1"), LLAMA, "together", LLAMA),
        (at("https://api.together.xyz/v1"), LLAMA, "together", LLAMA),
        (at("https://openrouter.ai/api/v1"), "openai/gpt-4o", "openrouter", "openai/gpt-4o"),
        (at("https://api.cohere.ai/compatibility/v1"), "command-r-plus", "cohere", "command-r-plus"),
        (
            at("https://api.anthropic.com/v1"),
            "claude-3-5-haiku-latest",
            "anthropic",
            "claude-3-5-haiku-latest",
        ),
        (
            at("https://generativelanguage.googleapis.com/v1beta/openai"),
            "gemini-2.5-flash",
            "google",
            "gemini-2.5-flash",
        ),
        (
            at(VERTEX, "anthropic", "vertex"),
            "claude-3-5-haiku@20241022",
            "google",
            "claude-3-5-haiku@20241022",
        ),
        (at(VERTEX, "gemini", "vertex"), "gemini-2.5-pro", "google", "gemini-2.5-pro"),
        (at(VERTEX), "google/gemini-2.5-pro", "google", "gemini-2.5-pro"),
        (at(AZURE, kind="azure"), "gpt-4o", "azure", "gpt-4o"),
        (at(AZURE + "/openai/v1"), "gpt-4o", "azure", "gpt-4o"),
        (
            at(AWS, "anthropic", "bedrock"),
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "aws",
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ),
        (at(AWS + "/openai/v1"), "openai.gpt-oss-120b-1:0", "aws", "openai.gpt-oss-120b-1:0"),
        (
            at("https://vpce-1.example", kind="bedrock"),
            "amazon.nova-lite-v1:0",
            "aws",
            "amazon.nova-lite-v1:0",
        ),
    ],
)
def test_a_model_costs_what_its_host_lists(entry: Provider, model: str, vendor: str, known: str) -> None:
    usage, prices = Usage(input_tokens=12_000, cached_input_tokens=2_000, output_tokens=400), Prices({})
    assert prices.cost(entry, model, usage) == pytest.approx(oracle(vendor, known, usage), rel=1e-9)
    assert prices.knows(entry, model)


def test_one_model_has_another_price_at_another_host() -> None:
    usage, prices = Usage(input_tokens=1000, output_tokens=1000), Prices({})
    groq, router = at("https://api.groq.com/openai/v1"), at("https://openrouter.ai/api/v1")
    costs = {prices.cost(entry, "openai/gpt-oss-120b", usage) for entry in (groq, router)}
    assert len(costs) == 2
    assert None not in costs


@pytest.mark.parametrize(
    ("entry", "model"),
    [
        (at("http://127.0.0.1:8000/v1"), "llama-3"),
        (at("http://vllm.internal/v1"), "meta-llama/Llama-3.3-70B-Instruct"),
        (at(AZURE, kind="azure"), "prod-chat"),
        (at(AWS, "anthropic", "bedrock"), "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc"),
        (at("https://api.groq.com/openai/v1"), "gpt-4o"),
    ],
)
def test_a_model_that_no_list_names_there_has_no_price(entry: Provider, model: str) -> None:
    prices = Prices({})
    assert prices.cost(entry, model, Usage(input_tokens=10, output_tokens=10)) is None
    assert not prices.knows(entry, model)


def test_two_kinds_at_one_address_do_not_share_their_prices() -> None:
    usage, prices = Usage(input_tokens=1000, output_tokens=10), Prices({})
    azure, bedrock = at("http://127.0.0.1:1", kind="azure"), at("http://127.0.0.1:1", kind="bedrock")
    assert prices.cost(azure, "gpt-4o", usage) is not None
    assert prices.cost(bedrock, "gpt-4o", usage) is None


def test_a_deployment_is_priced_as_the_model_behind_it() -> None:
    usage = Usage(input_tokens=1000, output_tokens=100)
    prices = Prices({"house": TokenPrices(input=1, output=1)}, {"prod-chat": "gpt-4o", "copy": "house"})
    azure = at(AZURE, kind="azure")
    assert prices.cost(azure, "prod-chat", usage) == pytest.approx(oracle("azure", "gpt-4o", usage))
    assert prices.cost(azure, "copy", usage) == pytest.approx(1100e-6)
    assert prices.cost(azure, "other", usage) is None


def test_an_own_server_is_priced_as_a_model_of_a_named_vendor() -> None:
    usage = Usage(input_tokens=1000, output_tokens=100)
    prices = Prices({}, {"llama-3": "groq/llama-3.3-70b-versatile", "bad": "nobody/llama", "worse": "llama"})
    own = at("http://127.0.0.1:8000/v1")
    assert prices.cost(own, "llama-3", usage) == pytest.approx(
        oracle("groq", "llama-3.3-70b-versatile", usage)
    )
    assert prices.cost(own, "bad", usage) is None
    assert prices.cost(own, "worse", usage) is None
    assert prices.cost(own, "groq/llama-3.3-70b-versatile", usage) is None  # only price_as names vendors


def test_a_stated_cost_is_taken_as_said_unless_the_config_has_a_price() -> None:
    stated = Usage(input_tokens=1000, output_tokens=100, stated_usd=0.95)
    entry = at("https://openrouter.ai/api/v1")
    assert Prices({}).cost(entry, "openai/gpt-4o", stated) == 0.95
    assert Prices({}).cost(entry, "openrouter/auto", stated) == 0.95
    assert Prices({}).cost(entry, "openrouter/auto", Usage(stated_usd=0.0)) == 0.0
    own = Prices({"openai/gpt-4o": TokenPrices(input=1, output=1)})
    assert own.cost(entry, "openai/gpt-4o", stated) == pytest.approx(1100e-6)
    assert Prices({}, {"openai/gpt-4o": "gpt-4o"}).cost(entry, "openai/gpt-4o", stated) == 0.95


def test_a_provider_that_states_its_costs_is_not_unpriced() -> None:
    assert Prices({}).knows(at("https://openrouter.ai/api/v1"), "openrouter/auto")
    assert Prices({}).knows(at("https://api.x.ai/v1"), "grok-of-tomorrow")
    assert (
        Prices({}).cost(at("https://api.x.ai/v1"), "grok-of-tomorrow", Usage(input_tokens=1, output_tokens=1))
        is None
    )
