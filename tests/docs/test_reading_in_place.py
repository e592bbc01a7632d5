"""The page's programs read outcomes in place: a fortnight that the shipper and the roller stored."""

import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import chdb
import duckdb
import pytest
from msgspec.structs import replace

from benchmarks.ingest import outcomes
from records.outcome import Feedback, Outcome
from records.spool.writer import SpoolWriter
from records.store import Store, segment_writer
from records.store.shipper import Shipper

ROOT = Path(__file__).parents[2]
SECTION = (
    (ROOT / "docs/records.md").read_text().partition("\n## Reading them in place\n")[2].partition("\n## ")[0]
)
DAYS, AN_HOUR = 14, 16
COUNTED, RATED = 14, 4
"""Outcomes an hour that a report counts, not the mirror copy and the pinned one; and rated ones."""

BEGIN = 1_794_528_000.0
"""2026-11-13, midnight UTC."""


@pytest.fixture(scope="module")
def fortnight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `canary-data/outcomes`, the outcomes of 14 days."""
    folder = tmp_path_factory.mktemp("fortnight")
    data = folder / "canary-data"
    data.mkdir()
    (folder / "canary.yaml").write_text(
        "providers: {openai: {api: openai, base_url: https://api.openai.com/v1}}\n"
    )
    made = outcomes(DAYS * 24 * AN_HOUR, seed=1)
    with closing(Store.open("sqlite:///canary.db", data)) as store:
        for day in range(DAYS):
            writer = SpoolWriter(data / f"spool-{day}", worker=0)
            for serial in range(24 * AN_HOUR):
                at = BEGIN + day * 86400 + serial * 3600 / AN_HOUR
                outcome = counted_or_not(next(made), serial % AN_HOUR, at)
                writer.append(outcome)
                if serial % 4 == 0:
                    writer.append(rating(outcome))
            writer.close()
            assert Shipper(data / f"spool-{day}", store).drain()
            segment_writer.roll(store, BEGIN + (day + 1) * 86400 + 120)
    return folder


def counted_or_not(outcome: Outcome, place: int, at: float) -> Outcome:
    """The outcome at this place of its hour: the first is a mirror copy, the second pinned."""
    return replace(outcome, at=at, mirror=place == 0, reason="pinned" if place == 1 else "cohort")


def rating(outcome: Outcome) -> Feedback:
    return Feedback(
        key=outcome.exchange_id,
        metric="csat",
        value=4.0,
        at=outcome.at + 1,
        mono=outcome.mono,
        exchange_id=outcome.exchange_id,
    )


def programs(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", SECTION, re.DOTALL)


def run(program: str, folder: Path) -> str:
    """What a Python program prints in this folder."""
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_page_says_how_many_outcomes_and_files_these_are(fortnight: Path) -> None:
    files = list((fortnight / "canary-data/outcomes").rglob("*.parquet"))
    names = duckdb.read_parquet([str(file) for file in files]).project("exchange_id").fetchall()
    assert len(set(names)) == len(names) == DAYS * 24 * AN_HOUR
    assert f"({DAYS * 24 * AN_HOUR:,} outcomes in {len(files)} files" in SECTION


def test_duckdb_reads_them_in_three_lines(fortnight: Path) -> None:
    program = next(each for each in programs("python") if "duckdb" in each)
    assert len(program.replace("\n\n", "\n").splitlines()) == 3
    printed = run(program, fortnight)
    assert f"{2 * DAYS} rows" in printed
    assert "│ 2026-11-13 │ baseline " in printed and "│ 2026-11-26 │ candidate " in printed
    of_arms = map(int, re.findall(r"^│ 2026-11-13 │.*│ +(\d+) │$", printed, re.MULTILINE))
    assert sum(of_arms) == 24 * COUNTED


def test_feedback_is_joined_to_the_files_by_the_exchange(
    fortnight: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [command] = programs("sh")
    arguments = command.split()
    subprocess.run([sys.executable, "-m", *arguments], cwd=fortnight, check=True, timeout=120)
    monkeypatch.chdir(fortnight)
    rows = duckdb.execute(next(each for each in programs("sql") if "fb.parquet" in each)).fetchall()
    assert [(arm, metric, mean) for arm, metric, _, mean in rows] == [
        ("baseline", "csat", 4.0),
        ("candidate", "csat", 4.0),
    ]
    assert sum(count for _, _, count, _ in rows) == DAYS * 24 * (RATED - 1)


def test_pandas_reads_them_in_four_lines(fortnight: Path) -> None:
    program = next(each for each in programs("python") if "pandas" in each)
    assert len(program.replace("\n\n", "\n").splitlines()) == 4
    printed = run(program, fortnight)
    counts = re.findall(r"^(?:baseline|candidate)? +(?:ok|error) +(\d+)\.0", printed, re.MULTILINE)
    assert sum(map(int, counts)) == 7 * 24 * COUNTED


def test_clickhouse_reads_them(fortnight: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    query = next(each for each in programs("sql") if "FROM file(" in each)
    monkeypatch.chdir(fortnight)
    lines = str(chdb.query(query, "CSV")).splitlines()
    assert len(lines) == 2 * DAYS
    assert sum(int(line.split(",")[2]) for line in lines) == DAYS * 24 * COUNTED


def test_files_are_for_the_server_alone(fortnight: Path) -> None:
    top = fortnight / "canary-data/outcomes"
    modes = {(each.is_dir(), each.stat().st_mode & 0o777) for each in [top, *top.rglob("*")]}
    assert modes == {(True, 0o700), (False, 0o600)}
