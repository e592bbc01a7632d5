"""Which two models a benchmark compares, by what a person writes and what the config says."""

import json

import pytest

from bench.benchmark.run import without_prompt
from bench.models.asker import direct
from bench.models.pair import AmbiguousModel, named, pair, terms_of, without_terms
from bench.models.wires import RequestExtras
from bench.settings import BenchSettings
from canary.config import parse
from records.captures.capture import CapturedMessage
from routing.canary import NO_CHANGES, RequestChanges
from tests.bench.examples import dataset_of

PROVIDERS = """\
providers:
  openai: {api: openai, base_url: "https://o.example/v1"}
  meta: {api: openai, base_url: "https://m.example/v1", api_key: k}
"""
CANARY = """\
  - name: %s
    match: {models: [%s]}
    baseline: {provider: openai, model: %s}
    candidate: {provider: meta, model: %s}
    share: 5%%
"""


def config(*canaries: tuple[str, str, str, str]) -> BenchSettings:
    text = "canaries:\n" + "".join(CANARY % each for each in canaries) if canaries else ""
    return parse(PROVIDERS + text, "canary.yaml", {}).bench


ONE = config(("trial", "gpt", "old", "llama-3"))


def test_a_canarys_candidate_meets_its_baseline_and_both_are_its_arms() -> None:
    for text in ("llama-3", "meta/llama-3"):
        found = pair(ONE, text, None)
        assert found.candidate is not None
        assert (found.baseline.name, found.candidate.name) == ("openai/old", "meta/llama-3")
        assert found.canary is not None


def test_another_model_meets_the_same_baseline_at_its_provider_and_is_no_arm() -> None:
    found = pair(ONE, "newer", None)
    assert found.candidate is not None
    assert (found.baseline.name, found.candidate.name, found.canary) == ("openai/old", "openai/newer", None)


def test_the_next_model_of_a_standing_canary_is_asked_as_its_order_would() -> None:
    text = """
canaries:
  - name: standing
    standing: true
    match: {models: [gpt]}
    baseline:
      provider: openai
      model: old
      request: {remove: [temperature]}
      prompt: {find: {file: v7.md, text: Old.}, put: {file: v8.md, text: New.}}
    candidate: {provider: openai}
    share: 5%
"""
    found = pair(parse(PROVIDERS + text, "canary.yaml", {}).bench, "newer", None)
    assert found.candidate is not None
    assert found.candidate.texts is not None
    assert (found.candidate.texts.find, found.candidate.texts.put) == ("Old.", "New.")
    assert found.candidate.request == RequestChanges(remove=("temperature",))
    assert found.names == ("openai/old", "openai/newer")


def test_a_name_with_a_slash_is_a_provider_only_if_there_is_such_an_entry() -> None:
    assert named(ONE, "meta/llama-4").name == "meta/llama-4"
    at = ONE.providers["openai"]
    assert named(ONE, "mistralai/small", at=at).name == "openai/mistralai/small"
    assert named(ONE, "llama-3").name == "meta/llama-3"


def test_against_replaces_the_baseline_and_then_they_are_no_canarys_arms() -> None:
    found = pair(ONE, "llama-3", "openai/older")
    assert (found.baseline.name, found.canary) == ("openai/older", None)
    assert pair(ONE, "llama-3", "old").canary is not None


def test_the_current_model_must_be_told_where_there_is_none_or_several() -> None:
    several = config(("one", "a", "old", "x"), ("two", "b", "older", "y"))
    with pytest.raises(AmbiguousModel, match=r"--against \(openai/old, openai/older\)"):
        pair(several, "z", None)
    with pytest.raises(AmbiguousModel, match="the config has no canary"):
        pair(config(), "z", None)
    assert pair(several, "y", None).baseline.name == "openai/older"
    assert pair(several, "z", "old").baseline.name == "openai/old"


def test_the_current_model_alone_has_no_candidate() -> None:
    found = pair(ONE, None, None)
    assert (found.baseline.name, found.candidate) == ("openai/old", None)


def refusal(settings: BenchSettings, model: str, against: str | None = None) -> str:
    with pytest.raises(AmbiguousModel) as refused:
        pair(settings, model, against)
    return str(refused.value)


def test_a_name_that_may_be_several_models_is_refused_with_what_to_write() -> None:
    assert refusal(ONE, "newer", "nowhere") == ("nowhere is ambiguous; write openai/nowhere or meta/nowhere")
    text = PROVIDERS + "canaries:\n" + CANARY % ("one", "a", "old", "x")
    text += (CANARY % ("two", "b", "x", "y")).replace("provider: meta", "provider: openai")
    both = parse(text, "canary.yaml", {}).bench
    assert refusal(both, "z", "x") == "x is ambiguous; write meta/x or openai/x"


def test_a_model_that_several_canaries_try_needs_its_current_model() -> None:
    twice = config(("one", "a", "old", "x"), ("two", "b", "older", "x"))
    assert "--against (openai/old, openai/older)" in refusal(twice, "x")
    found = pair(twice, "x", "old")
    assert (found.baseline.name, found.canary and found.canary.name) == ("openai/old", "one")
    same = config(("one", "a", "old", "x"), ("two", "b", "old", "x"))
    assert pair(same, "x", None).baseline.name == "openai/old"


def test_a_candidate_at_several_providers_is_refused_unless_it_names_one() -> None:
    text = PROVIDERS + "canaries:\n" + CANARY % ("one", "a", "old", "x")
    text += (CANARY % ("two", "b", "old", "x")).replace("provider: meta", "provider: openai")
    both = parse(text, "canary.yaml", {}).bench
    assert refusal(both, "x") == "x is ambiguous; write meta/x or openai/x"
    found = pair(both, "openai/x", None).candidate
    assert found is not None
    assert found.name == "openai/x"


def test_a_model_that_is_an_arm_elsewhere_is_not_taken_at_the_baselines_provider() -> None:
    text = PROVIDERS + "canaries:\n" + CANARY % ("one", "a", "old", "x")
    text += (CANARY % ("two", "b", "y", "z")).replace("openai", "meta")
    assert refusal(parse(text, "canary.yaml", {}).bench, "y", "openai/old") == (
        "y is ambiguous; write meta/y or openai/y"
    )


def test_an_arms_model_is_asked_as_its_arm_is() -> None:
    text = CANARY % ("trial", "gpt", "old", "llama-3")
    text = text.replace("model: old}", "model: old, request: {default: {seed: 1}}}")
    text = text.replace("model: llama-3}", "model: llama-3, request: {remove: [logprobs]}}")
    settings = parse(f"{PROVIDERS}canaries:\n{text}", "canary.yaml", {}).bench
    base, new = RequestChanges(default=(("seed", "1"),)), RequestChanges(remove=("logprobs",))
    found = pair(settings, "llama-3", None)
    assert found.candidate is not None
    assert (found.baseline.request, found.candidate.request) == (base, new)
    assert named(settings, "openai/old").request == base  # a judge's, for example
    assert pair(settings, "other", None).baseline.request == base
    assert named(settings, "openai/llama-3").request == NO_CHANGES  # elsewhere it is no arm


def test_an_arm_is_asked_with_its_own_prompt_and_tools_and_told_apart_by_its_name() -> None:
    own = (
        "name: v8, prompt: {find: {file: a, text: Be kind.}, put: {file: b, text: Be brief.}}, "
        "tools: {get: {file: c, text: Gets it.}}"
    )
    text = CANARY % ("trial", "gpt", "old", "old")
    text = text.replace("{provider: meta, model: old}", f"{{provider: openai, model: old, {own}}}")
    settings = parse(f"{PROVIDERS}canaries:\n{text}", "canary.yaml", {}).bench
    found = pair(settings, "old", None)
    assert found.candidate is not None
    assert found.names == ("openai/old", f"openai/old · v8 ({found.candidate.arm.fingerprint[:6]})")
    messages = [
        CapturedMessage(role="system", content="Be kind."),
        CapturedMessage(role="user", content="hi"),
    ]
    extras = RequestExtras(parameters={"tools": [{"type": "function", "function": {"name": "get"}}]})
    asked = []
    for model in (found.baseline, found.candidate):
        target = direct(
            model.provider, model.model, settings.known_prices(), {"OPENAI_API_KEY": "k"}, texts=model.texts
        )
        asked.append(json.loads(target.asks(messages, extras)[1]))
    assert [body["messages"][0]["content"] for body in asked] == ["Be kind.", "Be brief."]
    assert "Gets it." in str(asked[1]["tools"])
    assert "Gets it." not in str(asked[0]["tools"])
    has = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "hi"}]
    dataset = dataset_of(*({"task": "exact", "input": text, "expected": "x"} for text in (has, "ho")))
    assert without_prompt(found, dataset.scored) == (
        "1 of 2 examples have not the text of `prompt.find`: they compare no prompts"
    )
    assert without_prompt(pair(settings, None, None), dataset.scored) == ""


def judged_by(critical: str, *rows: str) -> str:
    listed = "".join(f"      - {{{row}, weight: 1, question: Why}}\n" for row in rows)
    return f"    critical_categories: [{critical}]\n    rubric:\n{listed}"


CHEAP = 'metric: cost_per_request, acceptable: "< 0.12", ideal: "< 0.06"'
CHEAPER = 'metric: cost_per_request, acceptable: "< 0.10", ideal: "< 0.06"'
CAUGHT = 'metric: "recall:fraud", acceptable: ">= 98%", ideal: ">= 99%"'
HAPPY = 'metric: csat, acceptable: "> 4.1", ideal: "> 4.4"'


def three_canaries() -> BenchSettings:
    text = CANARY % ("one", "a", "old", "x") + judged_by("refund", CHEAP, HAPPY)
    text += CANARY % ("two", "b", "old", "y") + judged_by("fraud", CHEAP, CAUGHT)
    text += CANARY % ("three", "c", "other", "z") + judged_by("billing", CHEAPER)
    return parse(f"{PROVIDERS}canaries:\n{text}", "canary.yaml", {}).bench


def terms(model: str, against: str) -> tuple[list[str], list[str]]:
    """The rows by their bounds, and the critical categories, for a model in a config of three canaries."""
    settings = three_canaries()
    found = terms_of(settings, pair(settings, model, against))
    return [f"{row.metric} {row.acceptable.text}" for row in found.rows], sorted(found.critical)


def test_a_model_is_judged_by_its_own_canary_without_the_rows_that_need_users() -> None:
    assert terms("x", "old") == (["cost_per_request < 0.12"], ["refund"])
    assert terms("meta/z", "openai/old") == (["cost_per_request < 0.10"], ["billing"])


def test_a_model_without_a_canary_is_judged_by_all_canaries_with_its_baseline() -> None:
    rows = ["cost_per_request < 0.12", "recall:fraud >= 98%"]
    assert terms("openai/new", "openai/old") == (rows, ["fraud", "refund"])
    assert terms("openai/new", "openai/elsewhere") == ([], [])


def test_a_comparison_without_any_rubric_says_so() -> None:
    settings = three_canaries()
    said = without_terms(settings, pair(settings, "openai/new", "openai/elsewhere"))
    assert said.startswith("no canary has openai/elsewhere as its current model")
    assert without_terms(settings, pair(settings, "openai/new", "openai/old")) == ""
    assert without_terms(ONE, pair(ONE, None, None)) == ""
    assert without_terms(ONE, pair(ONE, "new", None)) == "", "nobody has a rubric"


def test_the_current_model_alone_is_judged_by_no_terms() -> None:
    assert terms_of(ONE, pair(ONE, None, None)).rows == ()
