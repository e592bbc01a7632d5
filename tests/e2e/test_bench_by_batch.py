"""`canary bench MODEL --batch` against the demo provider's batches."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from canary.cli import app
from demo.provider.behaviour import Behaviour
from tests.serving import ProviderThread, eventually

CONFIG = """\
providers:
  here: {{api: {api}, base_url: "{url}", api_key: k}}
canaries:
  - name: trial
    match: {{models: [old]}}
    baseline: {{provider: here, model: old}}
    candidate: {{provider: here, model: new}}
    share: 5%
prices: {{old: {{input: 2.0, output: 8.0}}, new: {{input: 1.0, output: 4.0}}}}
datasets:
  capitals: {{file: capitals.jsonl, layer: synthetic, floor: 80%}}
  letters: {{file: letters.jsonl, layer: real, floor: 80%}}
"""
CITIES = [f"City{number:03d}" for number in range(60)]
KNOWS = {**{f"Where is {each}?": f"in {each}" for each in CITIES}, "Letter of": "complaint"}


def folder_for(tmp_path: Path, provider: ProviderThread, api: str = "openai") -> Path:
    """A config with two datasets of 60 examples, all of which both models know."""
    url = f"{provider.url}/v1" if api == "openai" else provider.url
    (tmp_path / "canary.yaml").write_text(CONFIG.format(api=api, url=url))
    capitals = [
        {"id": each, "task": "exact", "input": f"Where is {each}?", "expected": f"in {each}"}
        for each in CITIES
    ]
    letters = [
        {"id": f"l-{each}", "task": "classify", "input": f"Letter of {each}", "expected": "complaint"}
        for each in CITIES
    ]
    for name, lines in (("capitals", capitals), ("letters", letters)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    for model in ("old", "new"):
        provider.behave(model, Behaviour(says=KNOWS))
    return tmp_path


def words(folder: Path, *more: str) -> list[str]:
    where = ["--config", str(folder / "canary.yaml"), "--data", str(folder / "data")]
    return ["bench", "new", *more, *where]


def bench(folder: Path, *more: str) -> Result:
    return CliRunner().invoke(app, words(folder, *more))


def sent(provider: ProviderThread) -> list[str]:
    """The paths of all POST requests."""
    return sorted(each.target for each in provider.log.entries if each.method == "POST")


@pytest.mark.parametrize("api", ["openai", pytest.param("anthropic", marks=pytest.mark.more)])
def test_both_models_are_asked_by_one_batch_each_at_half_the_price_and_untimed(
    tmp_path: Path, provider: ProviderThread, api: str
) -> None:
    folder = folder_for(tmp_path, provider, api)
    direct = json.loads(bench(folder, "-o", "json").stdout)
    provider.log.clear()
    done = bench(folder, "--batch", "-o", "json")
    assert done.exit_code == 0, done.stderr
    root = ["/v1/batches"] * 2 + ["/v1/files"] * 2 if api == "openai" else ["/v1/messages/batches"] * 2
    assert sent(provider) == root
    found = json.loads(done.stdout)
    assert (found["via"], found["price_factor"], found["verdict"]) == ("batch", 0.5, "ship")
    assert (direct["via"], direct["price_factor"]) == ("direct", 1.0)
    assert list(found["stages"]) == ["batch", "capitals", "letters"]
    for layer, other in zip(found["layers"], direct["layers"], strict=True):
        side, asked_directly = layer["candidate"], other["candidate"]
        assert (side["correct"], side["priced"]) == (60, 60)
        assert side["cost_usd"] == pytest.approx(asked_directly["cost_usd"] / 2)
        assert layer["cost_ratio"] == pytest.approx(other["cost_ratio"])
        untimed = ("p50_s", "p95_s", "p99_s", "answers_per_hour")
        assert (side["timed"], [side[name] for name in untimed]) == (0, [None] * 4)
        assert layer["latency_ratio"] is None
    assert not list((folder / "data" / "bench").iterdir())
    text = " ".join(bench(folder, "--batch").stdout.split())
    assert "latency and throughput are not measured in a batch" in text
    assert "half the list price" in text


def test_a_judge_is_asked_one_by_one_about_the_answers_of_a_batch(
    tmp_path: Path, provider: ProviderThread
) -> None:
    folder = folder_for(tmp_path, provider)
    config = folder / "canary.yaml"
    judge = "judge: {provider: here, model: judge, daily_budget: 1}\n"
    config.write_text(
        f"{judge}{config.read_text()}".replace("prices: {", "prices: {judge: {input: 1, output: 1}, ")
    )
    provider.behave("new", Behaviour(says={**KNOWS, f"Where is {CITIES[0]}?": "far away"}))
    provider.behave("judge", Behaviour(says={"ANSWER A ===\nin": "BETTER: A", "compare": "BETTER: B"}))
    done = bench(folder, "--batch", "--judge", "-o", "json")
    assert sent(provider).count("/v1/chat/completions") == 2
    found = json.loads(done.stdout)
    assert list(found["stages"]) == ["batch", "capitals", "letters", "judge"]
    assert (found["judge"]["lost_examples"], found["judge"]["alike"]) == ([CITIES[0]], 119)


@pytest.mark.parametrize("api", ["openai", pytest.param("anthropic", marks=pytest.mark.more)])
def test_a_run_that_is_killed_goes_on_with_its_batches(
    tmp_path: Path, provider: ProviderThread, api: str
) -> None:
    folder = folder_for(tmp_path, provider, api)
    for model in ("old", "new"):
        provider.behave(model, Behaviour(says=KNOWS, batch_s=1e9))
    program = [sys.executable, "-m", "canary", *words(folder, "--batch", "-o", "json")]
    first = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
    looks = "/batches/"
    eventually(lambda: len({each.target for each in provider.log.entries if looks in each.target}) == 2)
    first.kill()
    first.wait()
    before = sent(provider)
    for model in ("old", "new"):
        provider.behave(model, Behaviour(says=KNOWS))
    second = bench(folder, "--batch", "-o", "json")
    assert second.exit_code == 0, second.stderr
    assert second.stderr.count("goes on with batch") == 2
    assert sent(provider) == before
    assert [layer["candidate"]["correct"] for layer in json.loads(second.stdout)["layers"]] == [60, 60]


def test_questions_that_a_batch_does_not_answer_are_failures_and_not_asked_again(
    tmp_path: Path, provider: ProviderThread
) -> None:
    folder = folder_for(tmp_path, provider)
    provider.behave("new", Behaviour(says=KNOWS, faults={"status": 0.3, "hang": 0.2}, status=503))
    done = bench(folder, "--batch", "-o", "json")
    assert done.exit_code == 3, done.stderr
    assert len(sent(provider)) == 4
    side = json.loads(done.stdout)["layers"][0]["candidate"]
    assert set(side["failures"]) == {"provider_5xx", "provider_timeout"}
    assert side["correct"] + sum(side["failures"].values()) == 60
    assert "status 503 on purpose" in side["said"]


def test_a_judge_marks_the_answers_of_a_batch_one_by_one(tmp_path: Path, provider: ProviderThread) -> None:
    folder = folder_for(tmp_path, provider)
    provider.behave("judge", Behaviour(says={"grade": "Good. MARK: 5"}))
    lines = [{"id": each, "task": "judge", "input": f"Letter of {each}", "expected": "x"} for each in CITIES]
    (folder / "letters.jsonl").write_text("\n".join(map(json.dumps, lines)))
    config = folder / "canary.yaml"
    config.write_text(config.read_text().replace("layer: real,", "layer: real, judge: here/judge,"))
    done = bench(folder, "--batch", "-o", "json")
    assert done.exit_code == 0, done.stderr
    assert len(provider.log.of("judge")) > 0
    assert provider.log.of("new") == []


def test_a_model_without_batches_is_refused_by_name_before_the_first_request(
    tmp_path: Path, provider: ProviderThread
) -> None:
    folder = folder_for(tmp_path, provider, "gemini")
    done = bench(folder, "--batch")
    assert (done.exit_code, provider.log.entries) == (1, [])
    assert done.stderr == (
        "here/old cannot be asked by batch: canary sends none to api gemini; leave out --batch\n"
    )
