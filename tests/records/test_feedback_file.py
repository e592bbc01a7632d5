"""A CSV of feedback, read line by line."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from records.facts.feedback import BadFeedbackFile, FeedbackLine, feedback_lines

SAID_AT = datetime(2026, 11, 24, 16, tzinfo=UTC)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "feedback.csv"


def read(file: Path, text: str | bytes) -> list[FeedbackLine]:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(feedback_lines(file, default_at=SAID_AT))


def test_cells_become_members_and_empty_ones_are_left_out(file: Path) -> None:
    (line,) = read(file, "exchange_id,session,metric,value,comment,feedback_id,at\nab,,csat,4,fine,f-1,\n")
    assert line == FeedbackLine(
        2,
        (
            {
                "exchange_id": "ab",
                "metric": "csat",
                "value": 4,
                "comment": "fine",
                "feedback_id": "f-1",
                "at": "2026-11-24T16:00:00+00:00",
            },
        ),
    )


def test_a_row_of_its_own_time_keeps_it(file: Path) -> None:
    (line,) = read(file, "unit,metric,value,at\nu,churn,TRUE,2026-11-01T00:00:00Z\n")
    assert line.values == ({"unit": "u", "metric": "churn", "value": True, "at": "2026-11-01T00:00:00Z"},)


@pytest.mark.parametrize(("cell", "value"), [("4.5", 4.5), ("-3", -3), ("true", True), ("False", False)])
def test_values_are_numbers_or_truth(file: Path, cell: str, value: float) -> None:
    (line,) = read(file, f"unit,metric,value\nu,csat,{cell}\n")
    assert (line.values[0]["value"], type(line.values[0]["value"])) == (value, type(value))


def test_lines_are_counted_as_an_editor_does(file: Path) -> None:
    text = '\ufeffunit,metric,value,comment\r\nu,csat,4,"two\r\nlines"\r\n\r\nu,csat,x,\r\n'
    assert [(line.number, line.problem) for line in read(file, text)] == [
        (2, ""),
        (5, "value 'x' is neither a number nor true or false"),
    ]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("u,csat", "2 cells, but 4 columns"),
        ("u,,4,", "metric is empty"),
        ("u,csat,,", "value is empty"),
        ("u,csat,nan,", "value 'nan' is neither"),
        ("u,csat,inf,", "value 'inf' is neither"),
        ("u,csat,4,yesterday", "at 'yesterday' is not a time such as 2026-11-24T16:00:00Z"),
    ],
)
def test_a_bad_row_says_what_is_wrong_and_the_others_are_read(file: Path, row: str, problem: str) -> None:
    first, second = read(file, f"unit,metric,value,at\n{row}\nu,csat,4,\n")
    assert first.number == 2 and first.problem.startswith(problem) and not first.values
    assert second.values


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "column 'metric' is missing"),
        ("unit,metric\n", "column 'value' is missing"),
        ("metric,value\n", "one of the columns exchange_id, session, unit"),
        ("unit,metrik,value\n", "line 1: unknown column 'metrik'; did you mean 'metric'?"),
        ("unit,metric,value,unit\n", "'unit'"),
        ('unit,metric,value\nu,csat,"4\n', "not CSV"),
        (b"unit,metric,value\n\xff,csat,4\n", "save the file as UTF-8"),
    ],
)
def test_a_file_that_is_no_feedback_says_why(file: Path, text: str | bytes, words: str) -> None:
    with pytest.raises(BadFeedbackFile, match=words.replace("?", r"\?")):
        read(file, text)


def test_what_a_spreadsheet_would_run_is_read_without_its_apostrophe(file: Path) -> None:
    (line,) = read(file, "unit,metric,value,comment\n'=u-1,csat,4,'=1+1\n")
    assert (line.values[0]["unit"], line.values[0]["comment"]) == ("=u-1", "=1+1")
