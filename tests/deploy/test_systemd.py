"""The systemd units are sound and hardened, and streams of ten minutes may end. No systemd runs them here,
but their commands run where only the data folder can be written, as by ProtectSystem=strict."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from demo.provider.behaviour import Behaviour
from tests.e2e.stage import Stage, chat, on_stage
from tests.serving import eventually

FOLDER = Path(__file__).parents[2] / "deploy" / "systemd"
UNIT = FOLDER / "canary.service"
TEXT = UNIT.read_text()
JOBS = ("canary-watch", "canary-sample@")
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1", api_key: k}}
canaries:
  - name: support
    standing: true
    match: {{models: [support-bot]}}
    baseline: {{provider: openai, model: old}}
    candidate: {{provider: openai}}
    share: 5%
    settle: 0s
    start: manual
    rubric: [{{metric: error_rate, acceptable: "< 2%", ideal: "< 1%", weight: 1, question: "Enough?"}}]
datasets: {{sums: {{file: sums.jsonl, layer: synthetic}}}}
prices: {{old: {{input: 1, output: 2}}, gpt-good: {{input: 1, output: 2}}}}
"""
STRICT = """\
set -e
mount --bind "$0" "$0"
mount -o remount,bind,ro=recursive /
mount -o remount,bind,rw "$0"
touch "$0/../written" 2> /dev/null && exit 99
exec "$@"
"""


def analyzed(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=120)


def setting(name: str) -> str:
    (value,) = re.findall(rf"^{name}=(.*)$", TEXT, re.MULTILINE)
    return str(value)


@needs_systemd
def test_systemd_finds_nothing_wrong_with_it(tmp_path: Path) -> None:
    here = tmp_path / UNIT.name
    here.write_text(TEXT.replace("/opt/canary/bin/canary", sys.executable))
    done = analyzed("verify", str(here))
    assert (done.returncode, done.stderr.strip()) == (0, "")


@needs_systemd
def test_its_exposure_is_low() -> None:
    done = analyzed("security", "--offline=true", "--threshold=15", str(UNIT))
    assert done.returncode == 0, done.stdout
    (exposure,) = re.findall(r"exposure level for canary.service: ([\d.]+)", done.stdout)
    print(f"\nsystemd-analyze security: {exposure} of 10")


def test_streams_of_ten_minutes_may_end() -> None:
    assert int(setting("TimeoutStopSec").removesuffix("s")) >= 600 + 2 + 20
    assert setting("KillMode") == "mixed", "the supervisor ends its children, in order"


def test_a_mistake_in_the_config_is_not_tried_again_and_again() -> None:
    assert setting("RestartPreventExitStatus") == "2"
    assert setting("Restart") == "on-failure"


@needs_systemd
@pytest.mark.parametrize("job", JOBS)
def test_systemd_finds_nothing_wrong_with_a_timer_and_what_it_starts(tmp_path: Path, job: str) -> None:
    for kind in ("service", "timer"):
        text = (FOLDER / f"{job}.{kind}").read_text()
        (tmp_path / f"{job}.{kind}").write_text(text.replace("/opt/canary/bin/canary", sys.executable))
    units = [str(tmp_path / f"{job.replace('@', '@support')}.{kind}") for kind in ("timer", "service")]
    done = analyzed("verify", *units)
    assert (done.returncode, done.stderr.strip()) == (0, "")


@pytest.mark.parametrize("job", JOBS)
def test_a_job_has_the_servers_user_data_and_bounds(job: str) -> None:
    def bounds(text: str) -> list[str]:
        lines = text.partition("[Service]")[2].partition("[Install]")[0].partition("NoNewPrivileges=")[2]
        return lines.split()

    text = (FOLDER / f"{job}.service").read_text()
    assert bounds(text) == bounds(TEXT)
    for line in ("User=canary", "DynamicUser=yes", "UMask=0077", "StateDirectoryMode=0700"):
        assert f"\n{line}\n" in text
        assert f"\n{line}\n" in TEXT
    assert "CANARY_DATA=/var/lib/canary" in text


@pytest.mark.parametrize("job", JOBS)
def test_a_jobs_command_is_one_of_canarys(job: str) -> None:
    (line,) = re.findall(
        r"^ExecStart=/opt/canary/bin/canary (.*)$", (FOLDER / f"{job}.service").read_text(), re.M
    )
    words = [word for word in line.split() if not word.startswith("$")]
    done = subprocess.run(
        [sys.executable, "-m", "canary", *words, "--help"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def has_namespaces() -> bool:
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0


def strict(data: Path) -> tuple[str, ...]:
    """A command before another one: nothing but the data folder can be written."""
    data.mkdir(exist_ok=True)
    return ("unshare", "--mount", "sh", "-c", STRICT, str(data))


def watched(stage: Stage) -> str:
    """What the watch unit's command says, with the flags of its environment file."""
    text = (FOLDER / "canary-watch.service").read_text()
    (line,) = re.findall(r"^ExecStart=/opt/canary/bin/canary (.*)$", text, re.MULTILINE)
    flags = ["--bench", "--begin", "support", "--match", "gpt-*"]
    words = [each for word in line.split() for each in (flags if word == "$CANARY_WATCH_FLAGS" else [word])]
    environment = {"PATH": os.environ["PATH"], "HOME": "/"}
    environment |= {"CANARY_CONFIG": str(stage.server.config), "CANARY_DATA": str(stage.server.data)}
    command = [*strict(stage.server.data), sys.executable, "-m", "canary", *words]
    done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.more
@pytest.mark.skipif(not has_namespaces(), reason="a mount namespace needs root")
def test_a_model_is_noticed_begun_and_promoted_where_only_the_data_folder_can_be_written(
    tmp_path: Path,
) -> None:
    sums = {f"{n} + 1 = ?": str(n + 1) for n in reversed(range(60))}
    lines = [{"id": asked, "task": "exact", "input": asked, "expected": said} for asked, said in sums.items()]
    (tmp_path / "sums.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with on_stage(tmp_path, CONFIG, wrapper=strict(tmp_path / "data")) as stage:
        stage.provider.behave("old", Behaviour(says=sums))
        assert watched(stage) == ""
        stage.provider.behave("gpt-good", Behaviour(says=sums))
        assert "support-gpt-good is begun and waits for" in watched(stage)
        for order in (["start"], ["promote", "--against-verdict"]):
            done = stage.canary(*order, "support-gpt-good", "--reason", "its benchmark")
            assert done.returncode == 0, done.stderr
        eventually(lambda: served(stage) == {"gpt-good"})
        stage.restart()
        assert served(stage) == {"gpt-good"}
        assert stage.server.config.read_text() == stage.config_text
        assert "Read-only file system" not in stage.server.log_file.read_text()
        assert {each.name for each in tmp_path.iterdir()} == {
            "canary.yaml",
            "sums.jsonl",
            "data",
            "serve.log",
        }


def served(stage: Stage) -> set[str]:
    """The models that users of the app get."""
    before = len(stage.provider.log.entries)
    url = f"{stage.server.traffic}/v1/chat/completions"
    for number in range(8):
        httpx2.post(
            url, json=chat("support-bot", f"u{number}"), trust_env=False, timeout=30
        ).raise_for_status()
    return {each.model for each in stage.provider.log.entries[before:]}
