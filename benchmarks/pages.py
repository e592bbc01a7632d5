"""How long the admin's pages take with 100 canaries and a day of traffic.

    .venv/bin/python -m benchmarks.pages

Controller and console as the admin process wires them, in this process and without sockets; the day's
exchanges are stored, and went through the feed's listeners. Each page is asked 30 times, and the controller
judges between any two, so nothing is kept that it could have changed.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import httpx2
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from benchmarks.admin_costs import controller_of
from benchmarks.ingest import outcomes
from canary.programs.process import boot_id
from console.access.guard import Access
from console.app import admin_app
from control.controller import Controller
from control.feed.events import WorkerEvents
from control.feed.joins import FeedbackJoins
from control.feed.spool import SpoolSource
from records.outcome import Outcome
from records.spool.writer import SpoolWriter
from records.store import Store
from records.store.shipper import Shipper
from routing.canary import ArmName

CANARIES, DAY_S, USERS = 100, 86_400.0, 500
TIMES, STEP = 30, 1_000
PAGES = (
    "/",
    "/?show=running&sort=-share",
    "/canaries/{name}",
    "/canaries/{name}/figures",
    "/canaries/{name}/course?span=24h",
    "/canaries/{name}/verdict",
    "/releases",
    "/archive",
    "/audit",
)
AIM_MS = 100.0
_OWNERS = ("payments", "search", "platform", "support")
_CANARY = """
  - name: {name}
    owner: {owner}
    match: {{models: [app-{number}]}}
    baseline: {{provider: openai, model: gpt-4o}}
    candidate: {{provider: openai, model: gpt-4.1}}
    share: 10%
    rubric:
      - {{metric: error_rate, acceptable: "< 5%", ideal: "< 1%", weight: 1, question: "Do answers arrive?"}}
      - {{metric: latency_p95, acceptable: "< 12 s", ideal: "< 8 s", weight: 1, question: "Fast?"}}
"""
_PROVIDERS = 'providers:\n  openai: {api: openai, base_url: "http://127.0.0.1:9/v1"}\ncanaries:'


def name_of(number: int) -> str:
    """The canary's name."""
    return f"support-{number:03}"


def config() -> str:
    """A config of CANARIES canaries of four owners, each with a rubric and the default guardrails."""
    entries = [
        _CANARY.format(name=name_of(number), owner=_OWNERS[number % 4], number=number)
        for number in range(CANARIES)
    ]
    return "".join([_PROVIDERS, *entries])


def day_of(count: int, until: float) -> Iterator[Outcome]:
    """So many exchanges, evenly over the canaries and the day that ends at UTC second `until`."""
    mono = time.monotonic()
    for serial, each in enumerate(outcomes(count, seed=0)):
        before_s, user = DAY_S * (1 - serial / count), int(each.unit, 16) % USERS
        arm: ArmName = "baseline" if user % 10 else "candidate"
        yield replace(
            each,
            canary=name_of(serial % CANARIES),
            at=until - before_s - (each.latency_s or 0.0),
            mono=mono - before_s - (each.latency_s or 0.0),
            unit=f"{user:032x}",
            arm=arm,
            served_by=arm,
        )


@dataclass(frozen=True, slots=True)
class PagesBench:
    """The admin process with its day behind it."""

    controller: Controller
    client: httpx2.AsyncClient

    async def measured(self, path: str, times: int) -> tuple[list[float], list[float]]:
        """Milliseconds of each request and of the CPU for it, after a first that does not count."""
        took, spent = [], []
        for _ in range(times + 1):
            self.controller.monitor.decide(time.time(), time.monotonic() + 1.0)
            began, cpu = time.perf_counter(), time.process_time()
            answer = await self.client.get(path)
            took.append(1000 * (time.perf_counter() - began))
            spent.append(1000 * (time.process_time() - cpu))
            assert answer.status_code == 200, (path, answer.status_code, answer.text[:300])
        return took[1:], spent[1:]


async def measure(folder: Path, store: Store, count: int, times: int) -> None:
    """Print a line for each page."""
    feed = SpoolSource(folder / "spool", folder / "live.json", boot=boot_id(), joins=FeedbackJoins(store))
    controller = controller_of(folder, store, feed, config(), began=time.time() - DAY_S)
    writer = SpoolWriter(folder / "spool", worker=0)
    day = list(day_of(count, time.time()))
    for part in (day[at : at + STEP] for at in range(0, count, STEP)):
        for outcome in part:
            writer.append(outcome)
        controller.monitor.take(WorkerEvents(records=part, heard=len(part)))
        controller.monitor.decide(time.time(), part[-1].mono)
    writer.close()
    assert Shipper(folder / "spool", store).drain()
    access = Access(admin_token=lambda: "token", metrics_token=lambda: None, loopback=True)
    app = admin_app(controller.operator, CollectorRegistry(), access)
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        client.headers["origin"] = "http://127.0.0.1"
        page = (await client.get("/login")).text
        given = {name: page.split(f'name="{name}" value="')[1].split('"')[0] for name in ("check", "onwards")}
        await client.post("/login", data={**given, "token": "token"})
        bench = PagesBench(controller, client)
        for path in PAGES:
            took, spent = await bench.measured(path.format(name=name_of(7)), times)
            word = "met" if median(took) <= AIM_MS else "not met"
            each = f"{min(took):6.1f} {median(took):6.1f} {max(took):6.1f} ms (aim {word})"
            print(f"{each}, CPU {min(spent):5.1f} {median(spent):5.1f} ms  {path}", flush=True)


def main() -> None:
    """Print the fastest, the median and the slowest of each page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.add_argument("--exchanges", type=int, default=100_000)
    parser.add_argument("--times", type=int, default=TIMES)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="canary-pages-") as name:
        folder = Path(name)
        (folder / "spool").mkdir(mode=0o700)
        with closing(Store.open("sqlite:///canary.db", folder)) as store:
            asyncio.run(measure(folder, store, asked.exchanges, asked.times))


if __name__ == "__main__":
    main()
