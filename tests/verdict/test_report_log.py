"""Logs from elsewhere: what is read, and what is said of a bad line."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from verdict.sample.csv_log import from_csv
from verdict.sample.observations import observe
from verdict.sample.sample import BadSample, Sample

HEADER = "unit,arm,at,latency_s,cost_usd,error_type,category,tag_region,metric_csat\n"


def _read(tmp_path: Path, body: str, header: str = HEADER) -> Sample:
    path = tmp_path / "log.csv"
    path.write_text(header + body)
    return from_csv(path)


def test_what_a_log_says_of_answers_counts_and_what_it_does_not_say_is_unknown(tmp_path: Path) -> None:
    body = "a,baseline,1,stop,\nb,candidate,2,length,cut_off\nc,candidate,3,,\n"
    said = _read(tmp_path, body, "unit,arm,at,finish,faults\n").totals
    assert (said["cut_off"].count.tolist(), said["cut_off"].total.tolist()) == ([1, 1, 0], [0, 1, 0])
    assert said["invalid_output"].count.tolist() == [0, 0, 0], "nobody said that anything was checked"
    silent = _read(tmp_path, "a,baseline,1,stop\n", "unit,arm,at,finish\n").totals
    assert "cut_off" not in silent and "answer_faults" not in silent
    with pytest.raises(BadSample, match="column 'faults': 'cutoff' is not cut_off"):
        _read(tmp_path, "a,baseline,1,stop,cutoff\n", "unit,arm,at,finish,faults\n")
    with pytest.raises(BadSample, match="column 'finish': 'stopped' is not stop"):
        _read(tmp_path, "a,baseline,1,stopped,\n", "unit,arm,at,finish,faults\n")


def test_a_line_is_an_exchange_and_an_empty_cell_is_missing(tmp_path: Path) -> None:
    sample = _read(
        tmp_path,
        "b,candidate,2026-11-02T10:00:00+01:00,1.5,,,billing,eu,4\n"
        "a,baseline,2026-11-02T08:00:00Z,0.5,0.01,provider_5xx,,us,\n"
        "\n"
        "a,baseline,1793696400,,0.02,caller_rejected,,us,\n",
    )
    assert sample.units == ("a", "b")
    assert sample.first_at[0] == datetime(2026, 11, 2, 8, tzinfo=UTC).timestamp()
    assert sample.candidate.tolist() == [False, True, False]
    assert sample.totals["errors"].total.tolist() == [1, 0, 0]
    assert sample.totals["errors"].count.tolist() == [1, 1, 0]
    assert sample.totals["cost"].count.tolist() == [1, 0, 0]
    assert sample.tags["region"].texts() == ["us", "eu", "us"]
    assert sample.feedback["csat"].row.tolist() == [1]
    assert sample.feedback["csat"].value.tolist() == [4.0]


def test_a_coding_agents_sessions_in_a_log_are_one_user(tmp_path: Path) -> None:
    user = f"user_{'9c' * 32}_account__session_0b33f1e1-4ee4-4fe2-b935-8212afc96ea"
    lines = "".join(f"{user}{number},baseline,{number}\n" for number in range(1, 5))
    assert _read(tmp_path, lines, "unit,arm,at\n").units == ("9c" * 32,)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("a,control,1,,,,,,\n", r"line 2, column 'arm': 'control' is not 'baseline' or 'candidate'"),
        ("a,baseline,1,,,,,,\nb,baseline,noon,,,,,,\n", r"line 3, column 'at': 'noon' is not a time"),
        ("a,baseline,1,-2,,,,,\n", r"line 2, column 'latency_s': '-2' is not seconds, from 0"),
        ("a,baseline,1,nan,,,,,\n", r"column 'latency_s': 'nan' is not seconds"),
        ("a,baseline,1,,1e200,,,,\n", r"column 'cost_usd': '1e200' is not dollars"),
        ("a,baseline,1,,free,,,,\n", r"column 'cost_usd': 'free' is not dollars"),
        ("a,baseline,1,,,provider_5x,,,\n", r"column 'error_type': 'provider_5x' is not provider_5xx"),
        ("a,baseline,1,,,,,,7\n", r"column 'metric_csat': '7' is not a number from 1 to 5"),
        (",baseline,1,,,,,,\n", r"column 'unit': is empty"),
        ("a,,1,,,,,,\n", r"column 'arm': is empty; it must be 'baseline' or 'candidate'"),
        ("a,baseline,1\n", r"line 2: 3 cells, but the header has 9 columns"),
        ("a,baseline,1,,,,,,\na,candidate,2,,,,,,\n", r"unit 'a' is in both arms"),
    ],
)
def test_a_bad_line_is_named_with_what_would_be_right(tmp_path: Path, body: str, says: str) -> None:
    with pytest.raises(BadSample, match=says):
        _read(tmp_path, body)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("unit,arm\n", "column 'at' is missing"),
        ("unit,arm,at,latency\n", "unknown column 'latency'; did you mean 'latency_s'"),
        ("unit,arm,at,at\n", "two columns have the same name"),
        ("", "column 'unit' is missing"),
    ],
)
def test_a_bad_header_is_named(tmp_path: Path, header: str, says: str) -> None:
    with pytest.raises(BadSample, match=says):
        _read(tmp_path, "", header)


def test_a_unit_may_move_into_the_candidate_when_a_phase_says_so(tmp_path: Path) -> None:
    sample = _read(tmp_path, "a,baseline,1,0\na,candidate,2,1\n", "unit,arm,at,phase\n")
    assert sample.phase.tolist() == [0, 1]
    with pytest.raises(BadSample, match="'a' is in both arms"):
        _read(tmp_path, "a,baseline,1,1\na,candidate,2,1\n", "unit,arm,at,phase\n")


def test_tokens_are_read_where_there_are_any(tmp_path: Path) -> None:
    sample = _read(tmp_path, "a,baseline,1,700\nb,candidate,2,\n", "unit,arm,at,tokens\n")
    tokens = sample.totals["tokens"]
    assert (tokens.count.tolist(), tokens.total.tolist()) == ([1, 0], [700, 0])


@pytest.mark.parametrize("body", ["", "\n\n"])
def test_a_log_without_an_exchange_is_refused_by_name(tmp_path: Path, body: str) -> None:
    with pytest.raises(BadSample, match=r"log\.csv holds no exchange"):
        _read(tmp_path, body)


def test_a_log_says_nothing_of_sessions(tmp_path: Path) -> None:
    sample = _read(tmp_path, "a,baseline,1\nb,candidate,2\n", "unit,arm,at\n")
    assert len(observe(sample, "session_repeats", {}, now=9.0).row) == 0


@pytest.mark.parametrize(
    ("at", "says"),
    [
        (
            "1764150000000",
            "line 3, column 'at': '1764150000000' is not UTC seconds but milliseconds; write 17",
        ),
        (
            "1764240001",
            "line 3, column 'at': '1764240001' is not in the past: it is more than a day from now",
        ),
        ("2026-11-29T10:00:00Z", "line 3, column 'at': '2026-11-29T10:00:00Z' is not in the past"),
        ("999999999999999", "line 3, column 'at': '999999999999999' is not in the past"),
    ],
)
def test_a_time_that_cannot_be_is_told_with_its_line(tmp_path: Path, at: str, says: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(f"unit,arm,at\na,baseline,1764150000\nb,candidate,{at}\n")
    with pytest.raises(BadSample) as told:
        from_csv(path, now=1764150000.0)
    assert says in str(told.value)


def test_a_time_of_today_is_fine_and_without_a_clock_only_milliseconds_are_told(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("unit,arm,at\na,baseline,1764150000\nb,candidate,1764230000\n")
    assert len(from_csv(path, now=1764150000.0).unit) == 2
    path.write_text("unit,arm,at\na,baseline,1764150000000\n")
    with pytest.raises(BadSample, match=r"but milliseconds; write 1764150000\.000"):
        from_csv(path)


def test_a_time_of_zero_beside_an_error_is_missing_and_not_fast(tmp_path: Path) -> None:
    body = "a,baseline,1,0,0,\nb,candidate,2,0,0,provider_5xx\nc,candidate,3,0.7,,provider_5xx\n"
    sample = _read(tmp_path, body, "unit,arm,at,latency_s,ttft_s,error_type\n")
    latency, ttft = sample.values["latency"], sample.values["ttft"]
    assert latency.scale[latency.code].tolist() == [0.0, 0.7]
    assert (latency.row.tolist(), ttft.row.tolist()) == ([0, 2], [0])
