"""R24: the folder that canary is started in is the user's: modules with the names of canary's rooms may be in
it, and none of them is run."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx2
import pytest

from tests.serving import ProviderThread, Running

CONFIG = """
providers: {{openai: {{api: openai, base_url: "{url}/v1"}}}}
canaries:
  - name: here
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-4o-2024-11-20}}
    share: 10%
    capture: {{rate: 100%}}
"""
MODULES = ("bench.py", "verdict.py", "proxy/__init__.py")
FOREIGN = "open({marker!r}, 'a').write(__file__ + '\\n')\nraise ImportError('this is not canary')\n"
SCRIPT = (str(Path(sys.executable).with_name("canary")),)
MODULE = (sys.executable, "-m", "canary")
ASKED = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}], "user": "user-1"}


def foreign_folder(folder: Path) -> Path:
    """A user's folder; each module in it writes into `imported` when it is run, and raises."""
    for name in MODULES:
        module = folder / name
        module.parent.mkdir(parents=True, exist_ok=True)
        module.write_text(FOREIGN.format(marker=str(folder / "imported")))
    return folder


@pytest.mark.parametrize(
    ("program", "path"),
    [
        pytest.param(SCRIPT, "", id="canary"),
        pytest.param(MODULE, ".", id="python -m canary, PYTHONPATH", marks=pytest.mark.more),
        pytest.param(SCRIPT, ".", id="canary, PYTHONPATH", marks=pytest.mark.more),
        pytest.param(MODULE, "", id="python -m canary", marks=pytest.mark.more),
    ],
)
def test_r24_modules_of_the_working_folder_are_left_alone(
    provider: ProviderThread, tmp_path: Path, program: Sequence[str], path: str
) -> None:
    folder = foreign_folder(tmp_path / "theirs")
    running = Running(
        tmp_path / "server",
        CONFIG.format(url=provider.url),
        workers=1,
        grace_s=5.0,
        env={"PYTHONPATH": path},
        wrapper=("env", "--chdir", str(folder)),
        program=program,
    )
    try:
        answer = httpx2.post(
            f"{running.traffic}/v1/chat/completions", json=ASKED, headers={"authorization": "Bearer sk"}
        )
        ran = subprocess.run(
            [*program, "report", "here", "--config", running.config, "--data", running.data],
            cwd=folder, env={"PYTHONPATH": path}, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        log = running.log_file.read_text()
    finally:
        code = running.stop()
    assert answer.status_code == 200
    assert "EXTEND" in ran.stdout.upper(), ran.stderr
    assert "child.ended" not in log
    assert "capture.process" not in log
    assert code == 0
    assert not (folder / "imported").exists(), (folder / "imported").read_text()
