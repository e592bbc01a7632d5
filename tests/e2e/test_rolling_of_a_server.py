"""A running server rolls what is due, and says what hinders it; `canary records roll` does the rest."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from records.store import Store
from tests.e2e.stage import chat
from tests.records.samples import a_batch, an_outcome
from tests.serving import ProviderThread, Running, eventually

CONFIG = 'providers:\n  openai: {{api: openai, base_url: "{}/v1"}}\n'


@contextmanager
def serving(folder: Path, config: str) -> Iterator[Running]:
    """A server whose store has three outcomes of 2024."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    with closing(Store.open("sqlite:///canary.db", folder / "data")) as store:
        store.ship(a_batch(*(an_outcome(n) for n in range(3))))
    running = Running(folder, config, workers=1, grace_s=5.0, env={})
    try:
        yield running
    finally:
        running.kill()


def segments(http: httpx2.Client, running: Running) -> float | None:
    """The gauge of that name; None while it is not there."""
    scraped = http.get(f"{running.admin}/metrics").text
    found = {each.name: each.samples for each in text_string_to_metric_families(scraped)}
    return next((sample.value for sample in found.get("canary_segments", [])), None)


def test_what_is_due_is_rolled_and_the_rest_when_somebody_asks(
    provider: ProviderThread, tmp_path: Path
) -> None:
    config = CONFIG.format(provider.url) + "retention: 90000d\n"
    with serving(tmp_path, config) as running, httpx2.Client(timeout=30.0) as http:
        eventually(lambda: segments(http, running) == 1)
        (file,) = (running.data / "outcomes").rglob("*.parquet")
        assert file.relative_to(running.data / "outcomes").parts[0] == "day=2024-10-04"
        url = f"{running.traffic}/v1/chat/completions"
        asked = http.post(url, json=chat("gpt-4o", None), headers={"authorization": "Bearer sk-1"})
        assert asked.status_code == 200
        told = eventually(lambda: (said := rolled(running)).startswith("1 ") and said)
        assert told == f"1 outcomes in 1 file in {running.data}/outcomes\n"


def rolled(running: Running) -> str:
    """What `canary records roll` says beside the running server."""
    command = [sys.executable, "-m", "canary", "records", "roll"]
    command += ["--config", str(running.config), "--data", str(running.data)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr


def test_what_hinders_it_is_said(provider: ProviderThread, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "outcomes").write_text("in the way")
    with serving(tmp_path, CONFIG.format(provider.url)) as running, httpx2.Client(timeout=30.0) as http:
        said = eventually(lambda: "not rolled" in (text := http.get(f"{running.admin}/readyz").text) and text)
    assert "wait in the database and are not lost, but not rolled: the segment day=2024-10-04" in said
