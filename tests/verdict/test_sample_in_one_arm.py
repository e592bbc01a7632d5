"""Units that a flag system gave both arms: who they are, that they are left out, and what is said of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from judge.judgements import RunJudgements
from pages.words.reasons import sentences
from records.facts.metric import BUILT_IN
from tests.verdict.judged import label, pair
from verdict.decision.reports import report_from_csv
from verdict.decision.verdict import find
from verdict.rows.reasons import InBothArms
from verdict.sample.csv_log import from_csv
from verdict.sample.sample import BadSample, Ratings, Sample, TextColumn, in_one_arm, units_in_both_arms
from verdict.terms.judged_canary import JudgedCanary, ReportSettings

FLAGGED = JudgedCanary(name="c", criteria=[], assigned_outside=True)


def sample_of(*rows: tuple[int, bool, int]) -> Sample:
    """A sample of rows (unit, candidate, phase), one second apart, each with its number as rating; a unit's
    value before is its own number."""
    unit = np.array([unit for unit, _, _ in rows])
    at = np.arange(len(rows), dtype=np.float64)
    return Sample(
        units=[f"u{number}" for number in range(int(unit.max()) + 1)],
        unit=unit,
        candidate=np.array([candidate for _, candidate, _ in rows]),
        phase=np.array([phase for _, _, phase in rows]),
        first_at=at,
        last_at=at,
        candidate_at=at,
        category=TextColumn.of([""] * len(rows)),
        feedback={"csat": Ratings(row=np.arange(len(rows)), value=at, at=at)},
        before={"csat": np.arange(int(unit.max()) + 1, dtype=np.float64).reshape(-1, 1)},
    )


def flagged(baseline: int, candidate: int, flipped: int) -> Sample:
    """So many units of each arm, and those with both that were left out."""
    arms = [*[False] * baseline, *[True] * candidate]
    return replace(sample_of(*((unit, arm, 0) for unit, arm in enumerate(arms))), flipped=flipped)


def test_a_unit_has_both_arms_only_within_one_phase() -> None:
    moved, both = 1, 2
    sample = sample_of(
        (0, False, 0), (moved, False, 0), (both, True, 0), (moved, True, 1), (both, True, 1), (both, False, 1)
    )
    assert units_in_both_arms(sample).tolist() == [both]
    with pytest.raises(BadSample, match="unit 'u2' is in both arms"):
        in_one_arm(sample, assigned_outside=False)


def test_what_a_unit_with_both_arms_did_and_said_goes_with_it() -> None:
    sample = sample_of((0, False, 0), (1, False, 0), (1, True, 0), (2, True, 0), (0, False, 0))
    sample = replace(
        sample,
        judged=RunJudgements(
            exchanges=(pair(1, 1.0, unit="u1"), pair(2, 0.0, unit="u2")), labels=(label(1, "both"),)
        ),
    )
    left = in_one_arm(sample, assigned_outside=True)
    assert (left.units, left.unit.tolist(), left.flipped) == (["u0", "u2"], [0, 1, 0], 1)
    assert left.before["csat"].tolist() == [[0.0], [2.0]]
    ratings = left.feedback["csat"]
    assert (ratings.row.tolist(), ratings.value.tolist()) == ([0, 1, 2], [0.0, 3.0, 4.0])
    assert [each.unit for each in left.judged.exchanges] == ["u2"] and not left.judged.labels


def test_a_sample_without_such_units_stays_as_it_is() -> None:
    sample = sample_of((0, False, 0), (1, True, 0))
    assert in_one_arm(sample, assigned_outside=True) is sample


@pytest.mark.parametrize(("candidate", "flipped", "many"), [(99, 1, False), (98, 2, True), (91, 9, True)])
def test_flipped_units_are_compared_with_those_that_had_the_candidate(
    candidate: int, flipped: int, many: bool
) -> None:
    """Of all 1,000 units it would never be more than 1 %."""
    sample = flagged(900, candidate, flipped)
    assert sample.too_many_flipped is many
    assert (sample.flipped, sample.had_candidate) == (flipped, 100)


@pytest.mark.parametrize(("flipped", "many"), [(1, False), (9, True)])
def test_many_flipped_units_are_a_caveat_and_few_are_a_note(flipped: int, many: bool) -> None:
    sample = flagged(900, 100 - flipped, flipped)
    found = find(sample, FLAGGED, now=1e6)
    told = InBothArms(users=flipped, of=100)
    assert (told in found.caveats, told in found.notes) == (many, not many)


def test_a_log_of_a_flag_system_s_canary_is_read_as_its_store_is(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("unit,arm,at\na,baseline,1\nb,candidate,2\nb,baseline,3\nc,candidate,4\n")
    settings = ReportSettings(canaries={"c": FLAGGED}, metrics=BUILT_IN)
    report = report_from_csv(settings, "c", path, now=10.0)
    assert (report.units.baseline, report.units.candidate) == (1, 1)
    assert any("both arms to 1 of 2 users" in reason for reason in sentences(report))
    with pytest.raises(BadSample, match="'b' is in both arms"):
        from_csv(path)
