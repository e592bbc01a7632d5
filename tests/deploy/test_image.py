"""The image's Dockerfile: linted, not root, hash-locked. `make test-image` builds and runs it."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Dockerfile").read_text()
JOINED = re.sub(r"\\\n\s*", "", TEXT)
LOCKS = {"requirements-server.lock", "requirements-compile.lock"}


def test_hadolint_finds_nothing() -> None:
    hadolint = str(Path(sys.executable).with_name("hadolint"))
    done = subprocess.run([hadolint, str(ROOT / "Dockerfile")], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "")


def test_it_runs_as_nobody_in_particular_from_a_stage_without_build_tools() -> None:
    final = TEXT.rpartition("\nFROM ")[2]
    assert re.search(r"^USER 10001:10001$", final, re.MULTILINE)
    assert "pip install" not in final
    assert "COPY --from=packages /opt/canary /opt/canary" in final
    assert "COPY --from=program /program /" in final


def test_what_it_installs_is_locked_by_hash_and_nothing_is_built_from_source() -> None:
    installs = re.findall(r"/opt/compile/bin/pip [^&]*?install (.*?)(?: &&|$)", JOINED, re.MULTILINE)
    assert len(installs) == 3
    assert installs[0].endswith("--require-hashes --only-binary :all: -r requirements-compile.lock")
    assert installs[1].endswith("--require-hashes --only-binary :all: -r requirements-server.lock")
    assert installs[2].endswith("--no-deps --root /program /wheel/*.whl")


def test_the_header_starts_it_as_strictly_as_the_documentation() -> None:
    described = (ROOT / "docs" / "deploy.md").read_text().partition("\n## Image\n")[2].partition("\n## ")[0]
    shown = [started(text) for text in (re.sub(r"^#", "", TEXT, flags=re.MULTILINE), described)]
    assert shown[0] == shown[1]
    assert {"--init", "--read-only", "--cap-drop ALL", "--security-opt no-new-privileges"} <= shown[0]


def started(text: str) -> set[str]:
    """The options of the first `docker run --name`, each with its value."""
    command = text.replace("\\\n", " ").partition("docker run --name")[2].partition("\n")[0]
    assert command.split()[-1] == "canary"
    command = re.sub(r'="\$\(openssl.*?\)"', "", command)
    return {each.strip() for each in re.findall(r"--\S+(?: (?!--)\S+)?", command)}


def test_everything_that_a_server_can_do_is_in_it_at_the_versions_that_are_tested() -> None:
    locked, tested = (pins(ROOT / name) for name in ("requirements-server.lock", "requirements.lock"))
    assert locked.items() <= tested.items()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    served = extras.keys() - {"build", "compile", "dev", "mcp"}
    wanted = {re.split(r"[\[<>=]", each)[0] for extra in served for each in extras[extra]}
    assert wanted <= locked.keys()


def pins(lock: Path) -> dict[str, str]:
    """Each package of a lock and its version."""
    return dict(re.findall(r"^([\w.-]+)==([^ ;]+)", lock.read_text(), re.MULTILINE))


def test_a_change_of_code_leaves_the_layer_of_packages_as_it_is() -> None:
    tools, packages = (
        TEXT.partition(f" AS {stage}\n")[2].partition("\nFROM ")[0] for stage in ("tools", "packages")
    )
    copied = re.findall(r"^COPY (.*)$", f"{tools}\n{packages}", re.MULTILINE)
    assert copied == ["requirements-compile.lock ./", "requirements-server.lock ./"]


def test_what_it_runs_is_compiled() -> None:
    (built,) = [line for line in TEXT.splitlines() if "build --target wheel" in line]
    assert "CANARY_COMPILE=1" in built
    assert "pip wheel" not in TEXT, (
        "pip builds, and compiles, a wheel once for its metadata and once for its files"
    )


def test_the_build_gets_every_room_of_the_wheel_and_nothing_else() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    rooms = set(re.findall(r'"(\w+)"', re.findall(r"\[tool.hatch.*?\]\npackages = (\[.*?\])", project)[0]))
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    let_in = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert ignored[1] == "*"
    assert let_in == rooms | {"pyproject.toml", "hatch_build.py", "README.md", "LICENSE"} | LOCKS
