"""The recipe of docs/drift.md: an alias moves, and its users get the dated snapshot again by themselves."""

import threading
from pathlib import Path

import pytest

from canary.config import parse
from demo.provider.behaviour import Behaviour
from tests.e2e.crowd import Crowd
from tests.e2e.stage import on_stage
from tests.serving import eventually

NAME, ALIAS, SNAPSHOT = "alias-watch", "assistant-3", "assistant-3-2026-10-01"
AS_EVER, MOST = 500, 5000
SECRET = "a-secret-of-the-alias-and-its-snapshot-0123"


def recipe(url: str) -> str:
    """The config of the page, with a provider."""
    page = (Path(__file__).parents[2] / "docs" / "drift.md").read_text()
    canary = page.rpartition("```yaml\n")[2].partition("```")[0]
    return f'providers: {{openai: {{api: openai, base_url: "{url}/v1"}}}}\n{canary}'


def test_the_recipe_is_a_config_without_a_warning() -> None:
    read = parse(recipe("http://127.0.0.1:1"), "canary.yaml", {})
    assert [each.share for each in read.canaries[NAME].canary.steps] == [0.02]
    assert read.warnings == ()


@pytest.mark.more
def test_an_alias_that_moves_is_rolled_back_to_its_snapshot_and_one_that_does_not_is_not(
    tmp_path: Path,
) -> None:
    written = recipe("URL").replace("{", "{{").replace("}", "}}").replace("URL", "{url}")
    with on_stage(tmp_path, written, env={"CANARY_SECRET": SECRET}) as stage:
        crowd = Crowd(stage, NAME, ALIAS, share=0.02)
        crowd.ask(threading.Event(), AS_EVER)
        assert stage.status(NAME)["state"] == "running"
        stage.provider.behave(ALIAS, Behaviour(answer_faults={"empty": 0.6}))
        moved = threading.Event()
        asking = threading.Thread(target=crowd.ask, args=(moved, MOST))
        asking.start()
        try:
            eventually(lambda: stage.status(NAME)["state"] == "rolled_back", 120.0)
        finally:
            moved.set()
            asking.join()
        why = eventually(lambda: stage.status(NAME)["rollback"])
        eventually(lambda: stage.api("GET", "/api/status").json()["workers"] == {"alive": 1, "confirmed": 1})
        asked = len(stage.provider.log.entries)
        crowd.ask(threading.Event(), 100)
        models = [each.model for each in stage.provider.log.entries[asked:]]
    print(f"{len(crowd.statuses)} requests, rolled back by {why['rule']}")
    assert models == [SNAPSHOT] * 100
    assert set(crowd.statuses) == {200}
