"""Measures a report at scale: fills a store like weeks of traffic would, then makes the report.

    python -m benchmarks.report_scale --exchanges 50000000 --units 500000 --store postgresql
    taskset -c 0 python -m benchmarks.report_scale --exchanges 2000000 --units 20000 --store sqlite

Unit totals, sessions, feedback and exchanges have their real numbers: all exchanges lie in segments, with all
their columns. A database that this program starts shares its core.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from benchmarks.report_world import DAY_S, FIRST_DAY, World, fill
from canary.config import parse
from records.shared.segment_folder import OUTCOMES
from records.store import Act, Store
from records.store.database import engine_of
from records.store.reports import LookScope, VerdictLooks
from routing import transitions
from tests.servers.postgres import Postgres
from verdict.decision.reports import report_from_store
from verdict.rows.looks import Look, to_store
from verdict.terms.judged_canary import ReportSettings

CONFIG = """
providers:
  openai: {{api: openai, base_url: "https://api.openai.com/v1"}}
tags: [region, plan]
metrics:
  sale_cost: {{cost_per: conversion, question: "What does a sale cost?"}}
canaries:
  - name: support-nov
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: a}}
    candidate: {{provider: openai, model: b}}
    share: 10%
    segments: [{segments}]
    rubric:
      - {{metric: task_completed, acceptable: ">= 75%", ideal: ">= 90%", weight: {weight}, question: "Done?"}}
      - {{metric: latency_p95, acceptable: "< 8s", ideal: "< 1s", weight: 25, question: "Waiting?"}}
      - {{metric: cost_per_request, acceptable: "< 0.12", ideal: "< 0.01", weight: 20, question: "Cost?"}}
      - {{metric: csat, acceptable: "> 3.5", ideal: "> 4.4", weight: 15, question: "Satisfied?"}}
{more}
store: "{store}"
"""
MORE = """
      - {metric: ttft_p95, acceptable: "< 5s", ideal: "< 0.1s", weight: 1, question: "First word?"}
      - {metric: tokens, acceptable: "< 5000", ideal: "< 10", weight: 1, question: "Length?"}
      - {metric: cost_total, acceptable: "< 100", ideal: "< 0.1", weight: 1, question: "Dear users?"}
      - {metric: session_length_s, acceptable: "< 8000s", ideal: "< 1s", weight: 1, question: "Long?"}
      - {metric: session_repeats, acceptable: "< 20%", ideal: "< 0.1%", weight: 1, question: "Again?"}
"""
EVENTS = """
      - {metric: escalated, acceptable: "<= 1.5x baseline", ideal: "<= baseline", weight: 1, question: "?"}
      - {metric: conversion, acceptable: ">= 0.9x baseline", ideal: ">= baseline", weight: 1, question: "?"}
      - {metric: revenue, acceptable: ">= 0.9x baseline", ideal: ">= baseline", weight: 1, question: "?"}
      - {metric: compliance_violation, acceptable: "< 1%", ideal: "< 0.1%", weight: 1, question: "?"}
      - {metric: sale_cost, acceptable: "<= 1.2x baseline", ideal: "<= baseline", weight: 1, question: "?"}
"""


def main() -> None:
    """Fill the store, then make the report in a separate process, and print its time and memory."""
    asked = _arguments()
    if asked.judge:
        print(json.dumps(_judge(asked.judge, Path(asked.data))))
        return
    world = World(exchanges=asked.exchanges, units=asked.units, days=asked.days)
    with ExitStack() as stack:
        data = Path(asked.data or stack.enter_context(tempfile.TemporaryDirectory(prefix="canary-scale-")))
        url = stack.enter_context(_store(asked.store))
        if not asked.filled:
            began = time.monotonic()
            cells = _fill(url, data, world)
            print(
                f"filled: {cells:,} rows of unit_days in {time.monotonic() - began:.0f} s, segments of "
                f"{_size(data / OUTCOMES) / world.exchanges:.0f} bytes an exchange",
                file=sys.stderr,
            )
        for name, segments, more in (
            ("contract's rubric", "", ""),
            ("and 20 segments", "region, plan", ""),
            ("and 9 rows", "region, plan", MORE),
            ("and 14 rows, 5 of events", "region, plan", MORE + EVENTS),
        ):
            # Every report has a rubric of its own, so that no earlier one has stored its last look.
            config = CONFIG.format(segments=segments, more=more, store=url, weight=40 + time.time() % 1)
            found = _judged(config, data)
            print(
                f"{name:24} {found['seconds']:6.1f} s, of its own CPU {found['cpu_seconds']:5.1f} s, "
                f"peak {found['peak_mib']:5.0f} MiB: {found['units']:,} units, "
                f"{found['segments']} lines of segments, {found['verdict']}"
            )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--exchanges", type=int, default=50_000_000)
    parser.add_argument("--units", type=int, default=500_000)
    parser.add_argument("--days", type=int, default=14)
    parser.add_argument("--store", default="sqlite", help="sqlite, postgresql (one is started), or a URL")
    parser.add_argument("--data", help="the folder of the segments and of SQLite; else a temporary one")
    parser.add_argument("--filled", action="store_true", help="the URL's store and the folder are filled")
    parser.add_argument("--judge", help=argparse.SUPPRESS)
    return parser.parse_args()


@contextmanager
def _store(asked: str) -> Iterator[str]:
    if asked != "postgresql":
        yield "sqlite:///canary.db" if asked == "sqlite" else asked
        return
    server = Postgres()
    try:
        yield server.fresh()
    finally:
        server.close()


def _fill(url: str, data: Path, world: World) -> int:
    engine = engine_of(url, data)
    try:
        with closing(Store.open(url, data)) as store:
            return fill(engine, store, world)
    finally:
        engine.dispose()


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.parquet"))


def _judged(config: str, data: Path) -> dict[str, object]:
    (data / "canary.yaml").write_text(config)
    command = [sys.executable, "-m", "benchmarks.report_scale", "--judge", str(data / "canary.yaml")]
    command += ["--data", str(data)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def _judge(config: str, data: Path) -> dict[str, object]:
    """Make a report like `canary report`, after reading the config, with one look that is not stored yet."""
    loaded = parse(Path(config).read_text(), config, {})
    settings, now = loaded.control.reports, (FIRST_DAY + 15) * DAY_S
    _keep_nights(settings, loaded.store, data)
    began, cpu = time.monotonic(), time.process_time()
    with closing(loaded.open_store(data)) as store:
        report = report_from_store(settings, None, store, now=now)
    return {
        "seconds": time.monotonic() - began,
        "cpu_seconds": time.process_time() - cpu,
        "peak_mib": _peak_mib(),
        "units": report.units.baseline + report.units.candidate,
        "segments": len(report.segments),
        "verdict": report.verdict,
    }


def _keep_nights(settings: ReportSettings, store: str, data: Path) -> None:
    """Store the looks of all nights but the last, which saw too little: what they saw takes no time here."""
    (judged,) = settings.canaries.values()
    with closing(Store.open(store, data)) as opened:
        if judged.name not in opened.states():
            waits = transitions.first_seen(judged.steps, by_hand=True, now=FIRST_DAY * DAY_S)
            runs = transitions.start(waits, judged.steps, now=FIRST_DAY * DAY_S)
            opened.swap(judged.name, 0, runs, Act(at=0.0, action="start", who="benchmark", reason="filled"))
        scope = LookScope(canary=judged.name, run=1, rubric_sha256=judged.sha256)
        nights = [
            Look(metric=row.metric, day=day, at=(FIRST_DAY + day + 1) * DAY_S, units=0)
            for day in range(1, 14)
            for row in judged.criteria
        ]
        VerdictLooks(opened).keep(scope, to_store(nights))


def _peak_mib() -> float:
    """Peak memory in MiB. Not `ru_maxrss`, which is the parent's if that was larger."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) / 1024


if __name__ == "__main__":
    main()
