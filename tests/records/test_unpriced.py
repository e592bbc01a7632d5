"""Which arms have no known price, and what is said of them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from canary.cli import app
from canary.commands import doctor_machine as doctor
from canary.config import parse
from records.facts.prices import said_once

CONFIG = """\
providers:
  openai: {api: openai, base_url: "https://api.openai.com/v1"}
  azure: {api: openai, kind: azure, base_url: "https://res.openai.azure.com", api_key: k}
  router: {api: openai, base_url: "https://openrouter.ai/api/v1", api_key: k}
canaries:
  - name: move
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: gpt-4o}
    candidate: {provider: WHERE, model: "MODEL"}
    share: 5%
"""
SAYS = "move: the candidate azure/prod-chat has no known price, so its cost is unknown"
HELP = (
    "add `prices: {prod-chat: {input: X, output: Y}}` in dollars per million tokens, or "
    "`price_as: {prod-chat: MODEL}` with a model whose price is known"
    "; `prices: {update: daily}` fetches the newest price list"
)


def config(where: str, model: str, more: str = "") -> str:
    return CONFIG.replace("WHERE", where).replace("MODEL", model) + more


@pytest.mark.parametrize(
    ("where", "model", "more"),
    [
        ("azure", "gpt-4o-mini", ""),
        ("azure", "prod-chat", "prices: {prod-chat: {input: 1, output: 2}}\n"),
        ("azure", "prod-chat", "price_as: {prod-chat: gpt-4o}\n"),
        ("router", "openrouter/auto", ""),
    ],
)
def test_an_arm_with_a_price_or_at_a_provider_that_states_it_is_not_listed(
    where: str, model: str, more: str
) -> None:
    assert parse(config(where, model, more), "canary.yaml", {}).unpriced() == ()


def test_several_arms_without_a_price_are_one_warning() -> None:
    text = config("azure", "prod-chat").replace("openai, model: gpt-4o}", "azure, model: other-chat}")
    twice = text + text.partition("canaries:\n")[2].replace("move", "second")
    (found,) = said_once(parse(twice, "canary.yaml", {}).unpriced())
    assert found.says == (
        "no known price, so costs are unknown: azure/other-chat (baseline of move, baseline of second);"
        " azure/prod-chat (candidate of move, candidate of second)"
    )
    assert found.do.startswith(
        "add `prices: {other-chat: {input: X, output: Y}, prod-chat: {input: X, output: Y}}` in dollars"
    )
    assert said_once(parse(config("openai", "gpt-4o-mini"), "canary.yaml", {}).unpriced()) == []


def test_an_arm_without_a_price_is_named_with_what_would_help() -> None:
    (found,) = parse(config("azure", "prod-chat"), "canary.yaml", {}).unpriced()
    assert (found.canary, found.arm, found.provider, found.model) == (
        "move",
        "candidate",
        "azure",
        "prod-chat",
    )
    assert (found.says, found.do) == (SAYS, HELP)
    assert found.sentence == f"{SAYS}; {HELP}"


def test_a_model_that_is_priced_as_one_without_a_price_is_named_with_it() -> None:
    (found,) = parse(config("azure", "prod-chat", "price_as: {prod-chat: gpt-99}\n"), "f", {}).unpriced()
    assert "`price_as` names gpt-99, which has no known price there" in found.says


def test_the_help_is_yaml_for_any_name() -> None:
    (found,) = parse(config("azure", "a: b"), "canary.yaml", {}).unpriced()
    assert '`price_as: {"a: b": MODEL}`' in found.do


EVERYBODY = """\
providers:
  openai: {api: openai, base_url: "https://api.openai.com/v1", api_key: k}
canaries:
  - name: support
    standing: true
    match: {models: [m]}
    baseline: {provider: openai, model: A}
    candidate: {provider: openai}
    share: 5%
  - name: move
    match: {models: [n]}
    baseline: {provider: openai, model: B}
    candidate: {provider: openai, model: C}
    share: 5%
datasets: {users: {file: u.jsonl, layer: real, judge: openai/D}}
embeddings: {provider: openai, model: E}
"""


@pytest.mark.parametrize("unpriced", ["", "A", "B", "C", "D", "E", "AC", "DE", "ABCDE"])
def test_doctor_and_canary_prices_know_the_same_models_without_a_price(tmp_path: Path, unpriced: str) -> None:
    config = EVERYBODY
    for each in "ABCDE":
        model = f"own-{each}" if each in unpriced else "gpt-4o"
        config = config.replace(f"model: {each}}}", f"model: {model}}}").replace(
            f"openai/{each}", f"openai/{model}"
        )
    file = tmp_path / "canary.yaml"
    file.write_text(config)
    where = ["--config", str(file), "--data", str(tmp_path / "data"), "-o", "json"]
    listed = json.loads(CliRunner().invoke(app, ["prices", *where]).stdout)["models"]
    unknown = {each["model"] for each in listed if each["by"] == "unknown"}
    assert unknown == {f"own-{each}" for each in unpriced}
    found = doctor.prices(parse(config, "canary.yaml", {}))
    assert [each.state for each in found] == ["warning" if unpriced else "ok"]
    assert {f"own-{each}" for each in "ABCDE" if f"openai/own-{each}" in found[0].says} == unknown
    checked = json.loads(CliRunner().invoke(app, ["check", "--config", str(file), "-o", "json"]).stdout)
    assert {f"own-{each}" for each in "ABCDE" if f"own-{each}" in str(checked["warnings"])} == unknown


def test_without_any_model_nobody_says_that_every_arm_has_a_price() -> None:
    alone = 'providers: {openai: {api: openai, base_url: "https://api.openai.com/v1"}}\n'
    (found,) = doctor.prices(parse(alone, "canary.yaml", {}))
    assert (found.state, found.says) == ("ok", "there is no model to price")


def test_check_warns(tmp_path: Path) -> None:
    file = tmp_path / "canary.yaml"
    file.write_text(config("azure", "prod-chat"))
    told = CliRunner().invoke(app, ["check", "--config", str(file), "-o", "json"])
    assert told.exit_code == 0
    assert f"{SAYS}; {HELP}" in json.loads(told.stdout)["warnings"]
    assert f"{SAYS}; {HELP}" in told.stderr


def test_the_doctor_warns() -> None:
    from canary.commands.doctor_machine import prices

    (found,) = prices(parse(config("azure", "prod-chat"), "canary.yaml", {}))
    assert (found.state, found.says, found.do) == ("warning", SAYS, HELP)
    (found,) = prices(parse(config("openai", "gpt-4o-mini"), "canary.yaml", {}))
    assert found.state == "ok"


@pytest.mark.parametrize(
    ("model", "meant"),
    [
        ("gpt-5.6-tera", "gpt-5.6-terra"),
        ("gpt-5.7-terra", ""),
        ("my-own-model", ""),
        ("gpt-4o-minni", "gpt-4o-mini"),
    ],
)
def test_a_misspelt_model_is_told_from_a_newer_one(model: str, meant: str) -> None:
    found = [each.near for each in parse(config("openai", model), "canary.yaml", {}).unpriced()]
    assert found == [meant]


def test_check_asks_whether_a_priced_model_was_meant(tmp_path: Path) -> None:
    path = tmp_path / "canary.yaml"
    path.write_text(config("openai", "gpt-5.6-tera"))
    told = CliRunner().invoke(app, ["check", "--config", str(path)]).stderr
    assert 'has no known price, so its cost is unknown; did you mean "gpt-5.6-terra"? add `prices:' in told


def test_check_doctor_and_prices_agree_about_a_standing_canarys_baseline(tmp_path: Path) -> None:
    path = tmp_path / "canary.yaml"
    text = (
        config("openai", "x").replace(", model: gpt-4o}", ", model: prod-chat}").replace(', model: "x"', "")
    )
    path.write_text(f"{text}    standing: true\n")
    (found,) = doctor.prices(parse(path.read_text(), str(path), {}))
    assert found.state == "warning"
    assert "the baseline openai/prod-chat has no known price" in found.says
    run = CliRunner().invoke
    assert found.says in run(app, ["check", "--config", str(path)]).stderr
    assert (
        "prod-chat (baseline of move): no known price" in run(app, ["prices", "--config", str(path)]).stdout
    )
