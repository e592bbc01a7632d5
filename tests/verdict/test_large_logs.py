"""A large published test as a plain log: the verdict that its numbers deserve."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pages.words.reasons import sentences
from records.facts.metric import BUILT_IN, Metric
from tests.verdict.conftest import START
from verdict.decision.reports import report_from_csv
from verdict.terms.judged_canary import JudgedCanary, ReportSettings
from verdict.terms.plan import DAY_S
from verdict.terms.rubric import Criterion, parse_bound

RETENTION = Metric(name="retention", kind="bool", low=0.0, high=1.0, question="Do players come back?")
COUNTS = {"baseline": (44_700, 8_502), "candidate": (45_489, 8_279)}
"""Cookie Cats: players whose gate is at level 30, and at 40, and how many of them played 7 days later (19.02
and 18.20 %)."""


def _cookie_cats(path: Path) -> Path:
    """One exchange a player, evenly over 15 days, and as evenly those who came back."""
    lines = ["unit,arm,at,metric_retention"]
    for arm, (players, retained) in COUNTS.items():
        number = np.arange(players)
        at = START + 60 + number / players * 14.99 * DAY_S
        came_back = np.diff(np.arange(players + 1) * retained // players)
        lines += [
            f"{arm[0]}{player},{arm},{moment:.0f},{back}"
            for player, moment, back in zip(number, at.tolist(), came_back.tolist(), strict=True)
        ]
    path.write_text("\n".join(lines))
    return path


def test_ninety_thousand_players_show_a_loss_of_less_than_a_point(tmp_path: Path) -> None:
    row = Criterion(
        metric="retention",
        acceptable=parse_bound(">= baseline - 0.1pp"),
        ideal=parse_bound(">= baseline"),
        weight=1,
        question="Do players come back?",
    )
    terms = JudgedCanary(
        name="gate",
        criteria=(row,),
        planned_days=14,
        metrics={**BUILT_IN, "retention": RETENTION},
        shares={0: 0.5},
    )
    log, now = _cookie_cats(tmp_path / "log.csv"), START + 30 * DAY_S
    settings = ReportSettings(canaries={"gate": terms}, metrics=terms.metrics)
    report = report_from_csv(settings, "gate", log, now=now)
    assert (report.units.baseline, report.units.candidate) == (44_700, 45_489)
    assert not report.srm.blocked
    (line,) = report.metrics
    assert (round(line.baseline or 0, 4), round(line.candidate or 0, 4)) == (0.1902, 0.1820)
    assert (line.state, report.verdict) == ("FAIL", "dont_ship")
    assert line.look is not None
    assert line.look.high is not None
    assert line.look.high < 0
    # By the sequence at 500 planned units, the same numbers were undecided.
    without = replace(settings, canaries={"gate": replace(terms, planned_days=0)})
    assert report_from_csv(without, "gate", log, now=now).verdict == "extend"


@pytest.mark.parametrize("answered", [0, 8])
def test_a_critical_subject_with_hardly_an_answer_extends(answered: int, tmp_path: Path) -> None:
    """Like a run over MMLU: questions by subject, right or wrong; the candidate saw the law hardly at all."""
    lines = ["unit,arm,at,category,metric_task_completed"]
    for arm, law in (("baseline", 200), ("candidate", answered)):
        for subject, questions in (("history", 1500), ("physics", 1500), ("law", law)):
            lines += [
                f"{arm[0]}{subject}{number},{arm},{START + 60 + number / questions * 14.99 * DAY_S:.0f},"
                f"{subject},{int(number % 10 != 0)}"
                for number in range(questions)
            ]
    log = tmp_path / "log.csv"
    log.write_text("\n".join(lines))
    row = Criterion(
        metric="task_completed",
        acceptable=parse_bound(">= 85%"),
        ideal=parse_bound(">= 99%"),
        weight=1,
        question="Are the answers right?",
    )
    terms = JudgedCanary(name="mmlu", criteria=(row,), planned_days=14)
    settings = ReportSettings(canaries={"mmlu": terms}, metrics=BUILT_IN)
    now = START + 30 * DAY_S
    assert report_from_csv(settings, "mmlu", log, now=now).verdict in ("ship", "ship_with_caveats")
    critical = replace(terms, critical_categories=frozenset({"law"}))
    report = report_from_csv(replace(settings, canaries={"mmlu": critical}), "mmlu", log, now=now)
    assert report.verdict == "extend"
    assert any("law" in reason for reason in sentences(report))
    assert [line.state for line in report.metrics] == ["PASS"]
