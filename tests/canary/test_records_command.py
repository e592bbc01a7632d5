"""`canary records export` and `roll` on a store whose server is down."""

import csv
import io
import json
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from canary.cli import app
from records.exports.files import export_columns
from records.spool.writer import SpoolWriter
from records.store import Store
from tests.records.samples import DAY, a_batch, an_outcome, some_feedback

CONFIG = 'providers:\n  p: {api: openai, base_url: "https://p.example"}\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "canary.yaml").write_text(CONFIG)
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as store:
        store.ship(a_batch(*(an_outcome(n, at=(20_000 + n) * DAY) for n in range(10)), some_feedback(4.0)))
    return tmp_path


def export(folder: Path, *options: str) -> Result:
    where = ["--config", str(folder / "canary.yaml"), "--data", str(folder)]
    return CliRunner().invoke(app, ["records", "export", *where, *options])


def test_outcomes_go_to_stdout_as_csv_unless_told_otherwise(folder: Path) -> None:
    done = export(
        folder, "--canary", "support-nov", "--since", "2024-10-07", "--until", "2024-10-09T00:00:00Z"
    )
    assert (done.exit_code, done.stderr) == (0, "2 outcomes\n")
    found = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["exchange_id"] for row in found] == ["exchange-3", "exchange-4"]
    assert found[0]["at"] == "2024-10-07T00:00:00.000000Z"
    assert json.loads(found[0]["tags"]) == {"region": "eu"}


def test_as_json_they_are_one_array_with_null_for_what_is_unknown(folder: Path) -> None:
    done = export(folder, "--until", "2024-10-09T00:00:00Z", "-o", "json")
    assert (done.exit_code, done.stderr) == (0, "5 outcomes\n")
    found = json.loads(done.stdout)
    assert [row["exchange_id"] for row in found] == [f"exchange-{n}" for n in range(5)]
    assert found[3]["at"] == "2024-10-07T00:00:00.000000Z"
    assert {type(row["stream"]) for row in found} == {bool}
    assert found[0].keys() == export_columns("outcomes").keys()
    assert None in found[0].values()
    assert json.loads(export(folder, "--canary", "none", "-o", "json").stdout) == []
    assert not (folder / "json").exists()


def test_parquet_goes_to_a_file(folder: Path) -> None:
    file = folder / "out.parquet"
    done = export(folder, "--format", "parquet", "-o", str(file))
    assert (done.exit_code, done.stdout) == (0, "")
    assert pq.read_table(file).num_rows == 10
    other = folder / "other.parquet"
    assert export(folder, "-o", str(other)).exit_code == 0
    assert pq.read_table(other).equals(pq.read_table(file))
    assert export(folder, "--format", "csv", "-o", str(other)).exit_code == 0
    assert other.read_text().startswith("exchange_id,")
    assert export(folder, "--what", "feedback", "-o", str(folder / "f.csv")).exit_code == 0
    (row,) = csv.DictReader(io.StringIO((folder / "f.csv").read_text()))
    assert (row["metric"], row["kind"], row["per"]) == ("csat", "rating", "value")
    assert "so so" in (folder / "f.csv").read_text()


def test_an_age_is_counted_from_now(folder: Path) -> None:
    assert export(folder, "--since", "1d").stderr == "0 outcomes\n"
    assert export(folder, "--until", "1d").stderr == "10 outcomes\n"


def test_what_waits_in_the_spool_is_said_to_be_missing(folder: Path) -> None:
    (folder / "spool").mkdir()
    writer = SpoolWriter(folder / "spool", worker=0)
    writer.append(an_outcome(11))
    assert export(folder, "--since", "1d").stderr == (
        "0 outcomes\n1 record in the spool is not stored yet, and may be missing: "
        "a running server stores what waits there\n"
    )
    writer.append(an_outcome(12))
    assert "2 records in the spool are not stored yet" in export(folder).stderr
    assert export(folder, "--what", "labels").stderr == "0 labels\n"
    writer.close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--since", "yesterday"), '"yesterday" is not a time; write 2026-11-24'),
        (("--format", "parquet"), "Parquet needs a file"),
        (("--format", "parquet", "-o", "json"), "Parquet needs a file"),
        (("--format", "xls"), "xls"),
        (("-o", "week.xlsx"), "does not end in .csv or .parquet; give the format with --format"),
        (("--what", "prompts"), "prompts"),
    ],
)
def test_what_cannot_be_done_says_what_can(folder: Path, options: tuple[str, ...], words: str) -> None:
    done = export(folder, *options)
    assert done.exit_code == 2 and words in done.stderr


def test_a_folder_that_is_not_there_is_named_and_not_made(folder: Path) -> None:
    done = export(folder, "--data", str(folder / "elsewhere"))
    assert done.exit_code == 1 and f"no data folder {folder / 'elsewhere'}" in done.stderr
    assert not (folder / "elsewhere").exists()


def roll(folder: Path, more: str = "") -> Result:
    (folder / "canary.yaml").write_text(CONFIG + more)
    where = ["--config", str(folder / "canary.yaml"), "--data", str(folder)]
    return CliRunner().invoke(app, ["records", "roll", *where])


def test_roll_writes_what_is_fresh_as_files(folder: Path) -> None:
    done = roll(folder)
    assert (done.exit_code, done.stderr) == (0, f"10 outcomes in 10 files in {folder}/outcomes\n")
    files = sorted((folder / "outcomes").glob("day=*/hour=*/*.parquet"))
    assert sum(pq.read_table(file).num_rows for file in files) == 10
    assert roll(folder).stderr == f"0 outcomes in 0 files in {folder}/outcomes\n"
    assert export(folder).stderr == "10 outcomes\n"


def test_roll_writes_where_the_config_says(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    assert roll(folder, f"outcomes: {other}\n").stderr == f"10 outcomes in 10 files in {other}\n"
    assert len(list(other.rglob("*.parquet"))) == 10
    assert not (folder / "outcomes").exists()
    (folder / "canary.yaml").write_text(CONFIG)
    done = export(folder)
    assert done.exit_code == 1
    assert f"is missing in {folder}/outcomes: name the place that has it as `outcomes`" in done.stderr


def test_roll_says_segments_where_the_database_keeps_them(folder: Path) -> None:
    assert roll(folder, "outcomes: store\n").stderr == "10 outcomes in 10 segments in the database\n"
    assert export(folder).stderr == "10 outcomes\n"
