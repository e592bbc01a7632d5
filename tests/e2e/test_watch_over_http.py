"""`canary watch`: a model that the provider lists anew is told, once, and its benchmark is run."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from canary.cli import app
from demo.provider.behaviour import Behaviour
from pages.words.reasons import sentences
from records.store import Store
from records.store.releases import Releases
from records.store.reports import Evaluations
from tests.e2e.receivers import Hook, listening_hook
from tests.serving import ProviderThread, Running, eventually
from tests.verdict.archived import a_release
from verdict.archive.evaluations import to_stored

CONFIG = """\
providers:
  openai: {{api: openai, base_url: "{url}/v1", api_key: k}}
canaries:
  - name: trial
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: old}}
    candidate: {{provider: openai, model: older}}
    share: 5%
    owner: anna@example.com
datasets:
  sums: {{file: sums.jsonl, layer: synthetic}}
notify: [{{webhook: "{hook}"}}]
prices:
  old: {{input: 1, output: 2}}
  older: {{input: 1, output: 2}}
  gpt-new: {{input: 1, output: 2}}
  gpt-good: {{input: 1, output: 2}}
  gpt-dear: {{input: 30, output: 60}}
"""

NONE: dict[str, list[str]] = {"retiring": []}
OTHERS = """\
  claude: {{api: anthropic, base_url: "{url}", api_key: k}}
  google: {{api: gemini, base_url: "{url}", api_key: k}}
"""


@pytest.fixture
def hook() -> Iterator[Hook]:
    with listening_hook() as listening:
        yield listening


def watch(folder: Path, *words: str) -> Result:
    where = ["--config", str(folder / "canary.yaml"), "--data", str(folder / "data")]
    return CliRunner().invoke(app, ["watch", "--once", *words, *where])


def set_up(folder: Path, url: str, hook: str, others: str = "") -> None:
    """`others`: providers beside openai."""
    text = CONFIG.replace("canaries:\n", f"{others}canaries:\n")
    (folder / "canary.yaml").write_text(text.format(url=url, hook=hook))
    sums(folder)


def sums(folder: Path) -> None:
    lines = [
        {"id": str(n), "task": "exact", "input": f"{n} + 1 = ?", "expected": str(n + 1)} for n in range(60)
    ]
    (folder / "sums.jsonl").write_text("\n".join(map(json.dumps, lines)))


def test_a_new_model_is_told_once_and_measured(tmp_path: Path, provider: ProviderThread, hook: Hook) -> None:
    set_up(tmp_path, provider.url, hook.url, OTHERS)
    knows = Behaviour(says={f"{n} + 1 = ?": str(n + 1) for n in reversed(range(60))})
    provider.behave("old", knows)
    first = watch(tmp_path, "--bench", "-o", "json")
    assert first.exit_code == 0, first.stderr
    listed = {"openai": 1, "claude": 1, "google": 1}
    assert json.loads(first.stdout) == {"new": [], "listed": listed, "measured": {}, "pending": {}, **NONE}
    assert hook.bodies == []
    provider.behave("gpt-new", knows)
    provider.behave("tts-new", Behaviour())
    second = watch(tmp_path, "--bench", "--match", "gpt-*")
    assert second.exit_code == 0, second.stderr
    names = ["claude/gpt-new", "google/gpt-new", "openai/gpt-new"]
    ordered = (names[2], *names[:2])
    ended = [f"{each}: its benchmark against openai/old says ship" for each in ordered]
    assert second.stdout.splitlines() == [*(f"{each} is a new model" for each in ordered), *ended]
    released = [each["model"] for each in hook.bodies if each["event"] == "model_released"]
    assert sorted(released) == names
    finished = {
        each["model"]: each["headline"] for each in hook.bodies if each["event"] == "benchmark_finished"
    }
    assert finished == {each: f"{each}: its benchmark against openai/old says ship" for each in names}
    owners = {each["event"]: each["owner"] for each in hook.bodies}
    assert owners == {"model_released": None, "benchmark_finished": "anna@example.com"}
    third = watch(tmp_path, "--bench")
    assert (third.exit_code, "no new model; openai lists 3" in third.stderr) == (0, True), third.stderr
    assert len(hook.bodies) == 6
    with closing(Store.open("sqlite:///canary.db", tmp_path / "data")) as store:
        releases = {each.candidate: each.noticed_at is not None for each in Releases(store).all()}
    assert releases == dict.fromkeys(names, True)
    assert "write PROVIDER/MODEL" in watch(tmp_path, "--again", "gpt-new").stderr


def test_who_could_not_be_told_is_told_at_the_next_look(
    tmp_path: Path, provider: ProviderThread, hook: Hook
) -> None:
    set_up(tmp_path, provider.url, hook.url, OTHERS)
    provider.behave("old", Behaviour())
    watch(tmp_path)
    provider.behave("new", Behaviour())
    with listening_hook() as other:
        address = other.url
    config = tmp_path / "canary.yaml"
    both = config.read_text().replace("notify: [", f'notify: [{{webhook: "{address}"}}, ')
    config.write_text(both)
    done = watch(tmp_path)
    assert "webhook was not told of openai/new" in done.stderr
    assert len(hook.bodies) == 3
    waiting = json.loads((tmp_path / "data" / "watch.json").read_text())["untold"]
    assert {len(receivers) for receivers in waiting.values()} == {1}
    assert address not in json.dumps(waiting)
    set_up(tmp_path, provider.url, hook.url, OTHERS)
    assert watch(tmp_path).exit_code == 0
    assert len(hook.bodies) == 3


def test_a_provider_that_cannot_be_asked_is_named_and_forgets_nothing(
    tmp_path: Path, provider: ProviderThread, hook: Hook
) -> None:
    set_up(tmp_path, provider.url, hook.url, OTHERS)
    provider.behave("old", Behaviour())
    watch(tmp_path)
    set_up(tmp_path, "http://127.0.0.1:9", hook.url, OTHERS)
    done = watch(tmp_path, "-o", "json")
    assert done.exit_code == 1
    assert "openai: ConnectError" in done.stderr
    assert json.loads(done.stdout)["listed"] == {"openai": None, "claude": None, "google": None}
    set_up(tmp_path, provider.url, hook.url, OTHERS)
    assert watch(tmp_path).stdout == ""


def test_models_without_a_price_are_named_beside_the_benchmark(
    tmp_path: Path, provider: ProviderThread, hook: Hook
) -> None:
    set_up(tmp_path, provider.url, hook.url)
    config = tmp_path / "canary.yaml"
    config.write_text(re.sub("^prices:\n(  .*\n)+", "", config.read_text(), flags=re.MULTILINE))
    knows = Behaviour(says={f"{n} + 1 = ?": str(n + 1) for n in reversed(range(60))})
    provider.behave("old", knows)
    watch(tmp_path)
    provider.behave("gpt-new", knows)
    done = watch(tmp_path, "--bench", "--match", "gpt-*")
    assert (
        "openai/gpt-new: its benchmark against openai/old says ship; cost unknown: no price of "
        "baseline openai/old, candidate openai/gpt-new (add `prices` or `price_as`); it waits for a price"
    ) in done.stdout.splitlines()
    assert watch(tmp_path, "--bench", "--match", "gpt-*").stdout == ""
    priced = "prices: {old: {input: 1, output: 2}, gpt-new: {input: 1, output: 2}}\n"
    config.write_text(config.read_text() + priced)
    done = watch(tmp_path, "--bench", "--match", "gpt-*")
    assert "openai/gpt-new: its benchmark against openai/old says ship" in done.stdout.splitlines()
    assert watch(tmp_path, "--bench", "--match", "gpt-*").stdout == ""


def test_a_model_without_enough_labels_waits_for_them_or_is_forced(
    tmp_path: Path, provider: ProviderThread, hook: Hook
) -> None:
    set_up(tmp_path, provider.url, hook.url)
    whole = (tmp_path / "sums.jsonl").read_text()
    (tmp_path / "sums.jsonl").write_text("\n".join(whole.splitlines()[:20]))
    knows = Behaviour(says={f"{n} + 1 = ?": str(n + 1) for n in reversed(range(60))})
    provider.behave("old", knows)
    watch(tmp_path)
    provider.behave("gpt-new", knows)
    flags = ("--bench", "--match", "gpt-*", "-o", "json")
    assert {each["verdict"] for each in json.loads(watch(tmp_path, *flags).stdout)["measured"].values()} == {
        "extend"
    }
    told = len(hook.bodies)
    quiet = json.loads(watch(tmp_path, *flags).stdout)
    assert (quiet["measured"], len(hook.bodies)) == ({}, told)
    assert "it waits for its datasets" in quiet["pending"]["openai/gpt-new"]
    forced = json.loads(watch(tmp_path, "--again", "openai/gpt-new", "-o", "json").stdout)
    assert list(forced["measured"]) == ["openai/gpt-new"]
    assert "not listed" in watch(tmp_path, "--again", "gpt-none").stderr
    (tmp_path / "sums.jsonl").write_text(whole)
    done = json.loads(watch(tmp_path, *flags).stdout)
    assert {each["verdict"] for each in done["measured"].values()} == {"ship"}
    assert done["pending"] == {}


def test_a_benchmark_that_cannot_be_run_is_told_and_watching_goes_on(
    tmp_path: Path, provider: ProviderThread, hook: Hook
) -> None:
    set_up(tmp_path, provider.url, hook.url)
    provider.behave("old", Behaviour())
    watch(tmp_path)
    provider.behave("new", Behaviour())
    (tmp_path / "sums.jsonl").unlink()
    assert watch(tmp_path, "--bench", "--match", "new").exit_code == 0
    told = [each["headline"] for each in hook.bodies if each["event"] == "benchmark_finished"]
    (said,) = told
    assert "its benchmark failed: " in said and "sums.jsonl" in said


def test_a_watcher_that_runs_follows_its_config(tmp_path: Path, provider: ProviderThread, hook: Hook) -> None:
    with listening_hook() as before:
        set_up(tmp_path, provider.url, before.url)
    provider.behave("old", Behaviour())
    config, log, memory = (tmp_path / name for name in ("canary.yaml", "watch.log", "data/watch.json"))
    command = [sys.executable, "-m", "canary", "watch", "--every", "1s", "--config", str(config)]
    with log.open("wb") as out:
        watching = subprocess.Popen([*command, "--data", str(tmp_path / "data")], stdout=out, stderr=out)
    try:
        eventually(memory.exists)
        config.write_text("providers: none")
        eventually(lambda: "still using the old config" in log.read_text())
        text = CONFIG.format(url=provider.url, hook=hook.url)
        config.write_text(re.sub("(  |provider: )openai", r"\1gemini", text))
        eventually(lambda: "gemini" in json.loads(memory.read_text())["known"])
        provider.behave("new", Behaviour())
        eventually(lambda: [each for each in hook.bodies if each["model"] == "gemini/new"])
    finally:
        watching.kill()
        watching.wait()


def test_a_memory_that_cannot_be_read_is_named(tmp_path: Path, provider: ProviderThread, hook: Hook) -> None:
    set_up(tmp_path, provider.url, hook.url)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "watch.json").write_text("{")
    done = watch(tmp_path)
    assert (done.exit_code, "delete it to begin anew" in done.stderr) == (1, True)


LINE = """\
    rubric: [{metric: error_rate, acceptable: "< 5%", ideal: "< 1%", weight: 1, question: "Enough?"}]
datasets:
"""


COSTLY = LINE.replace(
    "rubric: [",
    'rubric: [{metric: cost_per_request, acceptable: "<= 1.2x baseline", ideal: "<= 1x baseline", weight: 1, '
    'question: "Dearer?"}, ',
)


ANSWERS = {f"{n} + 1 = ?": str(n + 1) for n in reversed(range(60))}
KNOWS, KNOWS_ALL = Behaviour(says=ANSWERS), Behaviour(says={**ANSWERS, "Capital?": "Paris"})


class Line:
    """A standing canary `trial` that tries `older`, and looks for the model after it."""

    def __init__(
        self, provider: ProviderThread, serve: Callable[..., Running], hook: Hook, line: str = LINE
    ) -> None:
        for model in ("old", "older"):
            provider.behave(model, KNOWS)
        text = CONFIG.format(url=provider.url, hook=hook.url).replace("datasets:\n", line)
        text = text.replace("  - name: trial\n", "  - name: trial\n    standing: true\n    settle: 0s\n")
        text = text.replace("candidate: {provider: openai, model: older}", "candidate: {provider: openai}")
        self.text = text
        server = serve(self.text, workers=1)
        sums(server.config.parent)
        self.hook, self.config, self._where = hook, server.config, ["--data", str(server.data)]
        self.data, self.admin = server.data, server.admin
        begun = CliRunner().invoke(app, ["begin", "trial", "--model", "older", *self._where])
        assert begun.exit_code == 0, begun.stderr

    def looked(self, *words: str) -> str:
        look = ["watch", "--once", "--bench", "--match", "gpt-*", "--begin", "trial", *words, *self._where]
        done = CliRunner().invoke(app, [*look, "--config", str(self.config)])
        assert done.exit_code == 0, done.stderr
        said = [each for each in self.hook.bodies if each["event"] == "benchmark_finished"]
        return f"{said[-1]['verdict']}: {said[-1]['headline']}" if said else ""

    def benched(self, model: str, *words: str) -> Result:
        """What a person is told who benchmarks the model by hand."""
        command = ["bench", model, "-o", "json", *words, *self._where, "--config", str(self.config)]
        return CliRunner().invoke(app, command)

    def order(self, word: str, canary: str = "trial-older") -> None:
        more = ["--against-verdict"] if word == "promote" else []
        assert CliRunner().invoke(app, [word, canary, "--reason", "r", *more, *self._where]).exit_code == 0

    def states(self) -> list[tuple[str, str, float]]:
        told = CliRunner().invoke(app, ["status", *self._where, "-o", "json"])
        return [(each["name"], each["state"], each["share"]) for each in json.loads(told.stdout)["canaries"]]


def test_a_model_that_passed_follows_a_rolled_back_canary_by_the_benchmark_it_has(
    provider: ProviderThread, serve: Callable[..., Running], hook: Hook
) -> None:
    line = Line(provider, serve, hook)
    line.looked()
    provider.behave("gpt-good", KNOWS)
    said = line.looked()
    assert "no trial was begun: trial-older is running, and trial tries one model at a time" in said
    assert said.endswith("; it waits for that to change")
    told = len(hook.bodies)
    line.looked()
    assert (line.config.read_text(), len(hook.bodies)) == (line.text, told)
    waiting = (line.data / "watch.json").read_bytes()
    line.order("rollback")
    assert line.looked() == (
        "ship: openai/gpt-good: its benchmark said ship; trial-gpt-good is begun and starts automatically"
    )
    eventually(lambda: line.states() == [("trial-gpt-good", "running", 0.05)])

    line.order("rollback", "trial-gpt-good")
    told = len(hook.bodies)
    (line.data / "watch.json").write_bytes(waiting)  # as if a person had started the canary meanwhile
    line.looked()
    assert (len(hook.bodies), json.loads((line.data / "watch.json").read_text())["pending"]) == (told, {})


def test_a_model_that_a_canary_has_tried_is_no_news(
    provider: ProviderThread, serve: Callable[..., Running], hook: Hook
) -> None:
    line = Line(provider, serve, hook)
    line.looked()
    line.order("rollback")
    where = ["--data", str(line.data)]
    assert CliRunner().invoke(app, ["begin", "trial", "--model", "gpt-early", *where]).exit_code == 0
    eventually(lambda: line.states() == [("trial-gpt-early", "running", 0.05)])
    provider.behave("gpt-early", KNOWS)  # listed a day after somebody began it
    line.looked()
    assert hook.bodies == []
    line.order("rollback", "trial-gpt-early")
    assert CliRunner().invoke(app, ["begin", "trial", "--model", "gpt-next", *where]).exit_code == 0
    memory = json.loads((line.data / "watch.json").read_text())
    del memory["known"]["openai"]["gpt-early"]  # as if it were listed only now, and has left the canaries
    (line.data / "watch.json").write_text(json.dumps(memory))
    line.looked()
    assert hook.bodies == []
    provider.behave("gpt-good", KNOWS)
    line.looked()
    assert {each["model"] for each in hook.bodies} == {"openai/gpt-good"}


def test_our_own_judges_model_is_neither_told_nor_benchmarked(
    tmp_path: Path, provider: ProviderThread, hook: Hook
) -> None:
    set_up(tmp_path, provider.url, hook.url, OTHERS)
    config = tmp_path / "canary.yaml"
    config.write_text(config.read_text() + "judge: {provider: openai, model: gpt-judge, daily_budget: 1}\n")
    provider.behave("old", KNOWS)
    watch(tmp_path, "--bench", "--match", "gpt-*")
    provider.behave("gpt-judge", KNOWS)
    done = json.loads(watch(tmp_path, "--bench", "--match", "gpt-*", "-o", "json").stdout)
    elsewhere = ["claude/gpt-judge", "google/gpt-judge"]
    assert (done["new"], list(done["measured"])) == (elsewhere, elsewhere)
    assert {each["model"] for each in hook.bodies} == set(elsewhere)


def test_a_model_that_passes_follows_a_promoted_canary_and_one_that_does_not_never(
    provider: ProviderThread, serve: Callable[..., Running], hook: Hook
) -> None:
    line = Line(provider, serve, hook)
    known = {"id": "c", "task": "exact", "input": "Capital?", "expected": "Paris"}
    issue = {"example": known, "what": "guesses", "since": "old", "at": "2026-11-25", "by": "ann"}
    line.config.with_name("known-issues.jsonl").write_text(json.dumps(issue))
    line.looked()
    line.order("promote")
    provider.behave("gpt-bad", Behaviour())
    assert "dont_ship: openai/gpt-bad: its benchmark against openai/older says don't ship" in line.looked()
    provider.behave("gpt-guesses", KNOWS)
    assert "no trial was begun: known issues are still there; it waits for" in line.looked()
    assert line.config.read_text() == line.text
    provider.behave("gpt-good", KNOWS_ALL)
    assert line.looked() == (
        "ship: openai/gpt-good: its benchmark against openai/older says ship; "
        "trial-gpt-good is begun and starts automatically"
    )
    eventually(lambda: line.states() == [("trial-gpt-good", "running", 0.05)])

    elsewhere = ["--admin", line.admin, "--config", str(line.config), "--data", str(line.data / "elsewhere")]
    done = CliRunner().invoke(
        app,
        ["watch", "--again", "gpt-good", "--begin", "trial", *elsewhere],
        env={"CANARY_ADMIN_TOKEN": (line.data / "admin.token").read_text().strip()},
    )
    wrong = "no trial was begun: users have openai/older, and by our store openai/old, which it was compared"
    assert wrong in done.stdout, done.stderr


def test_the_watcher_and_a_person_judge_by_the_terms_of_what_was_promoted(
    provider: ProviderThread, serve: Callable[..., Running], hook: Hook
) -> None:
    line = Line(provider, serve, hook, COSTLY)
    line.looked()
    line.order("promote")
    provider.behave("gpt-dear", KNOWS)
    watched = line.looked()
    dear = "dont_ship: openai/gpt-dear: its benchmark against openai/older says don't ship (rubric: cost"
    assert watched.startswith(dear)
    by_hand = line.benched("gpt-dear")
    assert (by_hand.exit_code, json.loads(by_hand.stdout)["baseline"]) == (3, "openai/older")
    assert line.benched("gpt-dear", "--against", "openai/old").exit_code == 3  # what it was before, too
    line.config.write_text(re.sub("^canaries:\n(  .*\n)+", "", line.text, flags=re.MULTILINE))
    eventually(lambda: line.states() == [])
    left = line.benched("gpt-dear", "--against", "older")  # its entry stands in the store only
    assert (left.exit_code, json.loads(left.stdout)["verdict"]) == (3, "dont_ship")


@pytest.mark.more
def test_a_sanity_check_prepares_a_canary_only_after_five_releases_that_shipped(
    provider: ProviderThread, serve: Callable[..., Running], hook: Hook
) -> None:
    line = Line(provider, serve, hook)
    line.looked("--quick")
    line.order("promote")
    provider.behave("gpt-first", KNOWS)
    assert line.looked("--quick").endswith("only after five releases of its vendor that all shipped")
    with closing(Store.open("sqlite:///canary.db", line.data)) as store:
        Evaluations(store).add([to_stored(a_release(number), sentences) for number in range(5)])
    provider.behave("gpt-bad", Behaviour())
    said = line.looked("--quick")
    assert "no trial was begun: its sanity check did not pass (the benchmark says don't ship" in said
    assert line.config.read_text() == line.text
    provider.behave("gpt-good", KNOWS)
    said = line.looked("--quick")
    assert said.startswith("extend: openai/gpt-good: its sanity check against openai/older says not enough")
    assert said.endswith("trial-gpt-good is begun and waits for `canary start trial-gpt-good`")
    assert line.config.read_text() == line.text
    assert [each.model for each in provider.log.entries].count("gpt-good") == 20
    eventually(lambda: line.states() == [("trial-gpt-good", "waiting", 0.0)])


def test_what_has_not_passed_a_benchmark_follows_nobody(tmp_path: Path) -> None:
    done = watch(tmp_path, "--begin", "trial")
    assert (done.exit_code, "--begin needs --bench" in done.stderr) == (2, True)
    done = watch(tmp_path, "--quick")
    assert (done.exit_code, "--quick needs --bench" in done.stderr) == (2, True)
