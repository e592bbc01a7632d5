"""`canary report --compare A B`, and the same from the admin API, over a store with two canaries in lanes."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from canary.cli import app
from canary.config import parse
from control.operator.orders import BadOrder
from control.states.rollouts import Rollouts
from pages.reports.compare import to_json
from records.store import Store
from tests.console.test_api import asked
from tests.control.desks import desk_over
from tests.verdict.conftest import START, World, exchanges
from tests.verdict.shipping import Shipper

TEXT = """\
providers: {openai: {api: openai, base_url: "http://127.0.0.1:1/v1"}}
store: sqlite:///canary.db
canaries:
  - name: cheap
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: gpt-4o}
    candidate: {provider: openai, model: gpt-5-mini}
    lane: 40%
    share: 50%
    minimum_days: 1
    rubric: &rubric
      - {metric: task_completed, acceptable: ">= 80%", ideal: ">= 99%", weight: 1, question: "Is it done?"}
      - {metric: error_rate, acceptable: "< 90%", ideal: "< 80%", weight: 1, question: "Any?"}
  - name: large
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: gpt-4o}
    candidate: {provider: openai, model: gpt-5}
    lane: 60%
    share: 50%
    minimum_days: 1
    rubric: *rubric
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A config beside the data of both canaries: three days, one candidate worse than the other."""
    place = tmp_path_factory.mktemp("compare")
    (place / "canary.yaml").write_text(TEXT)
    data = place / "canary-data"
    data.mkdir()
    settings = parse(TEXT, "canary.yaml", {}).control
    with closing(Store.open("sqlite:///canary.db", data)) as store:
        Rollouts(store, lambda plan: None).reconcile(settings, START)
        shipper = Shipper(store)
        for name, completed in (("cheap", (0.95, 0.5)), ("large", (0.95, 0.95))):
            world = World(users=800, share=0.5, days=2.9, completed=completed)
            shipper.lines(exchanges(world), canary=name)
    yield place


def run(folder: Path, *arguments: str) -> Any:
    command = ["report", *arguments, "--config", str(folder / "canary.yaml")]
    return CliRunner().invoke(app, command, env={"COLUMNS": "200"})


def test_the_better_verdict_comes_first_each_against_its_own_baseline(folder: Path) -> None:
    done = run(folder, "--compare", "cheap", "large", "-o", "json")
    assert done.exit_code == 0
    document = json.loads(done.stdout)
    best, worst = document["candidates"]
    assert (best["canary"], worst["canary"], worst["verdict"]) == ("large", "cheap", "dont_ship")
    assert (best["lane"], worst["lane"]) == (pytest.approx(0.6), pytest.approx(0.4))
    assert document["metrics"] == ["task_completed", "error_rate"]
    assert document["warnings"] == []
    alone = json.loads(run(folder, "cheap", "-o", "json").stdout)
    assert worst["metrics"] == alone["metrics"]
    assert worst["score"] == alone["score"]


def test_a_canary_for_which_no_lane_is_left_has_none(tmp_path: Path) -> None:
    both = TEXT.replace("    lane: 40%\n", "").replace("    lane: 60%\n", "")
    alone = both[: both.index("  - name: large")]
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as store:
        for text in (alone, both):
            settings = parse(text, "canary.yaml", {}).control
            Rollouts(store, lambda plan: None).reconcile(settings, START)
        operator = desk_over(store, settings).operator
        document = to_json(asyncio.run(operator.compare(["cheap", "large"])))
    lanes = {each["canary"]: each["lane"] for each in document["candidates"]}
    assert lanes == {"cheap": None, "large": 0.0}
    assert "large gets no lane: other canaries have all users of these requests." in document["warnings"]


def test_the_text_says_that_the_candidates_were_not_compared_with_each_other(folder: Path) -> None:
    text = run(folder, "--compare", "large", "cheap").stdout
    assert "The candidates were not compared with each other" in " ".join(text.split())
    assert text.index("\nlarge ") < text.index("\ncheap ")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--compare", "cheap"], 2, "--compare needs the names of two canaries or more"),
        (["--compare", "cheap", "cheap"], 2, "--compare needs the names of two canaries or more"),
        (["cheap", "large"], 2, "canary report --compare A B"),
        (["--compare", "cheap", "large", "--from", "log.csv"], 2, "leave --from and --rubric out"),
        (["--compare", "cheap", "larg"], 1, "no canary 'larg' (did you mean 'large'?)"),
    ],
)
def test_a_wrong_call_says_what_would_be_right(
    folder: Path, arguments: list[str], code: int, said: str
) -> None:
    done = run(folder, *arguments)
    assert (done.exit_code, said in done.stderr) == (code, True)


def test_the_admin_api_gives_the_same(folder: Path) -> None:
    settings = parse(TEXT, "canary.yaml", {}).control
    with closing(Store.open("sqlite:///canary.db", folder / "canary-data")) as store:
        operator = desk_over(store, settings).operator
        document = to_json(asyncio.run(operator.compare(["cheap", "large"])))
        assert [each["canary"] for each in document["candidates"]] == ["large", "cheap"]
        for names, status in ((["cheap"], 400), (["cheap", "nobody"], 404)):
            with pytest.raises(BadOrder) as refused:
                asyncio.run(operator.compare(names))
            assert refused.value.status == status
        path = "/api/compare?canary=cheap&canary=large"
        assert asked("GET", path, control=operator).json()["metrics"] == document["metrics"]
        assert asked("GET", f"{path}&form=markdown", control=operator).text.startswith("# Candidates beside")
        assert asked("GET", f"{path}&form=pdf", control=operator).status_code == 400
        assert asked("GET", "/api/compare?canary=cheap", control=operator).status_code == 400
