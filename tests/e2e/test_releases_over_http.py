"""A release over HTTP and on the command line: its runs, minutes, and page after the config moved on."""

import json
from pathlib import Path

from canary.commands.shell import user
from tests.e2e.stage import on_stage
from tests.e2e.test_archive import CONFIG, TRIAL
from tests.serving import eventually

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
