"""An evaluation is written when something is decided, and is there for good, with the server down too."""

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.e2e.stage import Stage, on_stage
from tests.serving import eventually

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
canaries:
"""
TRIAL = """
  - name: trial
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-4o-2024-11-20}}
    share: 50%
    rubric: [{{metric: error_rate, acceptable: "< 3%", ideal: "< 1%", weight: 1, question: "Any?"}}]
"""
OTHER = TRIAL.replace("trial", "other").replace("gpt-4o]", "gpt-5]")


def _archived(stage: Stage, config: Path, *arguments: str) -> list[dict[str, Any]]:
    told = stage.canary("archive", "list", "-o", "json", "--config", str(config), *arguments)
    assert told.returncode == 0, told.stderr
    return list(json.loads(told.stdout)["evaluations"])


def _kept(stage: Stage) -> int:
    """How many evaluations the store has."""
    with closing(sqlite3.connect(f"file:{stage.server.data / 'canary.db'}?mode=ro", uri=True)) as database:
        return int(database.execute("SELECT count(*) FROM evaluations").fetchone()[0])


def test_evaluations_are_written_survive_the_config_and_travel(tmp_path: Path) -> None:
    with on_stage(tmp_path, CONFIG + TRIAL + OTHER) as stage:
        config = stage.server.config
        who = {"who": "jane", "reason": "enough seen"}
        assert stage.api("POST", "/api/canaries/trial/rollback", who).status_code == 200
        decision = {**who, "decision": "dont_ship"}
        assert stage.api("POST", "/api/canaries/trial/decide", decision).status_code == 200
        stage.configure((CONFIG + TRIAL).format(url=stage.provider.url))
        eventually(lambda: _kept(stage) == 3)
        found = _archived(stage, config)
        assert {(each["canary"], each["event"]) for each in found} == {
            ("trial", "rolled_back"),
            ("trial", "decided"),
            ("other", "ended"),
        }
        ended = next(each for each in found if each["event"] == "ended")
        assert ended["candidate"]["model"] == "gpt-4o-2024-11-20"
        stage.restart()  # and writes none of them again
        assert stage.server.stop() == 0

        assert [each["key"] for each in _archived(stage, config)] == [each["key"] for each in found]
        where = ("--config", str(config))
        shown = stage.canary("archive", "show", "trial", *where, "-o", "json")
        assert json.loads(shown.stdout)["report"]["verdict"] == "dont_ship"
        assert "Don’t ship" in stage.canary("archive", "show", "trial", *where).stdout
        assert stage.canary("archive", "show", "nothing", *where).returncode == 1
        told = stage.canary("archive", "trends", *where).stdout
        assert re.search(
            r"openai: \d releases?; more is said from five on",
            told,
        )
        assert "their correlation is shown from 8 on" in told

        line = stage.canary("report", "other", *where, "-o", "json")
        assert json.loads(line.stdout)["metrics"][0]["acceptable"] == "< 3%"

        elsewhere, file = tmp_path / "elsewhere", tmp_path / "all.jsonl"
        elsewhere.mkdir()
        assert stage.canary("archive", "export", *where, "-o", str(file)).returncode == 0
        printed = json.loads(stage.canary("archive", "export", *where, "-o", "json").stdout)
        assert printed["evaluations"] == [json.loads(line) for line in file.read_text().splitlines()]
        stage.server.data = elsewhere
        told = stage.canary("archive", "import", str(file), *where, "-o", "json").stdout
        assert json.loads(told) == {"read": 3, "added": 3}
        told = stage.canary("archive", "import", str(file), *where, "-o", "json").stdout
        assert json.loads(told) == {"read": 3, "added": 0}
        assert [each["key"] for each in _archived(stage, config)] == [each["key"] for each in found]
        file.write_text(file.read_text() + "{}\n")
        refused = stage.canary("archive", "import", str(file), *where)
        assert refused.returncode == 1
        assert "line 4" in refused.stderr
