"""`canary dataset`: what a dataset holds, or every line that is wrong, by exit code."""

import json
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import Result
from typer.testing import CliRunner

from bench.dataset.file import extend
from bench.dataset.labels import accepted
from canary.cli import app
from demo.provider.behaviour import Behaviour
from records.captures.capture import Capture
from records.store import Act, Store
from records.store.captures import CaptureStore, Label, Labels
from routing.states import State
from tests.bench.test_sampling import a_capture
from tests.serving import ProviderThread

LINE = '{"id": "1", "task": "exact", "input": "2 + 2?", "expected": "4", "category": "sums"}\n'


def test_a_sound_dataset_is_described(tmp_path: Path) -> None:
    file = tmp_path / "sums.jsonl"
    file.write_text(LINE)
    done = CliRunner().invoke(app, ["dataset", "check", str(file), "-o", "json"])
    found = json.loads(done.stdout)
    assert (done.exit_code, found["examples"], found["categories"], found["problems"]) == (
        0,
        1,
        {"sums": 1},
        [],
    )
    text = CliRunner().invoke(app, ["dataset", "check", str(file)])
    assert found["sha256"][:12] in text.stdout
    assert "1 examples are too few" in text.stderr


def test_wrong_lines_end_it_with_one_and_are_named(tmp_path: Path) -> None:
    file = tmp_path / "sums.jsonl"
    file.write_text(f"{LINE}nothing\n\n[]\n")
    done = CliRunner().invoke(app, ["dataset", "check", str(file), "-o", "json"])
    assert done.exit_code == 1
    assert [each["line"] for each in json.loads(done.stdout)["problems"]] == [2, 4]
    assert f"{file}:4: " in done.stderr


def test_a_file_that_is_not_there_ends_it_with_one(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["dataset", "check", str(tmp_path / "none.jsonl")])
    assert done.exit_code == 1
    assert "cannot be read" in done.stderr


PROPOSED = {"task": "exact", "expected": "yes", "tags": {"label": "proposed"}}


def proposals(tmp_path: Path, count: int) -> Path:
    file = tmp_path / "sampled.jsonl"
    said = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Is it?"}]
    file.write_text(
        "".join(f"{json.dumps({'id': str(n), 'input': said, **PROPOSED})}\n" for n in range(count))
    )
    return file


def test_a_person_labels_what_is_proposed_and_goes_on_later(tmp_path: Path) -> None:
    file = proposals(tmp_path, 5)
    done = CliRunner().invoke(app, ["dataset", "label", str(file)], input="a\ne\nno\nb\ns\nq\n")
    assert done.exit_code == 0
    assert "user: Is it?" in done.stderr
    assert "proposed: yes" in done.stderr
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [each["expected"] for each in lines] == ["yes", "no", None, "yes", "yes"]
    labels = [each["tags"]["label"] for each in lines]
    assert labels == ["accepted", "edited", "ambiguous", "proposed", "proposed"]
    again = CliRunner().invoke(app, ["dataset", "label", str(file), "-o", "json"], input="\n\n")
    assert "1 of 2" in again.stderr
    found = json.loads(again.stdout)
    assert (found["labels"], found["tier"]) == ({"accepted": 3, "edited": 1, "ambiguous": 1}, "spot")


def test_an_edit_that_is_no_label_is_asked_for_again(tmp_path: Path) -> None:
    file = tmp_path / "fields.jsonl"
    line = {"id": "1", "input": "Total?", **PROPOSED, "task": "extract", "expected": {"total": 1}}
    file.write_text(json.dumps(line))
    words = 'e\n{"total":\ne\n{}\ne\n{"total": 2}\n'
    done = CliRunner().invoke(app, ["dataset", "label", str(file)], input=words)
    assert "this label must be JSON" in done.stderr
    assert "expected must be a JSON object" in done.stderr
    assert json.loads(file.read_text())["expected"] == {"total": 2}


def days_since(began: datetime) -> set[str]:
    """The UTC days from then until now, which are two at midnight."""
    return {each.date().isoformat() for each in (began, datetime.now(UTC))}


def test_captured_exchanges_become_a_dataset(tmp_path: Path) -> None:
    config, data, file = tmp_path / "canary.yaml", tmp_path / "data", tmp_path / "sample.jsonl"
    config.write_text('providers: {p: {api: openai, base_url: "https://p.example"}}\n')
    data.mkdir()
    with closing(Store.open("sqlite:///canary.db", data)) as store:
        captures = [a_capture(f"c-{n}", "common") for n in range(30)] + [a_capture("r-1", "rare")]
        captures.append(a_capture("n-1", "new", arm="candidate"))
        copy = msgspec.structs.replace(a_capture("copy", arm="candidate", copy_of="r-1"), answer="Lost.")
        CaptureStore(store).add([*captures, copy], now=0.0)
        label = Label(at=1.0, canary="c", exchange_id="r-1", right="candidate", who="ann")
        Labels(store).add(label)
    words = ["dataset", "sample", "c", str(file), "--size", "10"]
    words += ["--config", str(config), "--data", str(data), "-o", "json"]
    began = datetime.now(UTC)
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["categories"] == {"common": 9, "rare": 1}
    assert {json.loads(line)["sampled"] for line in file.read_text().splitlines()} <= days_since(began)
    weights = json.loads((tmp_path / "sample.jsonl.weights.json").read_text())
    assert weights["categories"] == {"common": pytest.approx(30 / 31), "rare": pytest.approx(1 / 31)}
    assert abs(datetime.fromisoformat(weights["at"]).timestamp() - time.time()) < 3600
    rare = [line for line in map(json.loads, file.read_text().splitlines()) if line["id"] == "r-1"]
    assert [(each["expected"], each["tags"]["label"]) for each in rare] == [("Lost.", "edited")]
    assert file.stat().st_mode & 0o777 == 0o600
    check = CliRunner().invoke(app, ["dataset", "check", str(file), "-o", "json"])
    assert json.loads(check.stdout)["sha256"] == json.loads(done.stdout)["sha256"]
    nobody = CliRunner().invoke(app, [*words[:2], "other", str(tmp_path / "x"), *words[4:]])
    assert nobody.exit_code == 1
    assert "no exchange of other was captured; there are captures of c\n" in nobody.stderr


def test_each_month_adds_what_is_new_of_a_line_of_canaries_and_leaves_labels_alone(tmp_path: Path) -> None:
    config, data, file = tmp_path / "canary.yaml", tmp_path / "data", tmp_path / "sample.jsonl"
    config.write_text('providers: {p: {api: openai, base_url: "https://p.example"}}\n')
    data.mkdir()
    where = ["--config", str(config), "--data", str(data), "-o", "json"]

    def month(*found: Capture) -> dict[str, Any]:
        with closing(Store.open("sqlite:///canary.db", data)) as store:
            CaptureStore(store).add(found, now=0.0)
        done = CliRunner().invoke(app, ["dataset", "sample", "chat", str(file), "--task", "exact", *where])
        assert done.exit_code == 0, done.stderr
        return dict(json.loads(done.stdout))

    with closing(Store.open("sqlite:///canary.db", data)) as store:
        for name, state in (("chat-1", "ended"), ("chat-2", "promoted"), ("chatter", "running")):
            act = Act(at=0.0, action="first seen", who="config", reason="")
            store.swap(name, 0, State(state=state), act)
    first = month(a_capture("a", canary="chat-1"), a_capture("x", canary="chatter"))
    assert (first["examples"], first["added"]) == (1, 1)
    labelled = json.dumps(accepted(json.loads(file.read_text()), by="ann", at=0.0))
    file.write_text(labelled)
    promoted = a_capture("b", canary="chat-2", arm="candidate")
    second = month(
        promoted, a_capture("c", canary="chat-2"), a_capture("d", canary="chat-1", asked="Where is a?")
    )
    assert (second["examples"], second["added"]) == (2, 1)
    lines = file.read_text().splitlines()
    assert (lines[0], json.loads(lines[1])["id"]) == (labelled, "b")
    assert month()["added"] == 0
    assert file.read_text().splitlines() == lines


def test_a_model_without_a_canary_becomes_a_dataset_and_a_canary_of_its_name_comes_first(
    tmp_path: Path,
) -> None:
    config, data, file = tmp_path / "canary.yaml", tmp_path / "data", tmp_path / "sample.jsonl"
    config.write_text(
        'providers: {p: {api: openai, base_url: "https://p.example"}}\n'
        "capture: [{models: [gpt-4o], rate: 2%}]\n"
    )
    data.mkdir()
    words = ["dataset", "sample", "gpt-4o", str(file), "--config", str(config), "--data", str(data)]
    words += ["-o", "json"]

    def ids() -> set[str]:
        file.unlink(missing_ok=True)
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.stderr
        assert ("is a canary and a model" in done.stderr) is is_both
        return {json.loads(line)["id"] for line in file.read_text().splitlines()}

    is_both = False
    with closing(Store.open("sqlite:///canary.db", data)) as store:
        found = [
            a_capture("plain", canary="", model="gpt-4o"),
            a_capture("other", canary="", model="gpt-4o-mini"),
            a_capture("current", canary="chat-1", model="gpt-4o"),
            a_capture("candidate", canary="chat-1", model="gpt-5", arm="candidate"),
            a_capture("named", canary="gpt-4o", model="gpt-4o"),
        ]
        CaptureStore(store).add(found, now=0.0)
        act = Act(at=0.0, action="first seen", who="config", reason="")
        store.swap("chat-1", 0, State(state="running"), act)
        assert ids() == {"plain", "current", "named"}
        store.swap("gpt-4o", 0, State(state="running"), act)
        is_both = True
        assert ids() == {"named"}


def test_the_judge_proposes_labels_and_the_file_says_who_proposed(
    tmp_path: Path, provider: ProviderThread
) -> None:
    provider.behave("judge", Behaviour(says={"Where is a?": "Short.\nEXPECTED:\nIt says when a comes."}))
    config, data, file = tmp_path / "canary.yaml", tmp_path / "data", tmp_path / "users.jsonl"
    entry = f'providers: {{p: {{api: openai, base_url: "{provider.url}/v1", api_key: k}}}}\n'
    config.write_text(entry)
    data.mkdir()
    with closing(Store.open("sqlite:///canary.db", data)) as store:
        CaptureStore(store).add([a_capture("a", model="old"), a_capture("b", model="old")], now=0.0)
    words = ["dataset", "sample", "c", str(file), "--propose", "--config", str(config), "--data", str(data)]
    without = CliRunner().invoke(app, words)
    assert (without.exit_code, "no judge: set" in without.stderr) == (1, True)
    config.write_text(f"{entry}datasets: {{users: {{file: users.jsonl, layer: real, judge: p/judge}}}}\n")
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.stderr
    assert "p/judge proposed 1 of 2 labels; cost unknown" in done.stderr
    lines = {each["id"]: each for each in map(json.loads, file.read_text().splitlines())}
    assert (lines["a"]["expected"], lines["a"]["tags"]["label"]) == ("It says when a comes.", "proposed")
    assert [each["by"] for each in lines["a"]["labels"]] == ["old", "p/judge"]
    assert [each["by"] for each in lines["b"]["labels"]] == ["old"]
    labelled = CliRunner().invoke(app, ["dataset", "label", str(file)], input="a\ne\nTomorrow.\n")
    assert "proposed by p/judge: It says when a comes." in labelled.stderr
    assert "p/judge: people kept its proposals in 1 of 1 (21 % to 100 %)" in labelled.stderr
    checked = CliRunner().invoke(app, ["dataset", "check", str(file), "-o", "json"])
    found = json.loads(checked.stdout)["agreement"]
    assert [(each["by"], each["hits"], each["of"]) for each in found["kept"]] == [
        ("old", 0, 1),
        ("p/judge", 1, 1),
    ]
    assert found["differing"] is None
    assert "labels      old: people kept" in CliRunner().invoke(app, ["dataset", "check", str(file)]).stdout


def test_old_examples_are_retired_to_a_file_beside_and_none_is_lost(tmp_path: Path) -> None:
    file, beside = tmp_path / "users.jsonl", tmp_path / "users.jsonl.retired.jsonl"
    today = datetime.now(UTC).date()

    def a_line(name: str, days: int | None) -> str:
        sampled = {} if days is None else {"sampled": (today - timedelta(days=days)).isoformat()}
        return json.dumps({"id": name, "task": "exact", "input": f"{name}?", "expected": "yes"} | sampled)

    old, young, undated = a_line("old", 200), a_line("young", 170), a_line("undated", None)
    file.write_text(f"{old}\n{young}\n{undated}\n")
    file.chmod(0o640)

    def retired(*words: str) -> Result:
        return CliRunner().invoke(app, ["dataset", "retire", str(file), *words])

    done = retired("--older", "180d", "-o", "json")
    assert json.loads(done.stdout) == {
        "file": str(file), "retired": 1, "examples": 2, "undated": 1, "retired_file": str(beside),
    }  # fmt: skip
    assert (file.read_text(), beside.read_text()) == (f"{young}\n{undated}\n", f"{old}\n")
    assert (file.stat().st_mode & 0o777, beside.stat().st_mode & 0o777) == (0o640, 0o600)
    assert "0 retired" in retired().stderr  # 180 days are the default
    assert "1 retired" in retired("--older", (today - timedelta(days=1)).isoformat()).stderr
    assert (file.read_text(), beside.read_text()) == (f"{undated}\n", f"{old}\n{young}\n")
    file.write_text(f"{old}\n")
    nothing = retired()
    assert (nothing.exit_code, "every example would leave" in nothing.stderr) == (1, True)
    assert file.read_text() == f"{old}\n"
    assert retired("--older", "long").exit_code == 2
    file.write_text(a_line("x", None).replace('"yes"', '"yes", "sampled": "26.11.2026"'))
    assert "sampled must be a day" in retired().stderr


def test_the_file_keeps_its_mode_and_nothing_stays_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "dataset.jsonl"
    file.write_text(LINE)
    file.chmod(0o640)
    extend(file, [json.loads(LINE) | {"id": "2"}])
    assert (file.read_text().count("\n"), file.stat().st_mode & 0o777) == (2, 0o640)
    assert list(tmp_path.iterdir()) == [file]
