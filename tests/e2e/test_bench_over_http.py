"""`canary bench` against the demo provider: straight, and pinned through the real server."""

import csv
import json
import os
import re
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest
from click.testing import Result
from msgspec.structs import replace
from typer.testing import CliRunner

from bench.answers.scorers import WORDS_SHA256
from bench.settings import CRITERIA
from canary.cli import app
from demo.provider.behaviour import Behaviour
from judge.model import words_sha256
from records.store import Store
from records.store.benchmarks import BenchFailures, Benchmarks
from records.store.captures import CaptureStore
from tests.effort import in_more
from tests.records.samples import a_batch, an_outcome
from tests.records.stored import stored_in
from tests.records.test_capture_store import a_capture
from tests.serving import ProviderThread, Running, eventually

CONFIG = """\
providers:
  openai: {{api: openai, base_url: "{url}/v1", api_key: k}}
canaries:
  - name: trial
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: old}}
    candidate: {{provider: openai, model: new}}
    share: 5%
prices:
  old: {{input: 2.0, output: 8.0}}
  new: {{input: 1.0, output: 4.0}}
datasets:
  capitals: {{file: capitals.jsonl, layer: synthetic, floor: 80%}}
  letters: {{file: letters.jsonl, layer: real}}
"""
CITIES = [f"City{number:03d}" for number in range(60)]


@pytest.fixture
def folder(tmp_path: Path, provider: ProviderThread) -> Path:
    """A config with two datasets; `old` knows all of them."""
    (tmp_path / "canary.yaml").write_text(CONFIG.format(url=provider.url))
    capitals = [
        {
            "id": each,
            "task": "exact",
            "input": f"Where is {each}?",
            "expected": f"in {each}",
            "category": "geo",
        }
        for each in CITIES
    ]
    letters = [
        {"id": f"l-{each}", "task": "classify", "input": f"Letter of {each}", "expected": "complaint"}
        for each in CITIES
    ]
    for name, lines in (("capitals", capitals), ("letters", letters)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    provider.behave("old", Behaviour(says=knows()))
    return tmp_path


def knows(*, wrong: int = 0) -> dict[str, str]:
    said = {f"Where is {each}?": f"in {each}" for each in CITIES}
    said |= {f"Where is {each}?": "=HYPERLINK(1)" for each in CITIES[:wrong]}
    return {**said, "Letter of": "complaint"}


def bench(folder: Path, *words: str, **environment: str) -> Result:
    where = ["--config", str(folder / "canary.yaml"), "--data", str(folder / "data")]
    return CliRunner().invoke(app, ["bench", *words, *where], env=environment)


def document(done: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_candidate_as_good_ships_with_its_figures(folder: Path, provider: ProviderThread) -> None:
    provider.behave("new", Behaviour(says=knows(), ttft_s=0.02))
    done = bench(folder, "new", "-o", "json")
    assert done.exit_code == 0, done.stderr
    found = document(done)
    assert (found["baseline"], found["candidate"], found["via"]) == ("openai/old", "openai/new", "direct")
    assert [each["layer"] for each in found["layers"]] == ["synthetic", "real"]
    capitals = found["layers"][0]["datasets"][0]
    assert (capitals["candidate"]["correct"], capitals["candidate"]["completion"]) == (60, 1.0)
    assert capitals["candidate"]["p50_s"] >= 0.02
    # Of four at a time none took less than the 0.02 s that its provider waits.
    assert 0 < capitals["candidate"]["answers_per_hour"] <= 3600 * 4 / 0.02
    assert capitals["cost_ratio"]["estimate"] == pytest.approx(0.5)
    assert capitals["categories"][0]["category"] == "geo"
    assert found["layers"][1]["datasets"][0]["classes"]["candidate"][0]["recall"]["estimate"] == 1
    assert found["canary"] is None
    assert not list((folder / "data" / "bench").iterdir())


def test_a_worse_candidate_does_not_and_its_wrong_answers_go_into_a_spreadsheet(
    folder: Path, provider: ProviderThread
) -> None:
    provider.behave("new", Behaviour(says=knows(wrong=9)))
    file = folder / "wrong.csv"
    done = bench(folder, "new", "--failures", str(file))
    assert done.exit_code == 3
    assert "Don’t ship: openai/new against openai/old" in done.stdout
    assert "no canary has run" in done.stdout
    assert re.search(r"direct; capitals \d+ s, letters \d+ s$", done.stdout)
    assert f"New failures: {CITIES[0]}, " in done.stdout
    rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
    assert [row["id"] for row in rows] == CITIES[:9]
    assert rows[0]["candidate_answer"] == "'=HYPERLINK(1)"
    assert rows[0]["baseline_answer"] == f"in {CITIES[0]}"


@pytest.mark.parametrize(
    "name",
    ["release.html", *map(in_more, ("release.md", "release.json"))],
)
def test_the_one_report_of_all_layers_is_written_and_decides(
    folder: Path, provider: ProviderThread, name: str
) -> None:
    provider.behave("new", Behaviour(says=knows(wrong=9)))
    file = folder / name
    done = bench(folder, "new", "--report", str(file))
    assert done.exit_code == 3, done.stderr
    text = file.read_text(encoding="utf-8")
    if name.endswith(".json"):
        found = json.loads(text)
        assert (found["verdict"], found["state"]) == ("dont_ship", "benchmarked")
        assert found["layers"]["users"]["state"] == "NODATA"
        assert [each["id"] for each in found["wrong_answers"]] == CITIES[:9]
    else:
        assert "Don’t ship: openai/new against openai/old" in text
        assert "No user has tried it" in text
        assert "Time and cost of the examples" in text
        assert "p99" in text
        assert "$0.0" in text
        assert "9 examples that the candidate got wrong, redacted, the new failures first." in text
        assert "HYPERLINK" in text


def test_a_report_that_cannot_be_written_is_refused_before_the_first_question(
    folder: Path, provider: ProviderThread
) -> None:
    for words in (
        ["new", "--report", str(folder / "x.pdf")],
        ["new", "--dry", "--report", "x.html"],
        ["new", "--quick", "--report", "x.html"],
        ["new", "--dataset", "capitals", "--report", "x.html"],
    ):
        done = bench(folder, *words)
        assert done.exit_code == 2
        assert "--report" in done.stderr
    assert provider.log.entries == []


def test_the_wrong_answers_stay_in_the_store_with_the_judges_reasons(
    folder: Path, provider: ProviderThread
) -> None:
    judged(folder, "openai/judge")
    capture = "    share: 5%\n    capture: {rate: 1%, expires_after: 1d, redact: ['City00\\d']}"
    config = folder / "canary.yaml"
    config.write_text(config.read_text().replace("    share: 5%", capture))
    provider.behave("new", Behaviour(says={**knows(wrong=1), CITIES[1]: "Ask bo@example.org"}))
    says = {"bo@example.org": "Sends people to bo@example.org.\nMARK: 1"}
    provider.behave("judge", Behaviour(says={**says, "grade": "Fine.\nMARK: 5"}))
    provider.behave("old", Behaviour(says={**knows(), CITIES[1]: "Ask the desk"}))
    file = folder / "wrong.csv"
    report = folder / "release.html"
    done = bench(folder, "new", "--failures", str(file), "--report", str(report))
    assert done.exit_code == 4, done.stderr
    shown = report.read_text(encoding="utf-8")
    assert ("Where is [redacted]?" in shown, "bo@example.org" in shown) == (True, False)
    by_id = {row["id"]: row for row in csv.DictReader(file.read_text(encoding="utf-8").splitlines())}
    assert "the judge openai/judge has no known price" in done.stderr
    assert by_id["o-City001"]["candidate_reason"] == "Sends people to bo@example.org."
    assert by_id["o-City001"]["baseline_reason"] == "Fine."
    now = time.time()
    with closing(Store.open("sqlite:///canary.db", folder / "data")) as store:
        kept = BenchFailures(store).of(1, now=now)
        assert BenchFailures(store).of(1, now=now + 86400) is None
    assert kept is not None
    found = {row["id"]: row for row in kept}
    assert set(found) == set(by_id) == {"City000", "o-City001"}
    assert found["o-City001"]["candidate_reason"] == "Sends people to [email]."
    assert found["City000"]["asked"] == "Where is [redacted]?"
    where = ["--config", str(config), "--data", str(folder / "data")]
    later = CliRunner().invoke(app, ["release", "show", "new", "--failures", str(file), *where])
    assert later.exit_code == 0, later.stderr
    rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
    assert {row["id"]: row["candidate_reason"] for row in rows}["o-City001"] == "Sends people to [email]."


def test_too_little_to_tell_is_four(folder: Path, provider: ProviderThread) -> None:
    provider.behave("new", Behaviour(says=knows()))
    (folder / "few.jsonl").write_text(
        '{"id": "1", "task": "exact", "input": "Where is City001?", "expected": "in City001"}'
    )
    done = bench(folder, "new", "--dataset", str(folder / "few.jsonl"))
    assert done.exit_code == 4
    assert "1 examples are a sanity check" in done.stdout


def test_a_model_without_a_price_is_named_with_what_would_help(
    folder: Path, provider: ProviderThread
) -> None:
    provider.behave("newer", Behaviour(says=knows()))
    provider.behave("new", Behaviour(says=knows()))
    words = ["--dataset", "capitals"]
    (found,) = document(bench(folder, "newer", *words, "-o", "json"))["unpriced"]
    assert (found["arm"], found["provider"], found["model"]) == ("candidate", "openai", "newer")
    assert "price_as: {newer: MODEL}" in found["do"]
    done = bench(folder, "newer", *words)
    assert "the candidate openai/newer has no known price" in " ".join(done.stdout.split())
    first, *_ = done.stderr.splitlines()
    assert first.startswith("the candidate openai/newer has no known price"), "before the first request"
    assert document(bench(folder, "new", *words, "-o", "json"))["unpriced"] == []


def test_the_current_model_is_measured_alone(folder: Path, provider: ProviderThread) -> None:
    for words in (["--dry"], ["new", "--dry"]):
        done = bench(folder, *words, "--dataset", "capitals", "-o", "json")
        assert done.exit_code == 0, done.stderr
        found = document(done)
        assert (found["verdict"], found["candidate"]) == (None, None)
        assert found["layers"][0]["baseline"]["correct"] == 60
    assert {each.model for each in provider.log.entries} == {"old"}


def test_a_sanity_check_asks_twenty_of_each_and_never_says_ship(
    folder: Path, provider: ProviderThread
) -> None:
    provider.behave("new", Behaviour(says=knows()))
    done = bench(folder, "new", "--quick", "-o", "json")
    assert done.exit_code == 4
    assert [each["examples"] for each in document(done)["layers"]] == [20, 20]
    provider.behave("new", Behaviour())
    assert bench(folder, "new", "--quick").exit_code == 3


def test_failures_are_counted_by_their_type(folder: Path, provider: ProviderThread) -> None:
    provider.behave("new", Behaviour(says=knows(), faults={"status": 0.5}, status=503))
    done = bench(folder, "new", "--dataset", "capitals", "-o", "json")
    assert done.exit_code == 3
    found = document(done)["layers"][0]["candidate"]
    assert found["failures"].keys() == {"provider_5xx"}
    assert found["correct"] + found["failures"]["provider_5xx"] == 60


def test_a_model_that_nobody_serves_is_an_error_and_no_verdict(
    folder: Path, provider: ProviderThread
) -> None:
    provider.behave("new", Behaviour(faults={"status": 1}, status=404))
    done = bench(folder, "new")
    assert done.exit_code == 1
    assert "capitals: the candidate answered no example; the first failure is caller_not_found" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "name the new model"),
        (
            ["new", "--dataset", "nowhere"],
            1,
            "nowhere cannot be read: No such file or directory; the config has these datasets: capitals, ",
        ),
        (["new", "--against", "other/old", "--config", "none.yaml"], 2, "none.yaml"),
    ],
)
def test_what_cannot_be_done_is_said(folder: Path, words: list[str], code: int, said: str) -> None:
    where = [] if "--config" in words else ["--config", str(folder / "canary.yaml")]
    done = CliRunner().invoke(app, ["bench", *words, *where, "--data", str(folder / "data")])
    assert done.exit_code == code
    assert said in done.stderr


def test_through_the_proxy_it_is_pinned_and_in_no_statistic(
    folder: Path, provider: ProviderThread, serve: Callable[..., Running]
) -> None:
    provider.behave("new", Behaviour(says=knows()))
    server = serve(CONFIG.format(url=provider.url), workers=1, CANARY_PIN_TOKEN="pin")
    provider.log.clear()  # the preflight's
    words = ["new", "--dataset", "capitals", "--config", str(folder / "canary.yaml"), "-o", "json"]
    environment = {**os.environ, "CANARY_PIN_TOKEN": "pin"}
    done = CliRunner().invoke(app, ["bench", *words, "--data", str(server.data)], env=environment)
    assert done.exit_code == 0, done.stderr
    assert document(done)["via"] == "proxy"
    assert sorted(each.model for each in provider.log.entries) == ["new"] * 60 + ["old"] * 60

    def stored() -> bool:
        found = Counter((row["reason"], row["arm"]) for row in stored_in(server.data))
        return found == {("pinned", "baseline"): 60, ("pinned", "candidate"): 60}

    eventually(stored)
    with closing(sqlite3.connect(server.data / "canary.db", timeout=5)) as database:
        assert database.execute("SELECT count(*) FROM unit_days").fetchone() == (0,)
    wrong = CliRunner().invoke(
        app, ["bench", *words, "--data", str(server.data)], env={**environment, "CANARY_PIN_TOKEN": "no"}
    )
    assert wrong.exit_code == 1
    assert "x-canary-pin needs the pin token" in wrong.stderr


def test_a_benchmark_stands_in_the_report_and_in_the_archive_and_the_canary_in_the_next_benchmark(
    folder: Path, provider: ProviderThread, serve: Callable[..., Running]
) -> None:
    provider.behave("new", Behaviour(says=knows(wrong=3)))
    text = CONFIG.format(url=provider.url).replace("share: 5%", "share: 50%\n    minimum_days: 0")
    server = serve(text, workers=1)
    for name in ("capitals", "letters"):
        server.config.with_name(f"{name}.jsonl").write_text((folder / f"{name}.jsonl").read_text())
    where = ["--config", str(server.config), "--data", str(server.data)]
    done = CliRunner().invoke(app, ["bench", "new", *where, "-o", "json"])
    begun = document(done)
    assert (done.exit_code, begun["canary"], begun["verdict"]) == (4, None, None), done.stderr
    assert begun["examples"]["verdict"] == "ship"
    assert "Canary trial has begun, and has no report yet." in begun["reasons"]
    with httpx2.Client(headers={"authorization": "Bearer k"}) as http:
        for number in range(40):
            body = {"model": "gpt-4o", "user": f"u{number}", "messages": [{"role": "user", "content": "Hi"}]}
            assert http.post(f"{server.traffic}/v1/chat/completions", json=body).status_code == 200
    report = CliRunner().invoke(app, ["report", "trial", *where, "-f", "json"])
    kept = {each["layer"]: each for each in json.loads(report.stdout)["details"]["benchmarks"]}
    assert kept["synthetic"]["candidate"] == 0.95
    assert (kept["synthetic"]["verdict"], kept["real"]["verdict"]) == ("ship", "ship")
    shown = " ".join(CliRunner().invoke(app, ["report", "trial", *where]).stdout.split())
    assert "95.0 % right" in shown
    assert "3 new failures in 60 examples" in shown

    order = ["decide", "trial", "--decision", "extend", "--by", "ann", "--reason", "more"]
    assert CliRunner().invoke(app, [*order, "--data", str(server.data)]).exit_code == 0

    def archived() -> Any:
        told = CliRunner().invoke(app, ["archive", "list", *where, "-o", "json"])
        return json.loads(told.stdout)["evaluations"]

    (evaluation,) = eventually(archived)
    assert evaluation["synthetic"] == pytest.approx(95)

    def again() -> dict[str, Any] | None:
        found = document(CliRunner().invoke(app, ["bench", "new", *where, "-o", "json"]))
        return found if found["canary"] is not None else None

    found = eventually(again)
    assert found["canary"]["name"] == "trial"
    assert [each["layer"] for each in found["canary"]["layers"]] == ["user_experience", "business"]
    assert (found["family"]["vendor"], found["family"]["evaluations"]) == ("openai", 1)

    rolled_back = ["rollback", "trial", "--reason", "refunds", "--data", str(server.data)]
    assert CliRunner().invoke(app, rolled_back).exit_code == 0
    file = folder / "release.json"
    ended = CliRunner().invoke(app, ["bench", "new", *where, "-o", "json", "--report", str(file)])
    shown = CliRunner().invoke(app, ["release", "show", "new", *where, "-o", "json"])
    told = [document(ended), json.loads(file.read_text()), json.loads(shown.stdout)]
    assert (ended.exit_code, [each["verdict"] for each in told]) == (3, ["dont_ship"] * 3)
    assert told[0]["reasons"] == told[1]["reasons"] == told[2]["reasons"]
    assert (told[0]["examples"]["verdict"], told[1]["benchmark"]["verdict"]) == ("ship", "ship")
    assert any("was rolled back by" in each for each in told[0]["reasons"])


def test_the_verdict_of_a_release_is_one_in_json_report_release_page_and_exit_code(
    folder: Path, provider: ProviderThread, serve: Callable[..., Running]
) -> None:
    text = CONFIG.format(url=provider.url).replace("share: 5%", "share: 5%\n    start: manual")
    server = serve(text, workers=1)
    for name in ("capitals", "letters"):
        server.config.with_name(f"{name}.jsonl").write_text((folder / f"{name}.jsonl").read_text())
    where = ["--config", str(server.config), "--data", str(server.data)]
    file = folder / "release.json"
    admin = {"base_url": server.admin, "headers": {"authorization": f"Bearer {server.token}"}}
    for current, wrong, code, verdict, headline in (
        (0, 0, 0, "ship", "Ship, by examples only"),
        (0, 30, 3, "dont_ship", "Don’t ship"),
        (8, 8, 4, "extend", "Not enough examples to decide"),
    ):
        provider.behave("old", Behaviour(says=knows(wrong=current)))
        provider.behave("new", Behaviour(says=knows(wrong=wrong)))
        done = CliRunner().invoke(app, ["bench", "new", *where, "-o", "json", "--report", str(file)])
        shown = CliRunner().invoke(app, ["release", "show", "new", *where, "-o", "json"])
        told = [document(done), json.loads(file.read_text()), document(shown)]
        assert (done.exit_code, [each["verdict"] for each in told]) == (code, [verdict] * 3), wrong
        assert told[0]["reasons"] == told[1]["reasons"] == told[2]["reasons"]
        with httpx2.Client(**admin, trust_env=False, timeout=30) as http:
            page = http.get(f"/releases/{told[2]['id']}").text
            kept = http.get(f"/api/releases/{told[2]['id']}").json()
        assert f"{headline}: openai/new against openai/old" in page
        assert (kept["verdict"], kept["reasons"]) == (verdict, told[0]["reasons"])
        said = " ".join(done.stderr.split())
        assert f"{headline}: openai/new against openai/old" in said


def test_a_model_without_users_has_a_forecast_from_its_benchmark_and_the_traffic_of_now(
    folder: Path, provider: ProviderThread
) -> None:
    provider.behave("new", Behaviour(says=knows()))
    now = time.time()
    waiting: dict[str, Any] = {
        "canary": "trial", "run": 0, "phase": 0, "share": 0.0, "arm": "baseline", "reason": "stopped",
        "outcome": "ok", "provider": "openai", "model_requested": "gpt-4o", "cost_usd": 0.5,
    }  # fmt: skip
    (folder / "data").mkdir()
    with closing(Store.open("sqlite:///canary.db", folder / "data")) as store:
        asked = [replace(an_outcome(n), at=now - 2 * 86400 + n, **waiting) for n in range(10)]
        store.ship(a_batch(*asked))
        found = document(bench(folder, "new", "-o", "json"))["forecast"]
        kept = Benchmarks(store).latest("openai/new", "openai/old")
    assert (found["source"], found["layer"], found["requests_a_month"]) == ("benchmark", "real", 150)
    assert found["baseline_usd"] == pytest.approx(75, rel=0.01)
    assert found["saving_usd"]["estimate"] == pytest.approx(37.5, rel=0.01)
    assert kept is not None
    assert kept["forecast"] == found
    text = " ".join(bench(folder, "new").stdout.split())
    assert "Forecast: would save about $37.5" in text
    assert "from its benchmark, not from users" in text


def test_a_known_issue_is_rechecked_on_a_model_and_in_every_benchmark(
    folder: Path, provider: ProviderThread
) -> None:
    provider.behave("new", Behaviour(says=knows(wrong=1)))
    where = ["--config", str(folder / "canary.yaml")]
    environment = {"CANARY_DATA": str(folder / "data")}

    def issues(*words: str) -> Result:
        return CliRunner().invoke(app, ["issues", *words, *where], env=environment)

    assert issues("recheck", "new").exit_code == 1
    for city in CITIES[:2]:
        told = ["writes a formula", "--example", f"capitals:{city}", "--since", "openai/old"]
        assert issues("add", *told).exit_code == 0
    assert "known issue already" in issues("add", *told).stderr
    assert "0 examples with the id" in issues("add", "x", "--example", "capitals:nowhere").stderr
    assert "no text of exchange" in issues("add", "x", "--from", "nothing").stderr
    assert issues("add", "x").exit_code == 2
    line = {"id": "c", "task": "exact", "input": f"Capital of {CITIES[2]}?", "expected": "?"}
    old = {"example": line, "what": "guesses", "since": "old", "at": "2026-11-25", "by": "ann"}
    (folder / "known-issues.jsonl").write_text(json.dumps(old))  # the file still counts
    guesses, formula = json.loads(issues("list", "-o", "json").stdout)["issues"]
    assert (guesses["name"], guesses["models"]) == ("guesses", [])
    assert [each["id"] for each in formula["examples"]] == CITIES[:2]
    assert [(each["model"], each["state"]) for each in formula["models"]] == [("openai/old", "has")]
    (folder / "known-issues.jsonl").unlink()
    done = issues("recheck", "new", "-o", "json")
    found = json.loads(done.stdout)
    assert (done.exit_code, found["still_there"], found["gone"]) == (3, 1, 0)
    (wrong, right) = found["issues"][0]["examples"]
    assert (wrong["id"], wrong["answer"], right["state"]) == (CITIES[0], "=HYPERLINK(1)", "gone")
    assert issues("recheck", "old").exit_code == 0
    provider.behave("old", Behaviour(faults={"status": 1}))
    assert issues("recheck", "old").exit_code == 4
    provider.behave("old", Behaviour(says=knows()))
    done = bench(folder, "new", "--dataset", "letters")
    assert "openai/new: 1 of 1 known issues still there" in done.stdout
    assert f"still there  writes a formula ({CITIES[0]})" in done.stdout
    (mode,) = json.loads(issues("list", "-o", "json").stdout)["issues"]
    told = [(each["model"], each["state"]) for each in mode["models"]]
    assert told == [("openai/old", "unknown"), ("openai/new", "has")]
    assert re.search(r"\n  openai/new: has it, since \d{4}-\d\d-\d\d\n", issues("list").stdout)
    assert issues("remove", "writes a formula").exit_code == 0
    assert json.loads(issues("list", "-o", "json").stdout) == {"issues": []}
    with closing(Store.open("sqlite:///canary.db", folder / "data")) as store:
        about = {"provider": "openai", "model": "new", "at": time.time(), "expires_at": time.time() + 60}
        CaptureStore(store).add([a_capture("ex-1", **about)], now=time.time())
    assert issues("add", "guesses", "--description", "Says blue.", "--from", "ex-1").exit_code == 0
    assert issues("recheck", "new").exit_code == 4  # nobody marks it
    judged(folder, "openai/judge")
    provider.behave("judge", Behaviour(says={"guesses. Says blue.": "It does not.\nMARK: 5"}))
    assert issues("recheck", "new").exit_code == 0
    (mode,) = json.loads(issues("list", "-o", "json").stdout)["issues"]
    assert [(each["model"], each["state"]) for each in mode["models"]] == [("openai/new", "cured")]
    assert re.search(r"letters \d+ s, known issues \d+ s$", done.stdout)


def judged(folder: Path, judge: str | None, *, expected: str | None = "a good answer") -> None:
    """Add a dataset of ten examples for a judge to the config."""
    named = f", judge: {judge}" if judge is not None else ""
    with (folder / "canary.yaml").open("a") as config:
        config.write(f"  open: {{file: open.jsonl, layer: synthetic{named}}}\n")
    lines: list[dict[str, Any]] = [
        {"id": f"o-{each}", "task": "judge", "input": each, "expected": expected} for each in CITIES[:10]
    ]
    (folder / "open.jsonl").write_text("\n".join(map(json.dumps, lines)))


@pytest.mark.parametrize("words", [["new"], ["--dry"]])
def test_a_missing_judge_is_found_before_the_first_request(
    folder: Path, provider: ProviderThread, words: list[str]
) -> None:
    judged(folder, None)  # the last of three datasets
    done = bench(folder, *words)
    assert (done.exit_code, provider.log.entries) == (1, [])
    says = "open: example o-City000 needs a judge, as `judge: PROVIDER/MODEL`: "
    assert done.stderr == f"{says}set it for this dataset in the config\n"


def test_the_configs_judge_marks_a_dataset_that_names_none_unless_it_is_one_of_the_models(
    folder: Path, provider: ProviderThread
) -> None:
    judged(folder, None)
    config = folder / "canary.yaml"
    priced = config.read_text().replace("prices:\n", "prices:\n  judge: {input: 1.0, output: 1.0}\n")
    config.write_text(f"judge: {{provider: openai, model: judge, daily_budget: 1}}\n{priced}")
    provider.behave("judge", Behaviour(says={"grade": "Good.\nMARK: 5"}))
    done = bench(folder, "new", "--dataset", "open", "-o", "json")
    (layer,) = json.loads(done.stdout)["layers"]
    assert layer["candidate"]["correct"] == 10, done.stderr
    provider.log.clear()
    refused = bench(folder, "judge", "--dataset", "open")
    assert (refused.exit_code, provider.log.entries) == (1, [])
    assert "the config's, openai/judge, is one of the models that it would mark" in refused.stderr


def test_a_judge_without_a_key_is_found_before_the_first_request(
    folder: Path, provider: ProviderThread
) -> None:
    config = folder / "canary.yaml"
    keyless = f'\n  keyless: {{api: anthropic, base_url: "{provider.url}"}}\ncanaries:'
    config.write_text(config.read_text().replace("\ncanaries:", keyless))
    judged(folder, "keyless/judge")
    done = bench(folder, "new", ANTHROPIC_API_KEY="")
    assert (done.exit_code, provider.log.entries) == (1, [])
    assert "no key for keyless" in done.stderr


def test_a_dataset_without_expected_answers_ends_with_one_before_the_first_request(
    folder: Path, provider: ProviderThread
) -> None:
    judged(folder, "openai/judge", expected=None)
    for words in (["new"], ["--dry"]):
        done = bench(folder, *words)
        assert (done.exit_code, provider.log.entries) == (1, [])
        assert "open: no example has an expected answer" in done.stderr


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        (Behaviour(says={"grade": "I would rather not say."}), "no line with MARK"),
        (Behaviour(faults={"status": 1}, status=404), "caller_not_found"),
    ],
)
def test_a_judge_that_gives_no_mark_ends_with_one_and_says_why(
    folder: Path, provider: ProviderThread, behaviour: Behaviour, why: str
) -> None:
    judged(folder, "openai/judge")
    provider.behave("judge", behaviour)
    for words in (["new"], ["--dry"]):
        done = bench(folder, *words, "--dataset", "open")
        assert (done.exit_code, done.stdout) == (1, "")
        assert f"open: the judge openai/judge gave no mark; the first time: {why}" in done.stderr
        if behaviour.faults:  # it was not asked about the rest
            assert len(provider.log.of("judge")) < 8 + 4
            provider.log.clear()


@pytest.mark.parametrize(
    "broken",
    [
        Behaviour(says={"grade": "I would rather not say."}),
        Behaviour(faults={"status": 1}, status=401),
        Behaviour(says={"grade": "MARK: 5"}, faults={"status": 0.5}, status=503),
    ],
)
def test_a_judge_that_was_mended_is_asked_again_about_the_saved_answers(
    folder: Path, provider: ProviderThread, broken: Behaviour
) -> None:
    judged(folder, "openai/judge")
    provider.behave("judge", broken)
    words = ["new", "--dataset", "open", "-o", "json"]
    first = bench(folder, *words)
    assert first.exit_code in (1, 4), first.stderr
    assert "the answers are kept: the same command asks only what is missing" in first.stderr
    marked = sum(each.status == 200 for each in provider.log.of("judge")) if broken.faults else 0
    before = Counter(each.model for each in provider.log.entries)
    provider.behave("judge", Behaviour(says={"grade": "Good.\nMARK: 5"}))
    second = bench(folder, *words)
    assert second.exit_code == 4, second.stderr
    found = document(second)["layers"][0]["datasets"][0]
    assert (found["unjudged"], found["candidate"]["correct"]) == (0, 10)
    asked = Counter(each.model for each in provider.log.entries)
    assert 20 <= asked["old"] + asked["new"] <= 20 + 4, "only what was being asked when it gave up is lost"
    again = asked["judge"] - before["judge"]
    assert 0 < again <= 20 - marked + 4, "marks that were saved are not paid for twice"
    assert "answers were saved by a run that did not end well; they are not asked again" in second.stderr
    assert not list((folder / "data" / "bench").iterdir())


def test_one_mark_in_ten_is_too_little_to_tell_but_no_error(folder: Path, provider: ProviderThread) -> None:
    judged(folder, "openai/judge")
    provider.behave("judge", Behaviour(says={CITIES[0]: "Good. MARK: 5"}))
    done = bench(folder, "new", "--dataset", "open", "-o", "json")
    assert done.exit_code == 4, done.stderr
    dataset = document(done)["layers"][0]["datasets"][0]
    assert dataset["unjudged"] == 9
    assert dataset["judge"] == {"provider": "openai", "model": "judge", "words_sha256": WORDS_SHA256}


def test_a_model_that_answers_nothing_ends_with_one(folder: Path, provider: ProviderThread) -> None:
    provider.behave("old", Behaviour(faults={"status": 1}, status=404))
    for words in (["new"], ["--dry"]):
        done = bench(folder, *words, "--dataset", "capitals")
        assert done.exit_code == 1
        assert (
            "capitals: the current model answered no example; the first failure is caller_not_found"
            in done.stderr
        )


def test_an_ambiguous_name_is_refused_with_what_to_write(folder: Path, provider: ProviderThread) -> None:
    config = folder / "canary.yaml"
    azure = f'\n  azure: {{api: openai, base_url: "{provider.url}/v1", api_key: a}}\ncanaries:'
    config.write_text(config.read_text().replace("\ncanaries:", azure))
    done = bench(folder, "new", "--against", "unknown")
    assert (done.exit_code, provider.log.entries) == (2, [])
    assert done.stderr == "unknown is ambiguous; write openai/unknown or azure/unknown\n"


@pytest.mark.parametrize("ends", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.more)])
def test_a_benchmark_that_was_killed_asks_only_what_is_left(
    folder: Path, provider: ProviderThread, ends: signal.Signals
) -> None:
    provider.behave("old", Behaviour(says=knows(), ttfb_s=0.05))
    provider.behave("new", Behaviour(says=knows(), ttfb_s=0.05))
    script = Path(__file__).parents[2] / "benchmark.sh"
    where = ["--config", str(folder / "canary.yaml"), "--data", str(folder / "data"), "-o", "json"]
    first = subprocess.Popen(
        [script, "new", *where], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    eventually(lambda: len(provider.log.entries) >= 40)
    first.send_signal(ends)
    _, said = first.communicate()
    asked = len(provider.log.entries)
    kept = sum(len(file.read_bytes().splitlines()) for file in (folder / "data" / "bench").iterdir())
    assert asked - 4 <= kept <= asked < 240
    if ends == signal.SIGINT:
        assert first.returncode == 130
        assert said.endswith(
            f"interrupted; {kept} of the answers are kept: the same command asks only what is missing\n"
        )
    second = subprocess.run(
        [script, "new", *where], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert second.returncode == 0, second.stderr
    assert f"{kept} answers were saved by a run that did not end well" in second.stderr
    assert len(provider.log.entries) == asked + 240 - kept
    layers = json.loads(second.stdout)["layers"]
    assert sum(each[side]["timed"] for each in layers for side in ("baseline", "candidate")) == 240 - kept


CURED = "model: new, request: {rename: {max_tokens: max_completion_tokens}, remove: [temperature]}}"


def with_parameters(folder: Path, provider: ProviderThread) -> None:
    """Both datasets have parameters that `new` refuses."""
    provider.behave("new", Behaviour(says=knows(), rejects=("temperature", "max_tokens")))
    for name in ("capitals", "letters"):
        file = folder / f"{name}.jsonl"
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        asked = {"parameters": {"temperature": 0, "max_tokens": 64}}
        file.write_text("\n".join(json.dumps({**line, **asked}) for line in lines))


def test_a_candidate_that_refuses_the_datasets_parameters_does_not_ship_until_its_requests_are_adapted(
    folder: Path, provider: ProviderThread
) -> None:
    with_parameters(folder, provider)
    refused = bench(folder, "new", "-o", "json")
    assert refused.exit_code == 3
    assert document(refused)["reasons"][0].startswith(
        "Examples: capitals: refuses every request; 60 times caller_rejected: unsupported_parameter: "
    )
    config = folder / "canary.yaml"
    config.write_text(config.read_text().replace("model: new}", CURED))
    assert bench(folder, "new", "-o", "json").exit_code == 0


@pytest.mark.more
def test_through_the_proxy_the_proxy_adapts_the_requests(
    folder: Path, provider: ProviderThread, serve: Callable[..., Running]
) -> None:
    with_parameters(folder, provider)
    config = folder / "canary.yaml"
    config.write_text(config.read_text().replace("model: new}", CURED))
    server = serve(config.read_text(), workers=1, CANARY_PIN_TOKEN="pin")
    provider.log.clear()  # the preflight's
    words = [
        "new",
        "--dataset",
        "capitals",
        "--config",
        str(config),
        "--data",
        str(server.data),
        "-o",
        "json",
    ]
    done = CliRunner().invoke(app, ["bench", *words], env={**os.environ, "CANARY_PIN_TOKEN": "pin"})
    assert (done.exit_code, document(done)["via"]) == (0, "proxy")
    sent = [entry.json for entry in provider.log.of("new")]
    assert [sorted(each) for each in sent] == [["max_completion_tokens", "messages", "model"]] * 60


def test_similar_answers_are_scored_by_embeddings_where_the_config_names_a_model(
    folder: Path, provider: ProviderThread
) -> None:
    provider.behave("old", Behaviour(says={"refund": "It comes back in a week."}))
    provider.behave("new", Behaviour(says={"refund": "Seven days at most."}))
    lines = [
        {
            "id": each,
            "task": "similar",
            "input": f"{each}: my refund?",
            "expected": "It comes back in a week.",
        }
        for each in CITIES
    ]
    (folder / "letters.jsonl").write_text("\n".join(map(json.dumps, lines)))
    words = ["new", "--dataset", "letters"]
    by_words = bench(folder, *words, "-o", "json")
    assert (by_words.exit_code, document(by_words)["similar_by"]) == (3, "words")
    provider.behave("meanings", Behaviour(means={"Seven days at most.": "It comes back in a week."}))
    config = folder / "canary.yaml"
    more = "  meanings: {input: 1, output: 0}\n"
    text = config.read_text().replace("datasets:\n", f"{more}datasets:\n")
    config.write_text(f"{text}embeddings: {{provider: openai, model: meanings}}\n")
    found = document(bench(folder, *words, "-o", "json"))
    assert found["similar_by"] == "openai/meanings"
    side = found["layers"][0]["candidate"]
    assert (side["correct"], side["score"]) == (60, pytest.approx(1.0))
    assert found["embedding_cost_usd"] == pytest.approx((3 + 6 + 3 + 5) / 1e6)
    assert "by openai/meanings for $0.0000170" in " ".join(bench(folder, *words).stdout.split())
    assert document(bench(folder, "new", "--dataset", "capitals", "-o", "json"))["similar_by"] is None
    where = ["--config", str(config)]
    told = ["issues", "add", "denies a refund", "--example", f"letters:{CITIES[0]}"]
    assert CliRunner().invoke(app, [*told, *where]).exit_code == 0
    again = CliRunner().invoke(app, ["issues", "recheck", "new", *where, "-o", "json"])
    assert json.loads(again.stdout)["gone"] == 1
    provider.behave("meanings", Behaviour(faults={"status": 1}, status=401))
    provider.log.clear()
    failed = bench(folder, *words)
    assert failed.exit_code == 1
    assert "openai/meanings gave no embeddings: caller_unauthorized" in failed.stderr
    assert {each.model for each in provider.log.entries} == {"meanings"}


def test_the_results_are_told_apart_by_the_current_models_confidence(
    folder: Path, provider: ProviderThread
) -> None:
    config = folder / "canary.yaml"
    config.write_text(config.read_text().replace("layer: real}", "layer: real, confidence: logprobs}"))
    sure = {f"Letter of {each}": (0.95 if number % 2 else 0.4) for number, each in enumerate(CITIES)}
    wrong = {f"Letter of {each}": "praise" for each in CITIES[:20:2]}
    provider.behave("old", Behaviour(says=knows(), sure=sure))
    provider.behave("new", Behaviour(says={**wrong, **knows()}, rejects=("logprobs",)))
    words = ["new", "--dataset", "letters"]
    found = document(bench(folder, *words, "-o", "json"))["layers"][0]["datasets"][0]["confidence"]
    assert (found["by"], found["threshold"], found["unknown"]) == (["baseline"], pytest.approx(0.675), 0)
    right = {level: [found[level][side]["correct"] for side in ("baseline", "candidate")] for level in LEVELS}
    assert right == {"high": [30, 30], "low": [30, 20]}
    text = " ".join(bench(folder, *words).stdout.split())
    assert (
        "letters, confidence: by the current model's token probabilities, split at their median 0.675" in text
    )
    assert "low confidence 30 100.0 %" in text
    provider.behave("old", Behaviour(says=knows(), rejects=("logprobs",)))
    text = " ".join(bench(folder, *words).stdout.split())
    assert "letters, confidence: unknown: no model gives log probabilities" in text
    capitals = document(bench(folder, "new", "--dataset", "capitals", "-o", "json"))
    assert capitals["layers"][0]["datasets"][0]["confidence"] is None


LEVELS = ("high", "low")


def with_a_judge(folder: Path, provider: ProviderThread) -> None:
    """A judge who takes the answer that names the city; it does not like City000, and of City001 it takes the
    first answer. `old` is wrong of 20 cities, `new` of 30 others."""
    config = folder / "canary.yaml"
    judge = "judge: {provider: openai, model: judge, daily_budget: 0.01}\n"
    config.write_text(
        f"{judge}{config.read_text()}".replace("prices:\n", "prices:\n  judge: {input: 1, output: 2}\n")
    )
    wrong = {f"Where is {each}?": "far away" for each in CITIES[:50]}
    right = {f"Where is {each}?": f"in {each}" for each in CITIES}
    provider.behave(
        "old", Behaviour(says={**right, **dict(list(wrong.items())[:20]), "Letter of": "complaint"})
    )
    provider.behave(
        "new", Behaviour(says={**right, **dict(list(wrong.items())[20:]), "Letter of": "complaint"})
    )
    taste = {
        "Where is City000?": "I would rather not say.",
        "Where is City001?": "BETTER: A",
        "=== ANSWER A ===\nin City": "It names the place.\nBETTER: A",
        "=== ANSWER B ===\nin City": "It names the place.\nBETTER: B",
    }
    provider.behave("judge", Behaviour(says=taste))


def test_a_judge_compares_both_answers_in_both_orders_and_agrees_with_the_dataset(
    folder: Path, provider: ProviderThread
) -> None:
    with_a_judge(folder, provider)
    file, report = folder / "wrong.csv", folder / "release.html"
    done = bench(folder, "new", "--judge", "-o", "json", "--failures", str(file), "--report", str(report))
    assert done.exit_code == 3, done.stderr
    assert "the judge on capitals: 60 of 60 answers" in done.stderr
    found = document(done)["judge"]
    assert (found["provider"], found["model"], found["criteria"]) == ("openai", "judge", CRITERIA)
    assert found["words_sha256"] == words_sha256("pair", CRITERIA)
    capitals, letters = found["datasets"]
    counts = [capitals[each] for each in ("pairs", "won", "tie", "lost", "no_mark", "alike")]
    assert counts == [60, 18, 11, 30, 1, 10]
    assert capitals["judged_preference"]["estimate"] == pytest.approx((18 + 11 / 2) / 59)
    assert capitals["order_decided"] == 1 / 49
    assert capitals["lost_examples"] == CITIES[20:50]
    assert capitals["agreement"]["labels"] == 49
    assert capitals["agreement"]["share"]["estimate"] == 48 / 49
    assert 0.85 < capitals["agreement"]["kappa"]["low"] < capitals["agreement"]["kappa"]["estimate"] < 1
    assert [each["value"] for each in capitals["categories"]] == ["geo"]
    assert (letters["tie"], letters["alike"], letters["cost_usd"]) == (60, 60, None)
    asked = provider.log.of("judge")
    assert len(asked) == 100
    assert {entry.json["max_completion_tokens"] for entry in asked} == {2048}
    assert not any(
        name in str(entry.json["messages"]) for entry in asked for name in ("old", "new", "openai")
    )
    rows = {row["id"]: row for row in csv.DictReader(file.read_text(encoding="utf-8").splitlines())}
    assert (rows[CITIES[20]]["judged"], rows[CITIES[20]]["judge_reason"]) == (
        "baseline",
        "It names the place. (A: current model, B: candidate)",
    )
    shown = report.read_text(encoding="utf-8")
    assert "What the judge openai/judge says of both answers" in shown
    assert "it agrees with the datasets on 98.0 % (89.3 to 99.6) of 49 pairs" in shown


@pytest.mark.more
def test_the_judges_word_stands_in_the_text_and_decides_nothing(
    folder: Path, provider: ProviderThread
) -> None:
    with_a_judge(folder, provider)
    plain, judged = bench(folder, "new"), bench(folder, "new", "--judge")
    assert plain.exit_code == judged.exit_code == 3
    text = " ".join(judged.stdout.split())
    assert "What openai/judge says of both answers (words" in text
    assert "no preference of openai/judge can be told, because the interval includes 50 %" in text
    assert (
        "preferred in 45.0 % (39.4 to 50.7) of the pairs, a tie counting half: 18 won, 71 ties (70 of" in text
    )
    assert "What openai/judge" not in plain.stdout
    assert re.search(r"capitals +60 +18 +11 +30 +1 +40 % \(", judged.stdout)


@pytest.mark.more
def test_a_sanity_check_is_judged_on_its_few_examples(folder: Path, provider: ProviderThread) -> None:
    with_a_judge(folder, provider)
    found = document(bench(folder, "new", "--judge", "--quick", "-o", "json"))["judge"]
    assert [each["pairs"] for each in found["datasets"]] == [20, 20]
    assert found["agreement"] == {
        "labels": found["pairs"] - found["alike"] - found["no_mark"],
        "share": None,
        "kappa": None,
    }
    assert "what that is worth is not known" in found["says"][-1]


def test_a_judge_without_a_readable_word_prefers_nobody(folder: Path, provider: ProviderThread) -> None:
    with_a_judge(folder, provider)
    provider.behave("judge", Behaviour(says={"compare": "Both have their merits."}))
    found = document(bench(folder, "new", "--judge", "--dataset", "capitals", "-o", "json"))["judge"]
    assert (found["no_mark"], found["judged_preference"], found["order_decided"]) == (50, None, None)
    assert found["says"] == ["openai/judge marked none of 50 pairs; the first time: Both have their merits."]
    assert found["agreement"]["labels"] == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            ("judge: {provider: openai, model: judge, daily_budget: 0.01}", ""),
            "--judge needs a judge: name one",
        ),
        (("  judge: {input: 1, output: 2}\n", ""), "the judge openai/judge has no known price"),
        (
            ("{provider: openai, model: judge,", "{provider: openai, model: eu/new-2026-11-01,"),
            "is the new model of",
        ),
        (("{provider: openai, model: judge,", "{provider: openai, model: old,"), "is the current model of"),
    ],
)
def test_a_judge_that_cannot_be_asked_is_refused_before_the_first_request(
    folder: Path, provider: ProviderThread, change: tuple[str, str], said: str
) -> None:
    with_a_judge(folder, provider)
    config = folder / "canary.yaml"
    config.write_text(config.read_text().replace(*change))
    done = bench(folder, "new", "--judge")
    assert (done.exit_code, provider.log.entries) == (1, [])
    assert said in done.stderr


def test_the_current_model_alone_has_nothing_to_be_compared_with(
    folder: Path, provider: ProviderThread
) -> None:
    with_a_judge(folder, provider)
    done = bench(folder, "--dry", "--judge")
    assert (done.exit_code, provider.log.entries) == (2, [])
    assert "--judge compares two models" in done.stderr
