"""Mapping rows and events of other systems to feedback."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from records.errors import BadFeedback
from records.facts.feedback import BadFeedbackFile, FeedbackLine, FeedbackTerms, FeedbackVoices
from records.facts.feedback_mapping import (
    FeedbackMapping,
    MappedValue,
    event_complaints,
    mapped_lines,
    parse_events,
)
from records.facts.metric import BUILT_IN
from records.outcome import Feedback
from routing.cohort import derive_key

NOW = 1_796_000_000.0
KEY = derive_key(b"secret", "ids")
CSAT = MappedValue(column="Score")
TICKETS = FeedbackMapping(
    members={"unit": "User", "at": "Solved", "feedback_id": "Id", "comment": "Remark"},
    metrics={"csat": CSAT, "escalated": MappedValue(when="Agent")},
)
HEADER = "Id,User,Solved,Score,Agent,Remark\n"


def lines(tmp_path: Path, text: str, mapping: FeedbackMapping = TICKETS) -> list[FeedbackLine]:
    (tmp_path / "tickets.csv").write_text(text)
    said_at = datetime(2026, 11, 24, 16, tzinfo=UTC)
    return list(mapped_lines(tmp_path / "tickets.csv", default_at=said_at, mapping=mapping, metrics=BUILT_IN))


def terms(voices: FeedbackVoices | None = None) -> FeedbackTerms:
    return FeedbackTerms(
        metrics=BUILT_IN,
        keys=[KEY],
        token_ok=True,
        now=NOW,
        mono=0.0,
        ids_key=KEY,
        voices=voices or FeedbackVoices(),
    )


def events(document: Any, mapping: FeedbackMapping) -> list[Feedback | None]:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return list(parse_events(body, mapping, terms()))


def refusal(document: Any, mapping: FeedbackMapping) -> tuple[int, str]:
    with pytest.raises(BadFeedback) as caught:
        events(document, mapping)
    return caught.value.status, caught.value.message


def test_a_row_gives_a_value_for_each_metric_that_it_has(tmp_path: Path) -> None:
    (both, one) = lines(tmp_path, f"{HEADER}7,u-1,1795536000,4,Sam,late\n8,u-2,,,Sam,\n")
    about = {"unit": "u-1", "at": "2026-11-24T16:00:00+00:00"}
    assert both == FeedbackLine(
        2,
        (
            {**about, "metric": "csat", "value": 4, "feedback_id": "7", "comment": "late"},
            {**about, "metric": "escalated", "value": True, "feedback_id": "7"},
        ),
    )
    assert [value["metric"] for value in one.values] == ["escalated"]


@pytest.mark.parametrize("row", ["7,,,4,Sam,", "7,-,,4,Sam,", "7,u,,,,", "7,u,,-,FALSE,"])
def test_a_row_without_a_subject_or_a_value_is_skipped(tmp_path: Path, row: str) -> None:
    assert lines(tmp_path, f"{HEADER}{row}\n") == [FeedbackLine(2)]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("7,u,,good,,", "column 'Score': 'good' is neither a number nor true or false"),
        ("7,u,,9,,", "column 'Score': csat takes a number from 1 to 5, not 9"),
        ("7,u,soon,4,,", "column 'Solved': 'soon' is no time such as"),
        ("7,u,99999999999999,4,,", "column 'Solved': '99999999999999' is no time such as"),
        ("7,u", "2 cells, but 6 columns"),
    ],
)
def test_a_bad_cell_is_named_by_line_and_column(tmp_path: Path, row: str, problem: str) -> None:
    first, second = lines(tmp_path, f"{HEADER}{row}\n8,u,,5,,\n")
    assert (first.number, first.values) == (2, ()) and first.problem.startswith(problem)
    assert len(second.values) == 1


@pytest.mark.parametrize("header", ["Id,User,Solved,Score,Agent", f"{HEADER.strip()},Score"])
def test_a_column_of_the_mapping_stands_once_in_the_header(tmp_path: Path, header: str) -> None:
    with pytest.raises(BadFeedbackFile, match=r"line 1: .*column '(Remark|Score)'"):
        lines(tmp_path, f"{header}\n")


@pytest.mark.parametrize(
    ("cell", "at"),
    [
        ("2026-11-20 09:12", "2026-11-20T09:12:00+00:00"),
        ("2026-11-20 09:12:30 UTC", "2026-11-20T09:12:30+00:00"),
        ("2026-11-20T09:12:30+02:00", "2026-11-20T09:12:30+02:00"),
        ("1795536000", "2026-11-24T16:00:00+00:00"),
    ],
)
def test_a_time_is_iso_or_unix_seconds_and_utc_without_a_zone(tmp_path: Path, cell: str, at: str) -> None:
    (line,) = lines(tmp_path, f"{HEADER}7,u,{cell},4,,\n")
    assert line.values[0]["at"] == at


def test_texts_become_values_in_any_case_and_other_texts_none(tmp_path: Path) -> None:
    mapping = FeedbackMapping(
        members={"session": "User"},
        metrics={"csat": MappedValue(column="Score", values={"good": 5, "bad": 1})},
        only={"Agent": frozenset({"sam", "kim"})},
    )
    rows = ["1,u,,GOOD,Sam,", "2,u,,bad,KIM,", "3,u,,offered,Sam,", "4,u,,good,Lee,"]
    found = lines(tmp_path, HEADER + "\n".join(rows), mapping)
    assert [[value["value"] for value in line.values] for line in found] == [[5], [1], [], []]


def test_paths_reach_into_an_event_and_a_name_with_dots_wins() -> None:
    mapping = FeedbackMapping(
        members={"unit": "who.0.id"}, metrics={"revenue": MappedValue(column="a.b", scale=0.01)}
    )
    found = events([{"who": [{"id": 17}], "a": {"b": "1999"}}, {"who.0.id": "u", "a.b": 5}], mapping)
    assert [value and value.value for value in found] == [19.99, 0.05]
    for missing in ({"who": []}, {"who": {"0": 1}}, {"who": "x"}, {}, {"who": [{"id": "u"}], "a": [1]}):
        assert events(missing, mapping) == [None]


def test_a_constant_holds_for_every_row_or_where_a_column_is_true() -> None:
    given = FeedbackMapping(members={"unit": "u"}, metrics={"escalated": MappedValue(when="x")})
    always = FeedbackMapping(members={"unit": "u"}, metrics={"conversion": MappedValue(constant=True)})
    for cell in (None, "", "-", [], {}, False):
        assert events({"u": "1", "x": cell}, given) == [None]
        assert events({"u": "1", "x": cell}, always) != [None]
    for cell in ("Sam", 17, ["a"], True):
        assert events({"u": "1", "x": cell}, given) != [None]


def test_an_array_of_events_is_all_or_nothing_and_errors_have_their_place() -> None:
    good = {"User": "u", "Score": 4, "Id": 1}
    assert refusal([good, {**good, "Score": 9}], TICKETS) == (
        422,
        "[1]: column 'Score': csat takes a number from 1 to 5, not 9",
    )
    assert refusal([good, {**good, "User": ["u"]}], TICKETS)[1].startswith(
        "[1]: column 'User': [\"u\"] is no"
    )
    assert refusal([good, 4], TICKETS) == (400, "[1]: an event is a JSON object")
    assert refusal({**good, "Solved": 4e9}, TICKETS)[0] == 422  # the future
    found = event_complaints(json.dumps([good, {**good, "Score": 9}, {}]).encode(), TICKETS, terms())
    assert [complaint is None for complaint in found] == [True, False, True]


def test_the_21st_event_of_a_user_is_refused_and_a_repeated_one_is_not() -> None:
    sent = [{"User": "u", "Score": 4, "Id": number} for number in range(21)]
    assert refusal(sent, TICKETS)[0] == 422
    voices = FeedbackVoices()
    for _ in range(2):
        assert len(list(parse_events(json.dumps(sent[:20]).encode(), TICKETS, terms(voices)))) == 20
    with pytest.raises(BadFeedback, match="more than 20 feedback ids"):
        list(parse_events(json.dumps(sent[20]).encode(), TICKETS, terms(voices)))


@pytest.mark.parametrize(
    ("document", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[" * 100_000, 400),
        (b'{"a":' * 100_000, 400),
        (b"\xff", 400),
        (b"null", 400),
        (b"[" + b"1," * 1_000_000 + b"1]", 413),
        (json.dumps([{}] * 1001).encode(), 413),
        (json.dumps([{"User": "u", "Score": 4, "Agent": "Sam"}] * 501).encode(), 413),
    ],
)
def test_a_document_that_takes_too_long_or_is_no_json_is_refused(document: bytes, status: int) -> None:
    assert refusal(document, TICKETS)[0] == status
