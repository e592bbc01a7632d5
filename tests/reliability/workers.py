"""The server's worker processes as the kernel and the metrics show them."""

from collections import Counter
from pathlib import Path

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.stage import Stage, worker_pids


def serving(stage: Stage) -> list[int]:
    """The workers that serve: a worker's spool file begins with its first sign of life."""
    spools = [file.name for file in (stage.server.data / "spool").glob("*.spool") if _holds_bytes(file)]
    return sorted(pid for pid in worker_pids(stage.server) if any(f"-{pid}-" in name for name in spools))


def _holds_bytes(file: Path) -> bool:
    try:
        return file.stat().st_size > 0
    except FileNotFoundError:  # shipped and deleted since it was listed
        return False


def callers_of(pid: int) -> set[int]:
    """The callers' ports of the connections over loopback that a process holds."""
    held = {str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir() if each.is_symlink()}
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(line[2].partition(":")[2], 16) for line in lines if f"socket:[{line[9]}]" in held}


def sums(stage: Stage, family: str) -> Counter[str]:
    """A counter's values, added up by the last of its labels (`state`, `outcome`)."""
    text = httpx2.get(f"{stage.server.admin}/metrics", trust_env=False).text
    found: Counter[str] = Counter()
    for each in text_string_to_metric_families(text):
        for sample in each.samples:
            if sample.name == family:
                found[next(reversed(sample.labels.values()), "")] += int(sample.value)
    return found
