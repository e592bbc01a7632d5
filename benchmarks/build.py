"""Compiles the two C programs that measure, into the run's folder."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).parent


class NoCompilerError(RuntimeError):
    """The C programs could not be compiled."""


@dataclass(frozen=True, slots=True)
class Programs:
    """The provider's and the load client's executables."""

    provider: Path
    load: Path


def compiled(folder: Path) -> Programs:
    """Compile both into a folder. Raises NoCompilerError, which says what is missing."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise NoCompilerError(
            "The benchmark's provider and client are C programs, and there is no C compiler here. "
            "Install one (on Debian: apt-get install gcc libc6-dev)."
        )
    return Programs(_compile(compiler, folder, "provider"), _compile(compiler, folder, "load"))


def _compile(compiler: str, folder: Path, name: str) -> Path:
    program = folder / name
    command = [compiler, "-O2", "-std=gnu11", "-Wall", "-Wextra", "-o", str(program)]
    done = subprocess.run(
        [*command, str(SOURCES / f"{name}.c"), "-lm"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise NoCompilerError(
            f"{name}.c does not compile here (on Debian, libc6-dev has the headers):\n{done.stderr}"
        )
    return program
