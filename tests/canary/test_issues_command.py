"""`canary issues list` says that it does not know, not that there are none."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CONFIG = """
providers: {openai: {api: openai, base_url: "http://127.0.0.1:1/v1"}}
canaries: []
"""


@pytest.mark.parametrize(("store", "code"), [("postgresql://x@127.0.0.1:9/x", 1), ("sqlite:///canary.db", 0)])
def test_a_store_that_does_not_answer_has_no_known_number_of_issues(
    tmp_path: Path, store: str, code: int
) -> None:
    (tmp_path / "canary.yaml").write_text(f"{CONFIG}store: {store}\n")
    command = [
        sys.executable,
        "-m",
        "canary",
        "issues",
        "list",
        "-o",
        "json",
        "--data",
        str(tmp_path / "data"),
    ]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == code, ran.stderr
    assert len(ran.stderr.strip().splitlines()) == code
    assert json.loads(ran.stdout or "{}").get("issues") == (None if code else [])
