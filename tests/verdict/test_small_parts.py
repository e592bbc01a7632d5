"""Critical parts with few users: `extend` without evidence, and an exact test that finds great harm."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pytest

from pages.words.plan import next_steps
from pages.words.reasons import sentences
from records.facts.metric import BUILT_IN
from tests.verdict.planned import as_told
from tests.verdict.simulated_looks import row
from verdict.decision.document import PartLine, Report, from_json, to_json
from verdict.decision.parts import break_down, parts_of
from verdict.decision.verdict import build
from verdict.sample.observations import observe
from verdict.sample.sample import MeasureTotals, Sample, TextColumn
from verdict.statistics.types import Bools, Floats, Ints
from verdict.terms.judged_canary import JudgedCanary

DAY_S = 86400.0
NOW = 10 * DAY_S


ERRORS = row("error_rate", "< 20%", "< 1%")
COST = row("cost_per_request", "<= 1.2x baseline", "<= 0.5x baseline")
FAULTS = row("answer_faults", "<= baseline + 5pp", "<= baseline - 5pp")
CANARY = JudgedCanary(name="subjects", criteria=(ERRORS,), shares={0: 0.5})


@dataclass(frozen=True)
class Group:
    """A category: users in each arm, requests of each user, and how often one fails (baseline, candidate)."""

    users: int
    requests: int = 1
    errors: tuple[float, float] = (0.05, 0.05)


def _sample(groups: Mapping[str, Group]) -> Sample:
    """Of the users of each arm, the same share fails in every group; the failing users come first."""
    count, failed, candidate, category = [], [], [], []
    for name, group in groups.items():
        for arm in (False, True):
            failing = np.arange(group.users) < round(group.errors[arm] * group.users)
            failed.append(failing * float(group.requests))
            count.append(np.full(group.users, float(group.requests)))
            candidate.append(np.full(group.users, arm))
            category += [name] * group.users
    return _of_users(
        count=np.concatenate(count),
        candidate=np.concatenate(candidate),
        category=TextColumn.of(category),
        totals={"errors": np.concatenate(failed)},
    )


def _of_users(
    *, count: Floats, candidate: Bools, category: TextColumn, totals: Mapping[str, Floats]
) -> Sample:
    users = len(count)
    at = np.linspace(0, 9 * DAY_S, users)
    return Sample(
        units=[str(each) for each in range(users)],
        unit=np.arange(users),
        candidate=candidate,
        phase=np.zeros(users, dtype=np.int64),
        first_at=at,
        last_at=at,
        candidate_at=np.arange(0, 9 * 24 + 1) * DAY_S / 24,
        category=category,
        totals={name: MeasureTotals(count=count, total=total) for name, total in totals.items()},
        shares={0: float(candidate.mean())},
    )


SUBJECTS = {f"subject {number}": Group(users=40) for number in range(56)}


def _report(groups: Mapping[str, Group], *critical: str) -> Report:
    return build(_sample(groups), replace(CANARY, critical_categories=frozenset(critical)), now=NOW)


def _line(report: Report, value: str) -> PartLine:
    return next(line for line in report.categories if line.value == value)


def test_a_critical_category_without_any_exchange_extends_and_is_named() -> None:
    report = _report(SUBJECTS, "virology")
    assert report.verdict == "extend"
    assert (
        sentences(report)[0] == "No exchange of critical category virology was seen, so it cannot be judged."
    )
    assert _line(report, "virology").state == "TOO_FEW"
    assert _report(SUBJECTS).verdict == "ship"


def test_a_critical_category_with_few_users_extends_and_says_how_many_it_has() -> None:
    report = _report(SUBJECTS, "subject 7")
    assert report.verdict == "extend"
    assert sentences(report)[0] == (
        "Critical category subject 7 has too few users to be judged: error rate 40 candidate users; "
        "100 are required in each arm."
    )
    assert next_steps(report)[0] == (
        "Critical category subject 7: about 60 more candidate users and 60 more baseline users there, with a "
        "value of error rate."
    )
    assert from_json(to_json(report, sentences)) == as_told(report)


def test_a_critical_segment_that_nobody_uses_extends_and_is_named() -> None:
    canary = replace(
        CANARY, segments=("plan",), critical_segments=frozenset({("plan", "gold"), ("plan", "free")})
    )
    sample = _sample(SUBJECTS)
    tags = {"plan": TextColumn.of(["free"] * len(sample.unit))}
    report = build(replace(sample, tags=tags), canary, now=NOW)
    assert report.verdict == "extend"
    assert [reason for reason in sentences(report) if "critical" in reason.lower()] == [
        "No exchange of critical segment plan gold was seen, so it cannot be judged."
    ]
    assert next_steps(report)[0] == (
        "Critical segment plan gold: about 100 more candidate users and 100 more baseline users there, with "
        "a value of error rate."
    )


@pytest.mark.parametrize("users,requests", [(80, 1), (40, 2)])
def test_52_percent_against_6_of_80_exchanges_blocks_where_it_is_critical(users: int, requests: int) -> None:
    groups = {**SUBJECTS, "virology": Group(users=users, requests=requests, errors=(0.06, 0.52))}
    report = _report(groups, "virology")
    line = _line(report, "virology")
    assert (line.state, line.blocks, report.verdict) == ("WORSE", True, "dont_ship")
    assert sentences(report)[0].startswith("Critical category virology: error rate is worse (+4")
    assert sentences(report)[0].endswith(
        f" points against the baseline, by the exact test with {users} candidate users)."
    )
    report = _report(groups)
    line = _line(report, "virology")
    assert (line.state, line.blocks, report.verdict) == ("WORSE", False, "ship_with_caveats")
    assert "by the exact test" in sentences(report)[0]


@pytest.mark.parametrize("users,verdict", [(8, "extend"), (60, "dont_ship")])
def test_a_critical_category_39_points_worse_never_ships(users: int, verdict: str) -> None:
    refund = Group(users=users, errors=(0.05, 0.44))
    assert _report({"other": Group(users=2000), "refund": refund}, "refund").verdict == verdict


def test_few_busy_users_are_no_evidence() -> None:
    report = _report({**SUBJECTS, "virology": Group(users=4, requests=500, errors=(0.0, 0.5))})
    assert _line(report, "virology").state == "TOO_FEW"


def test_a_small_part_is_never_said_to_be_better() -> None:
    report = _report({**SUBJECTS, "virology": Group(users=80, errors=(0.52, 0.06))})
    assert _line(report, "virology").state == "TOO_FEW"


def test_a_user_of_two_phases_counts_once_in_the_last_that_has_both_arms() -> None:
    early = _sample({"virology": Group(users=80, errors=(0.06, 0.52))})
    both = {
        "unit": np.tile(early.unit, 2),
        "candidate": np.tile(early.candidate, 2),
        "phase": np.repeat([0, 1], len(early.unit)),
        "first_at": np.tile(early.first_at, 2),
        "last_at": np.tile(early.last_at, 2),
        "category": TextColumn(names=early.category.names, code=np.tile(early.category.code, 2)),
        "totals": {
            name: MeasureTotals(count=np.tile(one.count, 2), total=np.tile(one.total, 2))
            for name, one in early.totals.items()
        },
    }
    twice = replace(early, **both)  # type: ignore[arg-type]
    assert _chance_of_errors(twice) == pytest.approx(_chance_of_errors(early))


def _chance_of_errors(sample: Sample) -> float | None:
    (part,) = parts_of(sample, CANARY, ERRORS, observe(sample, "error_rate", BUILT_IN, now=NOW))
    return part.chance


ROWS = (ERRORS, FAULTS, COST)
LIKE = replace(CANARY, criteria=ROWS, planned_units=500)


@dataclass(frozen=True)
class _Traffic:
    """Users alike in both arms; what they send is log-normal with σ = 1, and rates are their own."""

    candidate: Bools
    category: Ints
    count: Floats
    failed: Floats
    faulty: Floats
    cost: Floats

    @classmethod
    def of(cls, rng: np.random.Generator, *, users: int, share: float, parts: int) -> "_Traffic":
        count = np.maximum(1.0, np.round(np.exp(1 + rng.normal(size=users))))
        sends = count.astype(np.int64)
        habit = np.exp(0.5 * rng.normal(size=users))
        return cls(
            candidate=rng.random(users) < share,
            category=rng.integers(parts, size=users),
            count=count,
            failed=rng.binomial(sends, rng.beta(0.3, 4.7, size=users)).astype(np.float64),
            faulty=rng.binomial(sends, rng.beta(0.6, 1.4, size=users)).astype(np.float64),
            cost=habit * rng.gamma(2 * count) / 2,
        )

    def until(self, users: int) -> Sample:
        return _of_users(
            count=self.count[:users],
            candidate=self.candidate[:users],
            category=TextColumn(
                names=[f"part {n}" for n in range(int(self.category.max()) + 1)], code=self.category[:users]
            ),
            totals={
                "errors": self.failed[:users],
                "answer_faults": self.faulty[:users],
                "cost": self.cost[:users],
            },
        )


def _any_worse(sample: Sample) -> bool:
    found = [
        part
        for row in ROWS
        for part in parts_of(sample, LIKE, row, observe(sample, row.metric, BUILT_IN, now=NOW))
    ]
    return bool(break_down(found, LIKE).exact)


def _alarms(*, worlds: int, share: float, looks: int, seed: int) -> float:
    """The share of worlds in which any of 20 small parts is worse at any look."""
    rng, users = np.random.default_rng(seed), round(20 * 90 / share)
    alarmed = 0
    for _ in range(worlds):
        traffic = _Traffic.of(rng, users=users, share=share, parts=20)
        alarmed += any(_any_worse(traffic.until(users * look // looks)) for look in range(1, looks + 1))
    return alarmed / worlds


def test_two_equal_arms_are_not_worse_in_any_small_part() -> None:
    assert _alarms(worlds=2, share=0.5, looks=4, seed=5) == 0


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("share,looks,worlds", [(0.5, 14, 300), (0.1, 14, 100), (0.5, 28, 100)])
def test_two_equal_arms_are_not_worse_in_any_small_part_in_full(
    share: float, looks: int, worlds: int
) -> None:
    found = _alarms(worlds=worlds, share=share, looks=looks, seed=51)
    print(
        f"20 equal small parts, three rows, share {share:g}: "
        f"worse at any of {looks} looks {found:.1%} of {worlds}"
    )
    assert found <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / worlds)
