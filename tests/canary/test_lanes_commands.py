"""What `canary check`, `plan`, `status` and `explain` say of canaries that share their requests' users."""

import json
import re
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from canary.cli import app
from canary.commands.status import _arm
from canary.config import load
from control.states.rollouts import Rollouts
from pages.status.standing import standing
from pages.status.terminal import picture
from pages.words.status import lane, laneless
from records.store import Act, Store
from routing.canary import HoldbackTerms
from routing.transitions import promote, rollback
from tests.canary.test_live_status import NOW, canary, document

CONFIG = """
providers: {openai: {api: openai, base_url: "http://127.0.0.1:1/v1"}}
canaries:
"""
ENTRY = """
  - name: {name}
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: old}}
    candidate: {{provider: openai, model: new-{name}}}
    {more}
    rubric: [{{metric: error_rate, acceptable: "< 3%", ideal: "< 1%", weight: 1, question: "Does it?"}}]
"""


def config(folder: Path, **canaries: str) -> Path:
    path = folder / "canary.yaml"
    entries = (ENTRY.format(name=name, more=more) for name, more in canaries.items())
    path.write_text(CONFIG + "".join(entries))
    return path


def run(*command: str, code: int = 0) -> Result:
    done = CliRunner().invoke(app, [*command])
    assert done.exit_code == code, done.output
    return done


def checked(path: Path, code: int = 0) -> dict[str, dict[str, Any]]:
    found = json.loads(run("check", "--config", str(path), "-o", "json", code=code).stdout)
    return {each["name"]: each for each in found["canaries"]}


def test_check_says_each_candidates_part_of_all_users_and_that_of_a_ramps_last_step(tmp_path: Path) -> None:
    ramp = "ramp: [{share: 1%, for: 1h}, {share: 10%}]"
    path = config(tmp_path, a="lane: 60%\n    share: 5%", b=ramp)
    found = checked(path)
    assert [(each["lane"], each["part"]) for each in found.values()] == [
        (0.6, pytest.approx(0.03)), (pytest.approx(0.4), pytest.approx(0.04)),
    ]  # fmt: skip
    text = run("check", "--config", str(path)).stdout
    assert "new-a, share 5% of its lane (60.000% of the units), so 3.000% of all\n" in text
    assert "share 1% → 10% of its lane (40.000% of the units), so 4.000% of all at the last step\n" in text


def test_a_canary_alone_has_every_user_and_no_lane(tmp_path: Path) -> None:
    path = config(tmp_path, a="share: 5%")
    assert (checked(path)["a"]["lane"], checked(path)["a"]["part"]) == (None, 0.05)
    assert "share 5%\n" in run("check", "--config", str(path)).stdout


def test_fewer_users_reach_a_canary_that_shares_them(tmp_path: Path) -> None:
    """20,000 users in 14 days are 10,000 in half a lane, unless somebody says how many the canary has."""
    alone = checked(config(tmp_path, a="share: 5%"))["a"]["plan"]
    both = config(tmp_path, a="share: 5%", b="share: 5%")
    shared = checked(both)["a"]["plan"]
    assert shared["ship"] < alone["ship"]
    assert "10,000 users" in shared["sentence"]
    assert "50.0% of them are in its lane" in shared["sentence"]
    told = json.loads(run("plan", "a", "--config", str(both), "-o", "json").stdout)
    assert told["ship"] == pytest.approx(shared["ship"])
    given = run("plan", "a", "--config", str(both), "--users", "20000", "-o", "json").stdout
    assert json.loads(given)["ship"] == pytest.approx(alone["ship"])


def test_status_says_the_lane_and_the_candidates_part_of_all_users() -> None:
    assert lane(canary()) == lane(canary(lane=None)) == ""
    said = lane(canary(lane=1 / 3)).replace("\N{NO-BREAK SPACE}", " ")
    assert said == "33.3 % of the users of these requests, so the candidate has 1.7 % of all"
    stopped = lane(canary(lane=0.25, share=0.0)).replace("\N{NO-BREAK SPACE}", " ")
    assert stopped == "25 % of the users of these requests"
    console = Console(width=120)
    with console.capture() as shown:
        console.print(picture(document(lane=1 / 3), NOW, width=120))
    assert "of the users of these requests, so the candidate has" in shown.get()


def test_a_promoted_candidate_in_a_lane_is_not_told_to_have_everybody() -> None:
    promoted = standing(canary(state="promoted", share=1.0, lane=0.25))
    assert promoted.sentence.startswith("Promoted: everybody in its lane gets the candidate.")


def test_explain_says_plainly_that_a_unit_is_in_another_lane() -> None:
    found = {
        "arm": "baseline",
        "model": "openai/a",
        "reason": "no_lane",
        "sentence": "not its lane: …",
        "refused": None,
        "lane": {"size": 0.5, "mine": False},
    }
    assert _arm(found) == "not its lane: …"
    mine = found | {"lane": {"size": 0.5, "mine": True}, "sentence": "why", "reason": "cohort"}
    assert _arm(mine) == "baseline, openai/a (in its lane, 50.0% of the units; why)"
    assert _arm(mine | {"lane": None}) == "baseline, openai/a (why)"
    laneless = {"lane": None, "reason": "no_lane", "refused": "canary 'c' gets no lane: …"}
    assert _arm(found | laneless | {"sentence": laneless["refused"]}) == laneless["refused"]


def test_status_and_page_say_how_many_requests_were_in_no_lane() -> None:
    traffic = {"requests": 0, "of": 1000, "share": 0.0, "no_lane": 400, "models": [], "rest": 0}
    console = Console(width=200)
    with console.capture() as shown:
        console.print(picture({**document(), "unmatched": traffic}, NOW, width=200))
    said = "400 of 1,000 LLM requests of the last hour were in no lane"
    assert said in " ".join(shown.get().replace("\N{NO-BREAK SPACE}", " ").split())
    assert laneless(traffic).replace("\N{NO-BREAK SPACE}", " ").startswith(said)
    assert laneless(traffic | {"no_lane": 0}) == ""


LATER = "start: manual\n    share: 20%"


def started(folder: Path, *names: str, **more: str) -> None:
    """The data folder of a server that has these canaries of the file, started."""
    read = load(config(folder, **{name: more.get(name, "share: 10%") for name in names}), {})
    (folder / "canary-data").mkdir()
    with closing(Store.open(read.store, folder / "canary-data")) as store:
        Rollouts(store, lambda _: None).reconcile(read.control, NOW)


def said_by_check(path: Path, code: int = 0) -> tuple[dict[str, dict[str, Any]], str, str]:
    """Each canary of the JSON; stdout; stderr."""
    text = run("check", "--config", str(path), code=code)
    return checked(path, code), text.stdout, text.stderr


def test_check_says_what_canaries_have_beside_one_that_has_started(tmp_path: Path) -> None:
    started(tmp_path, "a")
    found, text, problems = said_by_check(config(tmp_path, a="share: 10%", b=LATER))
    assert [(each["lane"], each["part"]) for each in found.values()] == [(1.0, 0.1), (0.0, 0.0)]
    assert found["a"]["refused"] is None
    assert found["b"]["refused"].startswith("canary 'b' gets no lane: the canaries that started before it")
    assert found["b"]["refused"] in problems
    assert "share 10% of its lane (100.000% of the units), so 10.000% of all\n" in text
    assert "share 20%, but the server refuses it\n" in text
    assert text.endswith("canary.yaml: valid, but the server refuses b\n")
    assert "write `lane:` for those that have not started" in " ".join(problems.replace("\n", " ").split())


def test_a_plan_counts_the_users_that_a_started_canary_really_has(tmp_path: Path) -> None:
    started(tmp_path, "a")
    path = config(tmp_path, a="share: 10%", b=LATER)
    assert checked(path)["a"]["plan"]["sentence"].count("20,000 users") == 1
    found = json.loads(run("plan", "a", "--config", str(path), "-o", "json").stdout)
    assert found["ship"] == pytest.approx(checked(path)["a"]["plan"]["ship"])


def test_check_says_that_a_lane_added_to_a_started_canary_is_another_definition(tmp_path: Path) -> None:
    started(tmp_path, "a")
    found, text, problems = said_by_check(config(tmp_path, a="lane: 50%\n    share: 10%", b=LATER), code=2)
    assert "canary 'a' is not the one that started" in problems
    assert "`lane:` added after the start counts too" in found["a"]["refused"]
    assert (found["a"]["part"], found["a"]["plan"]) == (0.0, None)
    assert text.endswith("canary.yaml: valid, but the server refuses it and keeps the config that it has\n")


def test_check_gives_a_fourth_canary_what_three_have_left(tmp_path: Path) -> None:
    lanes = dict.fromkeys("abc", "lane: 30%\n    share: 10%")
    started(tmp_path, *lanes, **lanes)
    found, text, _ = said_by_check(config(tmp_path, **lanes, d="lane: 10%\n    share: 50%"))
    assert [(each["lane"], each["part"]) for each in found.values()] == [(0.3, 0.03)] * 3 + [(0.1, 0.05)]
    assert text.endswith("canary.yaml: fine\n")
    assert found["d"]["refused"] is None
    more, _, problems = said_by_check(config(tmp_path, **lanes, d="share: 50%", e="lane: 5%\n    share: 50%"))
    assert (more["d"]["refused"], more["e"]["refused"]) == (None, None), problems


def test_check_without_states_says_that_its_lanes_are_for_those_that_have_not_started(tmp_path: Path) -> None:
    path = config(tmp_path, a="share: 10%", b="share: 20%")
    found, text, _ = said_by_check(path)
    assert [each["lane"] for each in found.values()] == [0.5, 0.5]
    assert "These lanes are for canaries that have not started" in text
    assert list(tmp_path.iterdir()) == [path]  # nothing was created
    (tmp_path / "canary-data").mkdir()
    assert "These lanes are for canaries that have not started" in said_by_check(path)[1]
    assert not list((tmp_path / "canary-data").iterdir())
    (tmp_path / "canary-data" / "canary.db").write_text("no database at all, but a file of that name")
    _, text, problems = said_by_check(path)
    assert "going on without the canaries' states" in problems
    assert "These lanes are for canaries that have not started" in text


def test_check_upgrades_no_database(tmp_path: Path) -> None:
    started(tmp_path, "a")
    with closing(sqlite3.connect(tmp_path / "canary-data" / "canary.db")) as database:
        database.execute("UPDATE alembic_version SET version_num = '0002'")
        database.commit()
        run("check", "--config", str(config(tmp_path, a="share: 10%", b=LATER)))
        assert database.execute("SELECT version_num FROM alembic_version").fetchone() == ("0002",)


def test_check_says_what_is_in_force_of_a_canary_that_was_decided_and_not_its_plan(tmp_path: Path) -> None:
    started(tmp_path, "a", a="lane: 50%\n    share: 10%")
    path = tmp_path / "canary.yaml"
    assert "share 10%" in run("check", "--config", str(path)).stdout
    held = HoldbackTerms(share=0.02, for_s=7 * 86_400.0)
    for decided, state, said in (
        (
            partial(promote, reason="good", holdback=held),
            "promoted",
            "everybody in its lane but the 2 % that are held back until 2027-01-22 gets openai/new-a",
        ),
        (
            partial(rollback, reason="bad"),
            "rolled back",
            "everybody in its lane gets openai/old, until `canary resume` begins it anew",
        ),
    ):
        with closing(Store.open("sqlite:///canary.db", tmp_path / "canary-data")) as store:
            act = Act(at=NOW, action="order", who="ann", reason="")
            rollouts = Rollouts(store, lambda _: None)
            rollouts.change("a", act, partial(decided, now=NOW))
            rollouts.settle()
        found, text, _ = said_by_check(path)
        told = f"a: openai/old → openai/new-a, {state} since 2027-01-15: {said}"
        assert text.splitlines() == [told, f"{path}: fine"]
        assert (found["a"]["state"], found["a"]["plan"]) == (state.replace(" ", "_"), None)
        if state == "promoted":
            planned = run("plan", "a", "--config", str(path), code=2).stderr.strip()
            assert re.fullmatch(
                r"a is promoted since 2027-01-15 [\d:]+ UTC, so there is nothing to plan: another candidate "
                "needs a canary of its own",
                planned,
            )
