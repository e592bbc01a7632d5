"""The image: linted, not root, hash-locked. No Docker is here to build it."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Dockerfile").read_text()
LOCKS = {"requirements-server.lock", "requirements-compile.lock"}


def test_hadolint_finds_nothing() -> None:
    hadolint = str(Path(sys.executable).with_name("hadolint"))
    done = subprocess.run([hadolint, str(ROOT / "Dockerfile")], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_it_runs_as_nobody_in_particular_from_a_stage_without_build_tools() -> None:
    final = TEXT.rpartition("\nFROM ")[2]
    assert re.search(r"^USER 10001:10001$", final, re.MULTILINE)
    assert "pip install" not in final
    assert "COPY --from=build /opt/canary /opt/canary" in final


def test_what_it_installs_is_locked_by_hash_and_nothing_is_built_from_source() -> None:
    installs = [line for line in TEXT.splitlines() if "pip install" in line]
    assert len(installs) == 3
    assert "--require-hashes --only-binary :all: -r requirements-compile.lock" in installs[0]
    assert "--require-hashes --only-binary :all: -r requirements-server.lock" in installs[1]
    assert "--no-deps /wheel/*.whl" in installs[2]


def test_everything_that_a_server_can_do_is_in_it_at_the_versions_that_are_tested() -> None:
    locked, tested = (pins(ROOT / name) for name in ("requirements-server.lock", "requirements.lock"))
    assert locked.items() <= tested.items()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    served = extras.keys() - {"build", "compile", "dev"}
    wanted = {re.split(r"[\[<>=]", each)[0] for extra in served for each in extras[extra]}
    assert wanted <= locked.keys()


def pins(lock: Path) -> dict[str, str]:
    """Each package of a lock and its version."""
    return dict(re.findall(r"^([\w.-]+)==([^ ;]+)", lock.read_text(), re.MULTILINE))


def test_what_it_runs_is_compiled() -> None:
    built = [line for line in TEXT.splitlines() if "pip wheel" in line]
    assert len(built) == 1 and "CANARY_COMPILE=1" in built[0] and "--no-deps --no-build-isolation" in built[0]


def test_the_build_gets_every_room_of_the_wheel_and_nothing_else() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    rooms = set(re.findall(r'"(\w+)"', re.findall(r"\[tool.hatch.*?\]\npackages = (\[.*?\])", project)[0]))
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    let_in = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert ignored[1] == "*"
    assert let_in == rooms | {"pyproject.toml", "hatch_build.py", "README.md", "LICENSE"} | LOCKS
