"""A release over HTTP and on the command line: its runs, minutes, and page after the config moved on."""

import json
from pathlib import Path
from typing import Any

import httpx2

from canary.commands.shell import user
from tests.e2e.stage import Stage, chat, on_stage
from tests.e2e.test_archive import CONFIG, TRIAL
from tests.serving import eventually

RESUMED = """
  - name: trial
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-4o-2024-11-20}}
    share: 50%
    guardrails: []
    minimum_days: 0
    planned_days: 0
    rubric: [{{metric: error_rate, acceptable: "< 60%", ideal: "< 50%", weight: 1, question: "Any?"}}]
"""
MODELS = {
    "candidate": {"provider": "openai", "model": "gpt-4o-2024-11-20"},
    "baseline": {"provider": "openai", "model": "gpt-4o-2024-08-06"},
}


def test_a_rolled_back_release_stays_so_with_its_minutes_and_notes(tmp_path: Path) -> None:
    with on_stage(tmp_path, CONFIG + TRIAL) as stage:
        where = ("--config", str(stage.server.config))
        (begun,) = stage.api("GET", "/api/releases").json()["releases"]
        assert {name: begun[name] for name in MODELS} == MODELS
        assert (begun["state"], begun["verdict"], begun["minutes"]) == ("running", None, None)
        order = {"who": "jane", "reason": "invents refunds", "minutes": -1}
        assert stage.api("POST", "/api/canaries/trial/rollback", order).status_code == 400
        said = ("--reason", "invents refunds", "--minutes", "12")
        assert stage.canary("rollback", "trial", *said).returncode == 0
        noted = stage.canary("release", "note", "gpt-4o-2024-11-20", "read 40", "--minutes", "8", *where)
        assert noted.returncode == 0, noted.stderr
        stage.configure((CONFIG + "  []").format(url=stage.provider.url))
        eventually(lambda: stage.api("GET", "/api/status").json()["canaries"] == [])

        (found,) = eventually(
            lambda: [
                each
                for each in stage.api("GET", "/api/releases").json()["releases"]
                if each["verdict"] is not None
            ]
        )
        assert (found["state"], found["verdict"], found["minutes"]) == ("rolled_back", "dont_ship", 20.0)
        assert found["stages"]["decided"] is not None
        whole = stage.api("GET", f"/api/releases/{found['id']}").json()
        assert whole["runs"][0]["reason"] == "invents refunds"
        assert stage.api("GET", "/api/releases/openai/gpt-4o-2024-11-20").json()["id"] == found["id"]
        assert stage.api("GET", "/api/releases/nothing").status_code == 404
        page = stage.api("GET", "/releases").text
        assert f'<a href="/releases/{found["id"]}">openai/gpt-4o-2024-11-20</a>' in page
        assert f"tried, and taken back by {user()}" in page
        assert "Don’t ship: openai/gpt-4o-2024-11-20" in stage.api("GET", f"/releases/{found['id']}").text
        assert stage.server.stop() == 0

        (listed,) = json.loads(stage.canary("release", "list", *where, "-o", "json").stdout)["releases"]
        assert listed == found
        shown = stage.canary("release", "show", "gpt-4o-2024-11-20", *where).stdout
        assert "invents refunds" in shown
        assert "read 40" in shown
        unknown = stage.canary("release", "show", "gpt-9", *where)
        assert unknown.returncode == 1
        assert "there are: openai/gpt-4o-2024-11-20" in unknown.stderr


def test_the_users_of_a_run_that_was_rolled_back_and_resumed_speak_for_its_release(tmp_path: Path) -> None:
    """Tried by 300 users, rolled back, resumed and promoted before anybody asks again."""
    with on_stage(tmp_path, CONFIG + RESUMED) as stage:
        where = ("--config", str(stage.server.config))
        with httpx2.Client(headers={"authorization": "Bearer k"}, trust_env=False) as http:
            for number in range(300):
                body = chat("gpt-4o", f"u{number}")
                http.post(f"{stage.server.traffic}/v1/chat/completions", json=body)
        report = eventually(lambda: _report(stage, "ship_now", users=300))
        users = report["units"]["candidate"]
        order = {"who": "ann", "reason": "r"}
        stage.api("POST", "/api/canaries/trial/rollback", order)
        eventually(lambda: _archived(stage, "rolled_back"))
        assert _listed(stage) == ("rolled_back", "dont_ship")

        stage.api("POST", "/api/canaries/trial/resume", order)
        assert _listed(stage) == ("running", "ship_with_caveats")
        told = eventually(lambda: _report(stage, "extend"))
        said = f"No user of the candidate is counted in this run. Run 1 had {users} users of it"
        assert told["reasons"][0].startswith(said)
        refused = stage.canary("promote", "trial", "--reason", "r")
        assert (refused.returncode, said in refused.stderr) == (1, True)

        promoted = {**order, "against_verdict": True}
        assert stage.api("POST", "/api/canaries/trial/promote", promoted).status_code == 200
        eventually(lambda: _archived(stage, "promoted"))
        kept = json.loads(stage.canary("archive", "show", "trial", *where, "-o", "json").stdout)
        assert (kept["event"], said in kept["report"]["reasons"][0]) == ("promoted", True)
        assert _listed(stage) == ("promoted", "ship_with_caveats")
        (release,) = stage.api("GET", "/api/releases").json()["releases"]
        whole = stage.api("GET", f"/api/releases/{release['id']}").json()
        assert whole["verdict"] == "ship_with_caveats"
        speaks = (
            f"what users say is of run 1, {users} users of the candidate. Its rollback was taken back; "
            "without it the verdict is ship with caveats."
        )
        assert speaks in whole["reasons"][0]
        assert "Canary trial was promoted by ann against the verdict extend: r." in whole["reasons"]
        page = " ".join(stage.api("GET", f"/releases/{release['id']}").text.split())
        assert speaks in page
        shown = " ".join(stage.canary("release", "show", "gpt-4o-2024-11-20", *where).stdout.split())
        assert speaks in shown
        for reader in ("finance", "team"):
            out = tmp_path / f"{reader}.md"
            args = ("release", "show", "gpt-4o-2024-11-20", "--for", reader, "-o", str(out), *where)
            assert stage.canary(*args).returncode == 0
            assert " 0 users" not in out.read_text()
        trends = json.loads(stage.canary("archive", "trends", *where, "-o", "json").stdout)
        assert [year["promoted"] for year in trends["years"]] == [1]
        assert [family["shipped"] for family in trends["families"]] == [1]
        exit_of_report = stage.canary("report", "trial", *where)
        assert said in " ".join(exit_of_report.stdout.split())


def _report(stage: Stage, verdict: str, users: int = 0) -> dict[str, Any] | None:
    """The canary's report, once it says this of so many users."""
    found = dict(stage.api("GET", "/api/canaries/trial/report").json())
    return found if (found["verdict"], sum(found["units"].values())) == (verdict, users) else None


def _listed(stage: Stage) -> tuple[str, str]:
    """The one release's state and verdict, the same in the list over HTTP and on the command line."""
    (found,) = stage.api("GET", "/api/releases").json()["releases"]
    told = stage.canary("release", "list", "--config", str(stage.server.config), "-o", "json").stdout
    assert json.loads(told)["releases"] == [found]
    return found["state"], found["verdict"]


def _archived(stage: Stage, event: str) -> list[dict[str, Any]]:
    told = stage.canary("archive", "list", "-o", "json", "--config", str(stage.server.config))
    return [each for each in json.loads(told.stdout)["evaluations"] if each["event"] == event]
