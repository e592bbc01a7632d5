"""Compiles the C programs that measure, into the run's folder."""

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
    return Programs(_compile(folder, "provider"), _compile(folder, "load"))


def library(folder: Path, name: str) -> Path:
    """Compile a library that Python can load. Raises NoCompilerError."""
    return _compile(folder, name, "-shared", "-fPIC")


def _compile(folder: Path, name: str, *options: str) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise NoCompilerError(
            "The benchmark has programs in C, and there is no C compiler here. "
            "Install one (on Debian: apt-get install gcc libc6-dev)."
        )
    program = folder / name
    command = [compiler, "-O2", "-std=gnu11", "-Wall", "-Wextra", *options, "-o", str(program)]
    done = subprocess.run(
        [*command, str(SOURCES / f"{name}.c"), "-lm"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise NoCompilerError(
            f"{name}.c does not compile here (on Debian, libc6-dev has the headers, and valgrind those of "
            f"callgrind):\n{done.stderr}"
        )
    return program
