"""What the kernel says about processes: CPU time, memory, children, and how busy the machine was."""

import os
from dataclasses import dataclass
from pathlib import Path

TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def cpu_s(pid: int) -> float:
    """User and system seconds of a process with all its threads, ended ones too (proc_pid_stat(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def rss_bytes(pid: int) -> int:
    """Resident memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE


def family(pid: int) -> list[int]:
    """A process and all below it."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    children = [int(child) for task in tasks for child in task.read_text().split()]
    return [pid, *(member for child in children for member in family(child))]


def command_line(pid: int) -> str:
    """The command line, its arguments joined by spaces."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def busy_s() -> float:
    """Seconds in which any core did anything, since boot: the machine's whole work."""
    fields = [int(value) for value in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, _steal = fields
    return (user + nice + system + irq + softirq) * TICK_S


@dataclass(frozen=True, slots=True)
class Sample:
    """CPU seconds and resident bytes of the processes of one role."""

    cpu_s: float
    rss: int


def sample(pids: list[int]) -> Sample:
    """The sum over some processes."""
    return Sample(sum(map(cpu_s, pids)), sum(map(rss_bytes, pids)))
