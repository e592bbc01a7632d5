"""A report names the category and the segment in which the candidate's failed exchanges lie."""

from collections.abc import Sequence
from pathlib import Path

from common.concentration import FailingPart
from pages.reports.report import rendered
from verdict.decision.figures import located
from verdict.decision.verdict import build
from verdict.sample.csv_log import from_csv
from verdict.sample.sample import Sample
from verdict.terms.judged_canary import JudgedCanary
from verdict.terms.rubric import Criterion, parse_bound

CRITERIA: Sequence[Criterion] = (
    Criterion(
        metric="error_rate",
        acceptable=parse_bound("< 5%"),
        ideal=parse_bound("< 1%"),
        weight=1,
        question="Do answers arrive?",
    ),
)
PLACE = "12 of 12 failing exchanges are in category refund (5 % of the traffic)"


def log(tmp_path: Path, fails: str) -> Sample:
    """240 exchanges of each arm, a twentieth about refunds; of `fails`, the candidate fails 12."""
    lines, failed = ["unit,arm,at,latency_s,error_type,category"], 0
    for number in range(480):
        arm = ("baseline", "candidate")[number % 2]
        category = "refund" if number // 2 % 20 == 0 else "order"
        bad = arm == "candidate" and fails in (category, "all") and failed < 12 and number % 7 < 4
        bad = bad or (arm == "candidate" and fails == category == "refund")
        failed += bad
        lines.append(f"u{number},{arm},{number},0.5,{'provider_5xx' if bad else ''},{category}")
    path = tmp_path / "log.csv"
    path.write_text("\n".join(lines) + "\n")
    return from_csv(path)


def test_the_report_says_where_in_every_form(tmp_path: Path) -> None:
    sample = log(tmp_path, "refund")
    assert located(sample) == (FailingPart("category", "refund", 12, 12, 0.05),)
    report = build(sample, JudgedCanary(name="support-nov", criteria=CRITERIA), now=1000.0)
    assert report.details.where == located(sample)
    assert f"{PLACE}." in rendered(report, "html")
    assert f"{PLACE}." in rendered(report, "markdown")


def test_failures_everywhere_are_not_said_to_lie_anywhere(tmp_path: Path) -> None:
    sample = log(tmp_path, "all")
    assert located(sample) == ()
    report = build(sample, JudgedCanary(name="support-nov", criteria=CRITERIA), now=1000.0)
    assert "failing exchanges" not in rendered(report, "html") + rendered(report, "markdown")
