"""R23: a config or token that another file takes the place of (`mv`) counts within two seconds, also where
the new file has the time and size of the old one, or is older; the old token opens nothing any more."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.e2e.stage import Stage, chat, on_stage
from tests.serving import eventually

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
  entry-a: {{api: openai, base_url: "{url}/v1"}}
"""
WITHIN_S = 2.0
AGES = pytest.mark.parametrize("older_s", [0, 60], ids=["as old", "older"])


def moved_over(file: Path, text: str, older_s: int) -> float:
    """Put a file of the same size, as old as that one or older, in its place. Returns when that was."""
    before = file.stat()
    assert len(text.encode()) == before.st_size
    fresh = file.with_name("fresh")
    fresh.write_text(text)
    then = before.st_mtime_ns - older_s * 10**9
    os.utime(fresh, ns=(then, then))
    fresh.replace(file)
    return time.monotonic()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("moved")
    token = folder / "feedback.token"
    token.write_text(f"{0:064d}\n")
    with on_stage(folder, CONFIG, env={"CANARY_FEEDBACK_TOKEN_FILE": str(token)}) as running:
        yield running


def opens(stage: Stage, name: str, token: str) -> bool:
    """Whether it is taken where tokens of this name are asked for."""
    headers = {"authorization": f"Bearer {token.strip()}"}
    if name == "admin.token":
        return httpx2.get(f"{stage.server.admin}/api/status", headers=headers).status_code == 200
    said = {"unit": "user-1", "metric": "thumbs", "value": 1}
    answer = httpx2.post(f"{stage.server.traffic}/canary/feedback", json=said, headers=headers)
    return answer.status_code == 202


@AGES
@pytest.mark.parametrize("name", ["admin.token", "feedback.token"])
def test_r23_a_token_that_was_moved_there_counts_and_the_old_one_no_longer(
    stage: Stage, name: str, older_s: int
) -> None:
    file = (stage.server.data if name == "admin.token" else stage.server.data.parent) / name
    old, new = file.read_text(), f"{time.monotonic_ns():064d}\n"
    assert opens(stage, name, old)
    moved = moved_over(file, new, older_s)
    eventually(lambda: opens(stage, name, new), WITHIN_S)
    print(f"\nR23: {name} counts after {time.monotonic() - moved:.2f} s")
    assert not opens(stage, name, old)


@AGES
def test_r23_a_config_that_was_moved_there_counts(stage: Stage, older_s: int) -> None:
    was, becomes = (
        ("entry-a", "entry-b") if "entry-a" in stage.server.config.read_text() else ("entry-b", "entry-a")
    )

    def known(entry: str) -> bool:
        url = f"{stage.server.traffic}/{entry}/v1/chat/completions"
        headers = {"authorization": "Bearer sk"}
        return httpx2.post(url, json=chat("gpt-4o", None), headers=headers).status_code == 200

    assert known(was)
    moved = moved_over(stage.server.config, stage.server.config.read_text().replace(was, becomes), older_s)
    eventually(lambda: known(becomes), WITHIN_S)
    print(f"\nR23: the config counts after {time.monotonic() - moved:.2f} s")
    assert not known(was)
