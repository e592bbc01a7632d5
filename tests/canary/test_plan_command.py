"""`canary plan` and `canary check` say how likely a rubric ships, before the first user."""

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from canary.cli import app
from records.facts.exchange_id import mint
from records.outcome import Outcome, Record
from records.spool.reader import SpoolBatch, SpoolChunk, WriterProcess
from records.store import Store

ROOT = Path(__file__).parents[2]
CONFIG = """
providers: {{openai: {{api: openai, base_url: "http://127.0.0.1:1/v1"}}}}
canaries:
  - name: trial
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: a}}
    candidate: {{provider: openai, model: b}}
    {share}
    rubric: {rubric}
"""
RUBRIC = """
      - {metric: error_rate, acceptable: "< 1.5x baseline", ideal: "< 1x baseline", weight: 1, question: "?"}
      - {metric: csat, acceptable: ">= baseline - 5%", ideal: ">= baseline + 0%", weight: 1, question: "?"}
"""


@pytest.fixture
def readme(tmp_path: Path) -> Path:
    """The README's config as a file."""
    text = (ROOT / "README.md").read_text()
    config = re.search(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert config is not None
    path = tmp_path / "canary.yaml"
    path.write_text(config[1])
    return path


def _written(
    folder: Path, share: str = "ramp: [{share: 1%, for: 1h}, {share: 5%}]", rubric: str = RUBRIC
) -> Path:
    path = folder / "canary.yaml"
    path.write_text(CONFIG.format(share=share, rubric=rubric))
    return path


def _run(command: str, config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, [command, "--config", str(config), *arguments])


def _json(command: str, config: Path, *arguments: str) -> Any:
    done = _run(command, config, "-o", "json", *arguments)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_the_readmes_rubric_has_a_plan(readme: Path) -> None:
    plan = _json("plan", readme)
    assert set(plan) == {
        *("ship", "unpriced", "rows", "parts", "table", "levers", "boundaries", "assumptions", "ramp"),
        "few_users",
    }
    assert 0.38 < plan["ship"] < 0.48
    assert [row["metric"] for row in plan["rows"]] == ["error_rate", "escalated", "csat"]
    assert {(cell["days"], cell["share"]) for cell in plan["table"]} == {
        (days, share) for days in (7, 14, 28) for share in (0.02, 0.05, 0.1, 0.2, 0.5)
    }
    assert plan["boundaries"][7] == {"day": 14, "boundary": 1.8011}
    assert any(lever["change"] == "one in four rated instead of one in eight" for lever in plan["levers"])


def test_the_plan_as_text_begins_with_the_line_that_check_prints(readme: Path) -> None:
    told = _run("plan", readme, "support-nov")
    assert told.exit_code == 0, told.output
    line = told.stdout.splitlines()[0]
    assert "ships with a chance of 39 % in 14 days at a share of 5 %" in line
    assert line in _run("check", readme).stdout
    (canary,) = _json("check", readme)["canaries"]
    assert canary["plan"]["sentence"] == line
    assert canary["users_needed"]["empty"] == 4


FEW = (
    "2 users get the candidate: only empty, invalid_output, stalled can roll it back, once both have "
    "many such answers; at a share of 20 % the other rules can, too; "
    "csat needs 30 users in each arm who rate, which 40 users cannot give"
)


def test_check_and_plan_say_one_sentence_of_forty_users_before_the_first_of_them(tmp_path: Path) -> None:
    path = _written(tmp_path, share="share: 5%")
    checked, planned = _run("check", path, "--users", "40"), _run("plan", path, "--users", "40")
    assert f"trial: {FEW}\n" in checked.stdout
    assert "is rolled back after about so many of its users" not in checked.stdout
    assert planned.stdout.startswith(f"trial: {FEW}\n\n")
    (canary,) = _json("check", path, "--users", "40")["canaries"]
    assert canary["few_users"] == _json("plan", path, "--users", "40")["few_users"]
    assert (canary["few_users"]["candidate"], canary["few_users"]["enough"]) == (2, 0.2)
    assert _json("plan", path, "--users", "40", "--share", "20%")["few_users"]["lacking"] is False
    path.write_text(path.read_text().replace("share: 5%", "share: 5%\n    expect: {users: 40}"))
    assert f"trial: {FEW}\n" in _run("check", path).stdout


def test_check_says_it_also_of_a_canary_without_a_rubric(tmp_path: Path) -> None:
    path = _written(tmp_path, share="share: 5%", rubric="[]")
    (canary,) = _json("check", path, "--users", "40")["canaries"]
    assert canary["plan"] is None
    assert canary["few_users"]["sentence"] == FEW.partition("; csat")[0]
    assert _json("check", path)["canaries"][0]["few_users"] is None


def test_the_doc_shows_what_the_command_says(readme: Path) -> None:
    page = (ROOT / "docs/plan.md").read_text()
    shown = re.search(r"^```text\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert shown is not None
    assert _run("plan", readme).stdout.split("\n") == shown[1].split("\n")


def test_the_readme_says_how_often_its_rubric_ships(readme: Path) -> None:
    said = re.search(
        r"with 20,000 users in 14 days this rubric ships (\d+) in 100 such candidates "
        r"with three requests per user, (\d+) with eight, (\d+) with one",
        " ".join((ROOT / "README.md").read_text().split()),
    )
    assert said is not None
    for requests, chance in zip(("3", "8", "1"), said.groups(), strict=True):
        plan = _json("plan", readme, "--requests", requests)
        assert round(plan["ship"] * 100) == int(chance)
        assert plan["assumptions"][0]["sentence"].startswith("20,000 users in 14 days")


def test_options_replace_what_is_assumed(readme: Path) -> None:
    usual = _json("plan", readme)["ship"]
    assert _json("plan", readme, "--share", "10%")["ship"] > usual
    assert _json("plan", readme, "--users", "5000")["ship"] < usual
    assert _json("plan", readme, "--requests", "8")["ship"] > usual
    assert _json("plan", readme, "--assume", "csat.sd=0.7,csat=4.5")["ship"] > usual
    # As many users in twice the time.
    longer = _json("plan", readme, "--users", "20000", "--days", "28")
    assert longer["ship"] == pytest.approx(usual, abs=0.05)


def test_the_days_of_the_config_and_of_the_option_mean_the_same(readme: Path) -> None:
    by_option = _run("plan", readme, "--days", "28").stdout
    assert "in 28 days at a share of 5 %, with 40,000 users (assumed) who send" in by_option.splitlines()[0]
    assert "  • 40,000 users in 28 days, evenly: 1,429 users a day (assumed)\n" in by_option
    readme.write_text(readme.read_text().replace("    share: 5%\n", "    share: 5%\n    planned_days: 28\n"))
    assert _run("plan", readme).stdout == by_option
    # Given users are those of the planned days, whoever says how many days.
    in_all = _run("plan", readme, "--users", "20000").stdout
    assert "in 28 days at a share of 5 %, with 20,000 users (given) who send" in in_all.splitlines()[0]
    assert _run("plan", readme, "--users", "20000", "--days", "28").stdout == in_all


def test_a_rubric_of_its_own_needs_no_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "strict.yaml"
    file.write_text(f"rubric:{RUBRIC}")
    monkeypatch.chdir(tmp_path)
    told = CliRunner().invoke(app, ["plan", "--rubric", str(file)])
    assert told.stdout.startswith("strict: a candidate halfway")
    for named in ((), ("--rubric", str(file))):
        assert _run("plan", tmp_path / "none.yaml", *named).exit_code == 2


def test_a_canary_may_be_planned_with_another_rubric(readme: Path, tmp_path: Path) -> None:
    file = tmp_path / "strict.yaml"
    file.write_text('rubric: [{metric: csat, acceptable: "> 4.1", ideal: "> 4.4", weight: 1, question: "?"}]')
    plan = _json("plan", readme, "support-nov", "--rubric", str(file))
    assert [row["metric"] for row in plan["rows"]] == ["csat"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["support-dec"], "no canary 'support-dec'; it has: support-nov"),
        (["--days", "5"], "no verdict to ship comes before day 7"),
        (["--share", "ten"], "not a share"),
        (["--share", "100%"], "no share between"),
        (["--assume", "happy=4"], "no metric 'happy'"),
        (["--rubric", "none.yaml"], "cannot be read"),
    ],
)
def test_what_cannot_be_planned_is_refused(readme: Path, arguments: list[str], said: str) -> None:
    done = _run("plan", readme, *arguments)
    assert done.exit_code == 2
    assert said in done.stderr


def _recorded(data: Path, users: int) -> None:
    """Three requests of each user over four days, of a canary that waits."""
    now = time.time()
    data.mkdir()
    outcomes: list[Record] = []
    for number in range(3 * users):
        unit, at = f"{number // 3:032x}", now - 4 * 86400 * (1 - number / (3 * users - 1))
        name = mint(
            b"k" * 32, canary="support-nov", run=1, phase=0, arm="baseline", unit_hash=unit, at=at,
            serial=number.to_bytes(8),
        )  # fmt: skip
        outcomes.append(
            Outcome(
                exchange_id=name,
                at=at,
                mono=at,
                outcome="ok",
                canary="support-nov",
                run=1,
                share=0.0,
                arm="baseline",
                reason="stopped",
                unit=unit,
                latency_s=0.4,
                model_requested="gpt-5.6-terra",
            )
        )
    store = Store.open("sqlite:///canary.db", data)
    store.ship(
        SpoolBatch(chunks=[SpoolChunk("f", WriterProcess("w", 0, "b", 1), outcomes)], cursors={"f": 1})
    )
    store.close()


def test_check_and_plan_say_how_long_a_ramp_takes_that_waits_for_users(readme: Path) -> None:
    steps = "[{share: 1%, until: {users: 3}}, {share: 5%, for: 3d, until: {users: 2}}, {share: 10%}]"
    readme.write_text(readme.read_text().replace("    share: 5%\n", f"    ramp: {steps}\n"))
    told = "1 % until 3 users; 5 % until 3 d and 2 users; then 10 %."
    unknown = f"How long the ramp takes is not known, since no traffic is recorded: {told}"
    assert unknown in _run("check", readme).stdout.splitlines()
    assert _run("plan", readme).stdout.splitlines()[-1] == unknown
    assert _json("plan", readme)["ramp"]["days"] is None
    given = _json("check", readme, "--users", "14000")["canaries"][0]["ramp"]
    assert given["sentence"].startswith("The ramp takes about 3 d 7 h at 1,000 users a day (given): ")
    _recorded(readme.parent / "canary-data", users=200)
    ramp = _json("plan", readme)["ramp"]
    assert ramp["users_per_day"] == pytest.approx(50, rel=0.01)
    assert [each["days"] for each in ramp["steps"]] == [pytest.approx(6, rel=0.01), 3.0, None]
    assert ramp["days"] == pytest.approx(9, rel=0.01)
    (canary,) = _json("check", readme)["canaries"]
    assert canary["ramp"] == ramp
    assert "1 % until 3 users (about 6 d" in ramp["sentence"]


def test_recorded_traffic_replaces_assumptions(readme: Path) -> None:
    _recorded(readme.parent / "canary-data", users=200)
    told = {each["name"]: each for each in _json("plan", readme)["assumptions"]}
    assert told["users"]["source"] == "measured over 200 users in 4 days"
    assert told["users"]["value"] == pytest.approx(700)
    assert told["requests"]["value"] == pytest.approx(3)
    assert told["csat"]["source"] == "assumed"


@pytest.mark.parametrize("critical", ["", "    critical_categories: [refund]\n"])
def test_check_and_plan_say_one_figure_for_one_file(readme: Path, critical: str) -> None:
    readme.write_text(readme.read_text().replace("    share: 5%\n", f"    share: 5%\n{critical}"))
    _recorded(readme.parent / "canary-data", users=200)
    (canary,) = _json("check", readme)["canaries"]
    line = _run("plan", readme).stdout.splitlines()[0]
    assert "with 700 users (measured over 200 users in 4 days)" in line
    assert canary["plan"]["sentence"] == line
    assert canary["plan"]["ship"] == _json("plan", readme)["ship"]


def test_a_store_that_does_not_answer_leaves_assumptions(readme: Path) -> None:
    readme.write_text(readme.read_text() + "\nstore: postgresql://127.0.0.1:1/none\n")
    done = _run("plan", readme)
    assert done.exit_code == 0, done.output
    assert "planning without recorded traffic" in done.stderr


def test_check_tells_the_chance_for_few_and_for_many_requests(tmp_path: Path) -> None:
    (canary,) = _json("check", _written(tmp_path), "--users", "50000")["canaries"]
    power = canary["power"]
    assert (power["users"], power["share"]) == (50_000, 0.05)
    assert [each["requests_per_user"] for each in power["at"]] == [1, 3, 8]
    ships = [each["ship"] for each in power["at"]]
    assert ships == sorted(ships)
    (given,) = _json("check", _written(tmp_path), "--requests", "4")["canaries"]
    assert [each["requests_per_user"] for each in given["power"]["at"]] == [4]


@pytest.mark.parametrize(("share", "rubric"), [("share: 100%", RUBRIC), ("share: 5%", "[]")])
def test_where_there_is_nothing_to_compare_check_tells_no_chance(
    tmp_path: Path, share: str, rubric: str
) -> None:
    (canary,) = _json("check", _written(tmp_path, share, rubric))["canaries"]
    assert (canary["power"], canary["plan"]) == (None, None)


def test_more_than_five_rows_are_a_warning(tmp_path: Path) -> None:
    more = RUBRIC + "".join(
        f'      - {{metric: {name}, acceptable: "< 3", ideal: "< 1", weight: 1, question: "?"}}\n'
        for name in ("ttft_p95", "tokens", "latency_p95", "cost_per_request")
    )
    assert "has 6 rows; with more than 5" in _run("check", _written(tmp_path, rubric=more)).stderr
