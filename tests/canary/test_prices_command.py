"""`canary prices` says what is priced how, and a running server prices by the list that has come."""

import json
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from typer.testing import CliRunner

from canary.cli import app
from tests.records.test_price_list import a_list
from tests.serving import ProviderThread, Running, eventually

CONFIG = """
providers:
  openai: {api: openai, base_url: "https://api.openai.com/v1", api_key: k}
  router: {api: openai, base_url: "https://openrouter.ai/api/v1", api_key: l}
canaries:
  - name: move
    match: {models: [bot]}
    baseline: {provider: openai, model: mine}
    candidate: {provider: openai, model: gpt-next}
    share: 5%
  - name: third
    match: {models: [other]}
    baseline: {provider: openai, model: renamed}
    candidate: {provider: router, model: some/model}
    share: 5%
prices: {PRICES mine: {input: 1, output: 2, cached_input: 0.1}}
price_as: {renamed: gpt-next}
"""
DAILY = "update: daily, from: list.json,"


def run(folder: Path, prices: str, *options: str) -> tuple[int, str, str]:
    config = folder / "canary.yaml"
    config.write_text(CONFIG.replace("PRICES", prices))
    done = CliRunner().invoke(app, ["prices", "--config", str(config), *options])
    return done.exit_code, done.stdout, done.stderr


def test_it_says_of_each_model_what_prices_it(tmp_path: Path) -> None:
    code, text, _ = run(tmp_path, "")
    assert code == 0
    assert text.splitlines()[0].startswith("List: the built-in one of genai-prices ")
    assert text.splitlines()[1:] == [
        "openai/mine (baseline of move): input $1, cached $0.1, output $2; `prices` in the config",
        "openai/gpt-next (candidate of move): no known price",
        "openai/renamed (baseline of third): no known price, as gpt-next (`price_as`)",
        "router/some/model (candidate of third): the provider states it for each request",
    ]


def test_a_fetched_list_counts_at_once_and_says_since_when(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text(a_list(3, since="2026-11-20"))
    assert run(tmp_path, DAILY, "--update")[0] == 1  # a command makes no data folder
    (tmp_path / "canary-data").mkdir()
    code, text, _ = run(tmp_path, DAILY)
    assert f"{tmp_path}/list.json is not up to date: there is none yet" in text
    code, text, said = run(tmp_path, DAILY, "--update")
    assert (code, said) == (0, f"fetched {tmp_path}/list.json\n")
    assert "openai/gpt-next in the list, since 2026-11-20" in text
    document = json.loads(run(tmp_path, DAILY, "-o", "json")[1])
    about = {name: document["list"][name] for name in ("in_force", "update", "newest", "late")}
    assert about == {"in_force": "fetched", "update": "daily", "newest": "2026-11-20", "late": False}
    by = {each["model"]: (each["by"], each["input"], each["price_as"]) for each in document["models"]}
    assert by["renamed"] == ("list", 3.0, "gpt-next")
    assert by["some/model"] == ("provider", None, None)


def test_a_list_that_cannot_be_fetched_is_told_and_one_that_is_not_wanted_too(tmp_path: Path) -> None:
    (tmp_path / "canary-data").mkdir()
    (tmp_path / "list.json").write_text("<html>")
    code, _, said = run(tmp_path, DAILY, "--update")
    assert (code, "list.json is not JSON" in said) == (1, True)
    assert run(tmp_path, "", "--update") == (
        2,
        "",
        "the config has no `prices: {update: daily}`, so no list is fetched\n",
    )


SERVED = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
canaries:
  - name: move
    match: {{models: [bot]}}
    baseline: {{provider: openai, model: gpt-next}}
    candidate: {{provider: openai, model: gpt-next-mini}}
    share: 5%
prices: {{update: daily, from: list.json}}
"""


def test_a_running_server_takes_a_new_list_without_a_restart(
    provider: ProviderThread, serve: Callable[..., Running]
) -> None:
    running = serve(SERVED.format(url=provider.url))
    listed = running.config.parent / "list.json"

    def cost() -> float:
        """Dollars of the requests until now."""
        lines = httpx2.get(f"{running.admin}/metrics").text.splitlines()
        return sum(float(each.split()[-1]) for each in lines if each.startswith("canary_cost_usd_total{"))

    def costs_something() -> bool:
        body = {"model": "bot", "user": "u", "messages": [{"role": "user", "content": "hello"}]}
        asked = httpx2.post(
            f"{running.traffic}/v1/chat/completions", json=body, headers={"authorization": "Bearer sk"}
        )
        return asked.status_code == 200 and cost() > 0

    def ready() -> str:
        return httpx2.get(f"{running.traffic}/readyz").text + httpx2.get(f"{running.admin}/readyz").text

    eventually(lambda: "the price list is not up to date" in ready())
    assert not costs_something()
    beside = listed.with_suffix(".new")
    beside.write_text(a_list(3))
    beside.replace(listed)
    eventually(costs_something)
    eventually(lambda: "price list" not in ready())
    assert (running.data / "prices.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("prices", "says"),
    [
        ("{from: list.json}", "prices.from: needs `update: daily` beside it"),
        ("{update: hourly}", "prices.update: must be daily"),
        (
            "{update: daily, from: ftp://host/x}",
            "prices.from: must be a URL with http:// or https:// and a host",
        ),
        ("{update: {input: 1, output: 2}}", "prices.update: must be daily"),
        ("{m: {input: 1}}", "prices.m.output: is missing"),
    ],
)
def test_the_config_says_what_is_wrong_with_prices(prices: str, says: str, tmp_path: Path) -> None:
    config = tmp_path / "canary.yaml"
    config.write_text(
        f'providers:\n  openai: {{api: openai, base_url: "https://h.example"}}\nprices: {prices}\n'
    )
    done = CliRunner().invoke(app, ["check", "--config", str(config)])
    assert (done.exit_code, says in done.stderr) == (2, True), done.stderr
