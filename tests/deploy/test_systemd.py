"""The systemd unit is sound, hardened, and lets streams of ten minutes end. No systemd runs it here."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "canary.service"
TEXT = UNIT.read_text()
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
