"""A real Prometheus on a free port of the loopback that scrapes its targets every second."""

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from tests.servers.ports import free_port
from tests.serving import WAIT_S, eventually

Series = list[tuple[Mapping[str, str], list[tuple[float, float]]]]
"""Labels, then (UNIX seconds, value) pairs."""


class Prometheus:
    """One server's HTTP API."""

    def __init__(self, url: str) -> None:
        self._http = httpx2.Client(base_url=url, timeout=30.0, trust_env=False)

    def ready(self) -> bool:
        """True once it answers queries."""
        try:
            return self._http.get("/-/ready").status_code == 200
        except httpx2.TransportError:
            return False

    def over(self, expr: str, start: float, end: float, step: float) -> Series:
        """A range query's series; AssertionError with Prometheus's words where it refuses the expression."""
        asked = {"query": expr, "start": start, "end": end, "step": step}
        found = self._asked("/api/v1/query_range", asked)
        return [
            (each["metric"], [(float(at), float(value)) for at, value in each["values"]]) for each in found
        ]

    def at(self, expr: str, when: float | None = None) -> Series:
        """An instant query's series, of one pair each; without `when` as of now."""
        found = self._asked("/api/v1/query", {"query": expr} | ({"time": when} if when else {}))
        return [(each["metric"], [(float(each["value"][0]), float(each["value"][1]))]) for each in found]

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _asked(self, path: str, asked: Mapping[str, Any]) -> list[Any]:
        answer = self._http.post(path, data=asked).json()
        assert answer["status"] == "success", f"{answer['error']}: {asked['query']}"
        found: list[Any] = answer["data"]["result"]
        return found


@contextmanager
def scraping(
    targets: Sequence[str], folder: Path, *, rules: Sequence[Path] = (), alertmanager: str | None = None
) -> Iterator[Prometheus]:
    """Prometheus over the /metrics of `targets` (HOST:PORT each), ready; stopped at the end.

    It looks at the rules every second, and tells `alertmanager` (HOST:PORT).
    """
    settings = folder / "prometheus.yml"
    told = [] if alertmanager is None else [{"static_configs": [{"targets": [alertmanager]}]}]
    document = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "scrape_configs": [{"job_name": "canary", "static_configs": [{"targets": [*targets]}]}],
        "rule_files": [str(file) for file in rules],
        "alerting": {"alertmanagers": told},
    }
    settings.write_text(json.dumps(document))
    port = free_port()
    command = ["prometheus", f"--config.file={settings}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    command += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    prometheus = Prometheus(f"http://127.0.0.1:{port}")
    try:
        eventually(prometheus.ready)
        yield prometheus
    finally:
        prometheus.close()
        process.terminate()
        process.wait(WAIT_S)
