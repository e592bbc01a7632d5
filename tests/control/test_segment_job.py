"""The rolling of outcomes by a program of its own: its figures, its failures, its end."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from canary.python_path import environment, program
from control.jobs import segment_job
from control.jobs.segment_job import SegmentJob, SegmentProgram, passed
from records.store import Store
from tests.records.samples import DAY, a_batch, an_outcome
from tests.records.stored import stored
from tests.serving import child_processes, command_line, eventually

SQLITE = "sqlite:///canary.db"
NOW = 20_001 * DAY
PROGRAM = program("canary.programs.roller")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with outcomes of yesterday, and of twenty days before."""
    with closing(Store.open(SQLITE, tmp_path)) as opened:
        opened.ship(a_batch(*(an_outcome(n) for n in range(3)), an_outcome(3, at=19_980 * DAY)))
        yield opened


def a_roller(data: Path, command: Sequence[str] = PROGRAM, outcomes: str = "outcomes") -> SegmentProgram:
    return SegmentProgram(
        command=command, environment=environment(), url=SQLITE, data=data, outcomes=outcomes
    )


def a_job(store: Store, roller: SegmentProgram, *, works: bool = True) -> SegmentJob:
    return SegmentJob(store, roller, before=lambda now: now - 10 * DAY, works=lambda: works)


def figures(job: SegmentJob) -> tuple[float | None, float | None, float | None]:
    """Fresh outcomes, segments, failures, as Prometheus sees them."""
    registry = CollectorRegistry()
    registry.register(job)
    names = ("canary_outcomes_fresh", "canary_segments", "canary_rolling_failures_total")
    fresh, segments, failures = (registry.get_sample_value(name) for name in names)
    return fresh, segments, failures


def says(code: str) -> list[str]:
    """A program of this code."""
    return [sys.executable, "-c", code]


def test_what_is_due_is_rolled_and_what_expired_is_deleted(store: Store, tmp_path: Path) -> None:
    job = a_job(store, a_roller(tmp_path))
    asyncio.run(job.turn(NOW))
    assert [row["exchange_id"] for row in stored(store)] == [f"exchange-{n}" for n in range(3)]
    assert len(list((tmp_path / "outcomes").rglob("*.parquet"))) == 1
    assert (figures(job), job.trouble) == ((0, 1, 0), "")


def test_no_program_is_started_for_nothing(tmp_path: Path) -> None:
    with closing(Store.open(SQLITE, tmp_path)) as store:
        job = a_job(store, a_roller(tmp_path, ["/no/such/program"]))
        asyncio.run(job.turn(NOW))
        assert (figures(job), job.trouble) == ((0, 0, 0), "")


def test_who_stands_by_rolls_nothing(store: Store, tmp_path: Path) -> None:
    job = a_job(store, a_roller(tmp_path), works=False)

    async def for_a_while() -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(job.run(), 0.2)

    asyncio.run(for_a_while())
    assert (figures(job), (tmp_path / "outcomes").exists()) == ((None, None, 0), False)


def test_a_failure_is_said_counted_and_loses_nothing(store: Store, tmp_path: Path) -> None:
    (tmp_path / "outcomes").write_text("in the way")
    job = a_job(store, a_roller(tmp_path))
    with capture_logs() as logs:
        asyncio.run(job.turn(NOW))
    assert [each["event"] for each in logs] == ["outcomes.not_rolled"]
    assert job.trouble.startswith("outcomes wait in the database and are not lost, but not rolled: the seg")
    assert (figures(job), len(stored(store))) == ((4, 0, 1), 4)
    (tmp_path / "outcomes").unlink()
    asyncio.run(job.turn(NOW))
    assert (figures(job), len(stored(store))) == ((0, 1, 1), 3)
    assert job.trouble == ""


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (["/no/such/program"], "the program that rolls cannot be started"),
        (says("import os; os.kill(os.getpid(), 9)"), "was killed, perhaps because memory ran out"),
        (says("import os; os.kill(os.getpid(), 15)"), "was ended by signal 15"),
        (says("raise SystemExit(3)"), "failed with code 3; its log says why"),
    ],
)
def test_a_program_that_fails_is_said(store: Store, tmp_path: Path, command: list[str], problem: str) -> None:
    job = a_job(store, a_roller(tmp_path, command))
    asyncio.run(job.turn(NOW))
    assert problem in job.trouble
    assert len(stored(store)) == 4


def test_a_program_that_hangs_is_killed(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment_job, "LONGEST_TURN_S", 0.2)
    job = a_job(store, a_roller(tmp_path, says("import time; time.sleep(1e6)")))
    asyncio.run(job.turn(NOW))
    assert "took longer than 0.2 s" in job.trouble


def test_the_program_gets_what_opens_stores_and_no_other_secret(tmp_path: Path) -> None:
    needed = {"PATH": "/bin", "AWS_SECRET_ACCESS_KEY": "a", "PGSSLROOTCERT": "b", "https_proxy": "c"}
    others = {"OPENAI_API_KEY": "k", "CANARY_SECRET": "s", "CANARY_ADMIN_TOKEN": "t", "SLACK_WEBHOOK": "w"}
    assert passed(needed | others) == needed
    tells = says("import json, os; print(json.dumps({'problem': ' '.join(os.environ)}))")
    roller = SegmentProgram(
        command=tells, environment=needed | others, url=SQLITE, data=tmp_path, outcomes="store"
    )
    told = asyncio.run(roller.turn(0.0)).problem.split()
    assert needed.keys() <= {*told} and not others.keys() & {*told}


_ROLLS = """
import asyncio, sys
from pathlib import Path
from canary.python_path import environment, program
from control.jobs.segment_job import SegmentProgram
roller = SegmentProgram(command=program("canary.programs.roller"), environment=environment(),
                url="sqlite:///canary.db", data=Path(sys.argv[1]), outcomes="outcomes")
asyncio.run(roller.turn(0.0))
"""


def test_the_program_ends_with_its_parent_however_that_ends(store: Store, tmp_path: Path) -> None:
    with store.rolling(1.0):  # so that it waits
        parent = subprocess.Popen([sys.executable, "-c", _ROLLS, str(tmp_path)])
        (child,) = eventually(lambda: [*child_processes(parent.pid)])
        eventually(lambda: "roller" in command_line(child))
        parent.kill()
        parent.wait()
        eventually(lambda: not command_line(child))


def test_the_admin_process_loads_no_arrow() -> None:
    code = "import sys, json; import canary.programs.controller; print('pyarrow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
