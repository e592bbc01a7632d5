"""The systemd units are sound and hardened, and streams of ten minutes may end. No systemd runs them here."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "deploy" / "systemd"
UNIT = FOLDER / "canary.service"
TEXT = UNIT.read_text()
JOBS = ("canary-watch", "canary-sample@")
pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")


def analyzed(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60)


def setting(name: str) -> str:
    (value,) = re.findall(rf"^{name}=(.*)$", TEXT, re.MULTILINE)
    return str(value)


def test_systemd_finds_nothing_wrong_with_it(tmp_path: Path) -> None:
    here = tmp_path / UNIT.name
    here.write_text(TEXT.replace("/opt/canary/bin/canary", sys.executable))
    done = analyzed("verify", str(here))
    assert (done.returncode, done.stderr.strip()) == (0, "")


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
