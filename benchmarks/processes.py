"""Processes and their figures from the kernel: CPU time, memory, children, and the machine's load."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


@contextmanager
def child(
    command: list[str], core: str, *, log: Path | None = None, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A process pinned to cores (in taskset's notation) that ends with the block."""
    with (log or Path(os.devnull)).open("w") as errors:
        process = subprocess.Popen(
            ["taskset", "-c", core, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if log is None else errors,
            stderr=errors,
            text=True,
            env=env,
        )
        with process:
            try:
                yield process
            finally:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()


def cpu_s(pid: int) -> float:
    """User and system seconds of a process with all its threads, including ended ones (proc_pid_stat(5))."""
    return sum(_times(pid)[:2])


def whole_cpu_s(pid: int) -> float:
    """The same, including the children that it has waited for."""
    return sum(_times(pid))


def _times(pid: int) -> list[float]:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return [int(field) * TICK_S for field in fields[11:15]]


def rss_bytes(pid: int) -> int:
    """Resident memory in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    children = [int(child) for task in tasks for child in task.read_text().split()]
    return [pid, *(member for child in children for member in family(child))]


def command_line(pid: int) -> str:
    """The command line, its arguments joined by spaces."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


@dataclass(frozen=True, slots=True)
class ProcessSample:
    """CPU seconds and resident bytes of the processes of one role."""

    cpu_s: float
    rss: int


def sample(pids: list[int]) -> ProcessSample:
    """The sum over some processes."""
    return ProcessSample(sum(map(cpu_s, pids)), sum(map(rss_bytes, pids)))


@dataclass(frozen=True, slots=True)
class Work:
    """CPU seconds of an interval: the whole machine's, this run's, and those stolen by the hypervisor."""

    machine_s: float
    own_s: float
    stolen_s: float

    def __sub__(self, before: "Work") -> "Work":
        return Work(
            self.machine_s - before.machine_s, self.own_s - before.own_s, self.stolen_s - before.stolen_s
        )


def work() -> Work:
    """CPU seconds since boot, of the machine and of this process with its children."""
    fields = [int(value) for value in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields
    own = sum(map(whole_cpu_s, family(os.getpid())))
    return Work((user + nice + system + irq + softirq) * TICK_S, own, steal * TICK_S)
