"""Exchanges of the candidate that did not reach it though it is not to blame are no evidence of it."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pages.words.reasons import sentences
from tests.verdict.conftest import World, exchanges
from verdict.decision.document import Report, from_json, to_json
from verdict.decision.verdict import build
from verdict.details import Throttled
from verdict.sample.csv_log import from_csv
from verdict.terms.judged_canary import JudgedCanary

WORLD = World()


def judged(path: Path, canary: JudgedCanary, now: float, among: Callable[[int], bool]) -> Report:
    """The report on a log in which these of the candidate's exchanges, by their number, were unreached."""
    rows = exchanges(WORLD)
    mine = [row for row in rows if row["arm"] == "candidate"]
    for number, row in enumerate(mine):
        if among(number):
            row["error_type"] = "proxy_no_credential"
    _write(path, rows)
    return build(from_csv(path), canary, now=now)


def _write(path: Path, rows: Sequence[dict[str, object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def said(report: Report) -> list[str]:
    return [reason for reason in sentences(report) if "answered by the baseline or not at all" in reason]


def test_a_candidate_that_no_request_reached_has_no_data(
    tmp_path: Path, canary: JudgedCanary, now: float
) -> None:
    report = judged(tmp_path / "log.csv", canary, now, lambda _number: True)
    assert report.verdict == "extend"
    assert {(line.state, line.units, line.candidate) for line in report.metrics} == {("NODATA", 0, None)}
    assert report.score.estimate is None
    assert "no credential for the provider entry" in said(report)[0]


@pytest.mark.parametrize(
    ("every", "verdict", "sentences"), [(20, "ship_with_caveats", 1), (1000, "ship_now", 0)]
)
def test_some_that_did_not_reach_it_are_a_caveat_from_one_percent(
    tmp_path: Path, canary: JudgedCanary, now: float, every: int, verdict: str, sentences: int
) -> None:
    report = judged(tmp_path / "log.csv", canary, now, lambda number: number % every == 0)
    assert (report.verdict, len(said(report))) == (verdict, sentences)


def test_when_most_did_not_reach_it_the_rest_is_no_basis(
    tmp_path: Path, canary: JudgedCanary, now: float
) -> None:
    report = judged(tmp_path / "log.csv", canary, now, lambda number: number % 3 > 0)
    assert (report.verdict, len(said(report))) == ("extend", 1)


@pytest.mark.parametrize(("every", "verdict"), [(20, "ship_with_caveats"), (1, "extend")])
def test_what_was_throttled_is_left_out_of_both_arms_and_said_of_both(
    tmp_path: Path, canary: JudgedCanary, now: float, every: int, verdict: str
) -> None:
    rows = exchanges(WORLD)
    mine = [row for row in rows if row["arm"] == "candidate"]
    others = [row for row in rows if row["arm"] == "baseline"]
    for row in (*mine[::every], *others[::10]):
        row["error_type"] = "provider_throttled"
    _write(tmp_path / "log.csv", rows)
    report = build(from_csv(tmp_path / "log.csv"), canary, now=now)
    _write(tmp_path / "rest.csv", [row for row in rows if row["error_type"] != "provider_throttled"])
    rest = build(from_csv(tmp_path / "rest.csv"), canary, now=now)
    assert report.verdict == verdict
    assert [(line.baseline, line.candidate) for line in report.metrics] == [
        (line.baseline, line.candidate) for line in rest.metrics
    ]
    assert report.details.throttled == Throttled(
        candidate=len(mine[::every]),
        candidate_of=len(mine),
        baseline=len(others[::10]),
        baseline_of=len(others),
    )
    (told,) = [reason for reason in sentences(report) if reason.startswith("Quota: ")]
    assert "of the baseline’s requests (" in told
    assert from_json(to_json(report, sentences)).details.throttled == report.details.throttled
