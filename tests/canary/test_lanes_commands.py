"""What `canary check`, `plan`, `status` and `explain` say of canaries that share their requests' users."""

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from canary.cli import app
from canary.commands.explain import _arm
from console.standing import standing
from console.terminal import picture
from console.words import lane
from tests.canary.test_watching import NOW, canary, document

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


def run(*command: str) -> Result:
    done = CliRunner().invoke(app, [*command])
    assert done.exit_code == 0, done.output
    return done


def checked(path: Path) -> dict[str, dict[str, Any]]:
    found = json.loads(run("check", "--config", str(path), "-o", "json").stdout)
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
        "sentence": "not its lane: …",
        "refused": None,
        "lane": {"size": 0.5, "mine": False},
    }
    assert _arm(found) == "not its lane: …"
    mine = found | {"lane": {"size": 0.5, "mine": True}, "sentence": "why"}
    assert _arm(mine) == "baseline (in its lane, 50.0% of the units; why)"
    assert _arm(mine | {"lane": None}) == "baseline (why)"
