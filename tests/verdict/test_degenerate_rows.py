"""Values of which little or nothing can be computed: they leave their own row open, and nothing else."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from common.interval import Interval
from judge.judgements import RunJudgements
from pages.reports import compare
from pages.reports import release as release_forms
from pages.reports.report import rendered
from pages.words.reasons import sentences
from records.facts.metric import BUILT_IN, Metric, parse_bound
from records.outcome import Fault
from records.store.releases import Release, Run
from tests.effort import examples
from tests.verdict.judged import answer, pair
from tests.verdict.reference import adjusted, narrower
from verdict.archive import trends
from verdict.archive.evaluations import Evaluation
from verdict.archive.releases import Dossier, RunStanding
from verdict.decision import verdict
from verdict.decision.document import Report, from_json, to_json
from verdict.decision.reports import CandidateStanding, side_by_side
from verdict.decision.verdict import build
from verdict.rows.reading import known
from verdict.sample.csv_log import AnswerTable, ExchangeTable
from verdict.sample.sample import MeasureTotals, Ratings, Sample, TextColumn
from verdict.statistics.boundaries import Shape as Skewed
from verdict.statistics.ratio import Arms, Ratio, UnitSums, arms
from verdict.statistics.types import Bools, Floats, Ints, NotComputed
from verdict.terms.judged_canary import JudgedCanary
from verdict.terms.rubric import Criterion

START = 20_000 * 86400.0
DAY_S = 86400.0

METRICS: Mapping[str, Metric] = {
    **BUILT_IN,
    "calls": Metric(name="calls", kind="count", higher_is_better=False, question=""),
    "spent": Metric(name="spent", kind="amount", matures_after_s=DAY_S / 4, question=""),
}

ROWS = (
    ("error_rate", "< 5%", "< 1%"),
    ("error_rate", "<= baseline + 1pp", "<= baseline - 1pp"),
    ("refused", "< 5%", "< 1%"),
    ("abandoned", "<= baseline + 1pp", "<= baseline"),
    ("cost_per_request", "< 0.12", "< 0.06"),
    ("cost_per_request", "<= 1.2x baseline", "<= 0.9x baseline"),
    ("cost_per_request", "<= baseline + 0.1", "<= baseline - 0.1"),
    ("cost_total", "<= 1.2x baseline", "<= 0.9x baseline"),
    ("tokens", "< 1000", "< 100"),
    ("latency_p95", "< 2s", "< 1s"),
    ("latency_p95", "<= 1.2x baseline", "<= 0.9x baseline"),
    ("ttft_p50", "<= 1.2x baseline", "<= 0.9x baseline"),
    ("session_length_s", "<= 1.2x baseline", "<= 0.9x baseline"),
    ("session_repeats", "<= baseline + 2pp", "<= baseline"),
    ("csat", "> 4.1", "> 4.4"),
    ("csat", ">= baseline - 5%", ">= baseline + 1%"),
    ("nps", ">= baseline - 5", ">= baseline + 5"),
    ("task_completed", ">= 85%", ">= 95%"),
    ("task_completed", ">= baseline - 2pp", ">= baseline + 2pp"),
    ("revenue", ">= baseline - 2%", ">= baseline + 2%"),
    ("spent", ">= 1", ">= 2"),
    ("calls", "<= baseline + 1", "<= baseline - 1"),
    ("judged_preference", ">= 45%", ">= 50%"),
    ("judged_mark", ">= baseline - 0.2", ">= baseline + 0.2"),
)
BOUNDED = {"csat": (1.0, 5.0), "nps": (0.0, 10.0), "task_completed": (0.0, 1.0)}
UNBOUNDED = ("revenue", "spent", "calls")


def rubric(rows: tuple[tuple[str, str, str], ...] = ROWS) -> tuple[Criterion, ...]:
    return tuple(
        Criterion(metric=m, acceptable=parse_bound(a), ideal=parse_bound(i), weight=1, question="")
        for m, a, i in rows
    )


@dataclass(frozen=True, kw_only=True)
class Users:
    """Who makes requests, (n,) each: `unit` numbers from 0."""

    unit: Ints
    candidate: Bools
    phase: Ints
    day: Floats

    @property
    def rng(self) -> np.random.Generator:
        return np.random.default_rng(len(self.unit))

    def __len__(self) -> int:
        return len(self.unit)


Shape = Callable[[Users], Floats]


def _one(of: Users) -> Floats:
    """One user has everything, the others nothing."""
    return np.where(of.unit == of.unit[np.flatnonzero(of.candidate)[0]], 1e9, 0.0)


def _with(value: float) -> Shape:
    def some(of: Users) -> Floats:
        found = _usual(of)
        found[np.flatnonzero(of.candidate)[:1]] = value
        return found

    return some


def _usual(of: Users) -> Floats:
    return of.rng.gamma(2.0, 0.05, len(of))


PLAIN: Mapping[str, Shape] = {
    "usual": _usual,
    "zero": lambda of: np.zeros(len(of)),
    "constant": lambda of: np.full(len(of), 0.1),
    "constant in each arm": lambda of: np.where(of.candidate, 0.3, 0.1),
    "constant in each phase": lambda of: 0.1 + of.phase,
    "constant by user": lambda of: 0.1 * (1 + of.unit % 7),
    "one user has all": _one,
    "tiny": lambda of: 1e-12 * _usual(of),
    "huge": lambda of: 1e15 * _usual(of),
    "a large number with a little noise": lambda of: 1e12 + _usual(of),
    "one is different": _with(1e9),
    "two values": lambda of: (of.rng.random(len(of)) < 0.5).astype(np.float64),
}
WILD: Mapping[str, Shape] = {
    "too large to be squared": lambda of: 1e300 * _usual(of),
    "too small to be squared": lambda of: 1e-200 * _usual(of),
    "one is infinite": _with(math.inf),
    "one is nearly the largest number": _with(1.7e308),
}
CATEGORIES: Mapping[str, Callable[[Users], list[str]]] = {
    "none": lambda of: [""] * len(of),
    "one": lambda of: ["a"] * len(of),
    "the arm": lambda of: [f"a{each}" for each in of.candidate.tolist()],
    "the phase": lambda of: [f"p{each}" for each in of.phase.tolist()],
    "the phase and the arm": lambda of: [f"{p}{c}" for p, c in zip(of.phase, of.candidate, strict=True)],
    "many": lambda of: [f"c{each % 5}" for each in of.unit.tolist()],
    "two": lambda of: [f"c{each % 2}" for each in of.unit.tolist()],
}


def users(per_phase: tuple[tuple[int, int], ...], *, visits: int = 2) -> Users:
    """(candidate, baseline) users in each phase, with so many visits each."""
    unit, side, phase, day, number = [], [], [], [], 0
    for at, counts in enumerate(per_phase):
        for candidate, count in zip((True, False), counts, strict=True):
            for _ in range(count):
                for visit in range(visits):
                    unit.append(number)
                    side.append(candidate)
                    phase.append(at)
                    day.append(3.0 * (at + visit / visits) / len(per_phase) + 1e-4 * (number % 97))
                number += 1
    order = np.argsort(day, kind="stable")
    columns = (np.array(unit), np.array(side), np.array(phase), np.array(day))
    unit_, side_, phase_, day_ = (column[order] for column in columns)
    return Users(unit=unit_, candidate=side_, phase=phase_, day=day_)


def sample_of(of: Users, value: Shape, category: str, before: Shape | None) -> Sample:
    """Everything that can be measured has values of this shape, those with a scale within it."""
    values = value(of)
    with np.errstate(all="ignore"):
        share = np.nan_to_num(values / max(values.max(), 1e-300), nan=1.0)
    rows, at = np.arange(len(of)), START + of.day * DAY_S
    unit_value = np.full(int(of.unit.max()) + 1, np.nan)
    unit_value[of.unit] = values if before is None else before(of)
    failed = share > 0.5
    table = ExchangeTable(
        units=tuple(f"u{each}" for each in range(len(unit_value))),
        unit=of.unit,
        candidate=of.candidate,
        phase=of.phase,
        at=at,
        counts=np.ones(len(of), dtype=np.bool_),
        failed=failed,
        latency_s=values,
        ttft_s=values,
        cost_usd=values,
        tokens=values,
        category=TextColumn.of(CATEGORIES[category](of)),
        answers=AnswerTable(
            finished=np.ones(len(of), dtype=np.bool_),
            judged=np.ones(len(of), dtype=np.bool_),
            faults=dict.fromkeys(get_args(Fault), failed),
        ),
        aborted=failed,
        feedback={
            **{name: Ratings(row=rows, value=values, at=at) for name in UNBOUNDED},
            **{
                name: Ratings(row=rows, value=low + np.round(share * (high - low)), at=at)
                for name, (low, high) in BOUNDED.items()
            },
        },
        before={} if before is None else dict.fromkeys(("cost", *_BEFORE), unit_value[:, None]),
    )
    found = table.sample()
    sessions = {
        "session_length_s": MeasureTotals(count=np.ones(len(of)), total=values),
        "session_repeats": MeasureTotals(count=np.ones(len(of)), total=failed.astype(np.float64)),
    }
    said = [pair(each, [0.0, 0.5, 1.0][each % 3], unit=f"u{each}", at=START) for each in range(120)]
    marks = [
        replace(answer(1000 + each, 3.0, arm=("baseline", "candidate")[each % 2], unit=f"u{each}"), at=START)
        for each in range(240)
    ]
    return replace(
        found, totals={**found.totals, **sessions}, judged=RunJudgements(exchanges=(*said, *marks))
    )


_BEFORE = ("cost_per_request", "cost_total", "csat", "revenue", "latency_p95", "task_completed", "error_rate")


def judged_by(days: int) -> JudgedCanary:
    return JudgedCanary(
        name="c",
        criteria=rubric(),
        metrics=METRICS,
        minimum_days=min(days, 1),
        planned_days=days,
        shares={0: 0.5, 1: 0.5, 2: 0.5},
        critical_categories=frozenset({"c1", "a"}),
    )


def shown(report: Report) -> None:
    """Every form can be written, every number is one, and what passes has an end that says so."""
    document = json.loads(json.dumps(to_json(report, sentences), allow_nan=False))
    assert from_json(document).verdict == report.verdict
    for form in ("text", "json", "markdown", "html"):
        assert rendered(report, form)
    run = Run(canary="c", run=1, release="r", at=0.0)
    history = Dossier(
        release=Release(id="r", candidate="p/m", baseline="p/b", made_at=0.0),
        runs=(RunStanding(of=run, acts=(), report=report, decided=None),),
        notes=(),
        benchmark=None,
        benchmarked_at=None,
    )
    for form in ("text", "markdown", "html"):
        assert release_forms.rendered(history, form)
    one = CandidateStanding(report=report, state="running", candidate=None, baseline=None)
    assert compare.rendered(side_by_side([one, one]), "json")
    ended = Evaluation(
        canary="c",
        run=1,
        at=0.0,
        event="ended",
        who="w",
        reason="r",
        baseline=None,
        candidate=None,
        report=report,
    )
    assert json.dumps(trends.to_json(trends.trends([ended])), allow_nan=False)
    for line in report.metrics:
        if line.state in ("IDEAL", "PASS"):
            assert line.candidate is not None
            assert line.look is None or line.look.low is not None


EXAMPLES = settings(
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),  # an example takes half a second: none is made smaller
    suppress_health_check=[HealthCheck.too_slow],
)
UNITS = (
    ((150, 150),),
    ((100, 101), (101, 100)),
    ((1, 150), (110, 110)),
    ((2, 2), (1, 1), (120, 130)),
    ((1, 200),),
    ((150, 1),),
    ((120, 120), (0, 50)),
)


@given(
    value=st.sampled_from(sorted(PLAIN)),
    category=st.sampled_from(sorted(CATEGORIES)),
    before=st.none() | st.sampled_from(sorted(PLAIN)),
    phases=st.sampled_from(UNITS),
    planned=st.sampled_from([0, 2]),
)
@settings(EXAMPLES, max_examples=examples(30))
def test_every_row_can_be_computed_of_values_without_spread_on_any_scale(
    value: str, category: str, before: str | None, phases: tuple[tuple[int, int], ...], planned: int
) -> None:
    sample = sample_of(users(phases), PLAIN[value], category, None if before is None else PLAIN[before])
    report = build(sample, judged_by(planned), now=START + 10 * DAY_S)
    assert not [reason for reason in sentences(report) if "computed" in reason or "left out" in reason]
    shown(report)


@given(
    value=st.sampled_from(sorted(WILD)),
    category=st.sampled_from(sorted(CATEGORIES)),
    before=st.none() | st.sampled_from(sorted(WILD)),
    phases=st.sampled_from(UNITS),
    planned=st.sampled_from([0, 2]),
)
@example(value="one is infinite", category="many", before=None, phases=((150, 150),), planned=0)
@settings(EXAMPLES, max_examples=examples(15))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_values_of_which_nothing_can_be_computed_leave_the_row_open_and_the_report_whole(
    value: str, category: str, before: str | None, phases: tuple[tuple[int, int], ...], planned: int
) -> None:
    sample = sample_of(users(phases), WILD[value], category, None if before is None else WILD[before])
    shown(build(sample, judged_by(planned), now=START + 10 * DAY_S))


def test_categories_that_coincide_with_the_ramp_s_phases_stop_no_report() -> None:
    """Rounding took the diagonal of the normal equations below 0: 48 of these 200 raised "SVD did not
    converge"."""
    for seed in range(200):
        rng = np.random.default_rng(seed)
        phase = np.repeat(np.arange(3), rng.integers(100, 400, size=3))
        sums = UnitSums(
            unit=np.arange(len(phase)),
            phase=phase,
            candidate=rng.random(len(phase)) < 0.3,
            total=rng.poisson(3, len(phase)).astype(np.float64),
            count=rng.integers(1, 5, len(phase)).astype(np.float64),
        )
        plain, found = arms(sums), adjusted(sums, None, phase)
        assert found.se(1) == pytest.approx(plain.se(1))
        assert found.value(1) == pytest.approx(plain.value(1))


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_earlier_values_explain_the_same_on_any_scale(scale: float, offset: float) -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=600)
    sums = UnitSums(
        unit=np.arange(600),
        phase=np.zeros(600, dtype=np.int64),
        candidate=np.arange(600) % 2 == 1,
        total=x + rng.normal(size=600),
        count=np.ones(600),
    )
    found, same = narrower(sums, scale * (x[:, None] + offset)), narrower(sums, x[:, None])
    assert same.se(1) < 0.9 * arms(sums).se(1)
    assert found.se(1) == pytest.approx(same.se(1))
    assert found.value(1) == pytest.approx(same.value(1))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_row_that_cannot_be_computed_is_open_says_why_and_leaves_the_others_as_they_were() -> None:
    of = users(((150, 150),))
    good = sample_of(of, PLAIN["usual"], "two", None)
    revenue = replace(good.feedback["revenue"], value=_with(math.inf)(of))
    bad = replace(good, feedback={**good.feedback, "revenue": revenue})
    now = START + 10 * DAY_S
    whole, found = (build(each, judged_by(2), now=now) for each in (good, bad))
    for before, line in zip(whole.metrics, found.metrics, strict=True):
        if line.metric != "revenue":
            assert line == before
            continue
        assert (line.state, line.units) == ("INCONCLUSIVE", 150)
        assert line.look is not None
        assert (line.look.low, line.look.chance) == (None, None)
    (why,) = [reason for reason in sentences(found) if reason.startswith("Revenue")]
    assert why == (
        "Revenue cannot be computed from its values, so it stays open: they are too large, or not numbers. "
        "More users alone may not change this: look at the values that were sent."
    )


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_candidate_of_which_one_row_cannot_be_computed_does_not_ship() -> None:
    of = users(((150, 150),))
    good = sample_of(of, PLAIN["zero"], "none", None)
    revenue = Ratings(row=np.arange(len(of)), value=_with(math.inf)(of), at=good.first_at)
    canary = replace(
        judged_by(0),
        critical_categories=frozenset(),
        criteria=rubric((("error_rate", "< 20%", "< 10%"), ("revenue", ">= 0.01", ">= 0.02"))),
    )
    seen = [
        build(replace(good, feedback={"revenue": r}), canary, now=START + 10 * DAY_S)
        for r in (replace(revenue, value=10 + 0.1 * (of.unit % 7)), revenue)
    ]
    assert [each.verdict for each in seen] == ["ship_now", "extend"]
    assert seen[1].score.low < seen[0].score.low


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_critical_category_of_which_a_row_cannot_be_computed_is_named_and_holds_the_verdict() -> None:
    of = users(((300, 300),))
    good = sample_of(of, PLAIN["usual"], "two", None)
    category = good.category
    tiny = np.where(category.code == category.names.index("c1"), 1e-200, 1.0) * _usual(of)
    cost = MeasureTotals(count=np.ones(len(of)), total=tiny)
    canary = replace(
        judged_by(0), criteria=rubric((("cost_per_request", "<= 9x baseline", "<= 8x baseline"),))
    )
    found = build(replace(good, totals={**good.totals, "cost": cost}), canary, now=START + 10 * DAY_S)
    assert found.verdict == "extend"
    assert any(
        reason.startswith("Cost per request in critical category c1 cannot be computed")
        for reason in sentences(found)
    )


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_what_is_no_number_neither_passes_nor_fails(number: float) -> None:
    with pytest.raises(NotComputed):
        Skewed(skewness=number, units=100.0)
    with pytest.raises(NotComputed):
        Arms(
            candidate=Ratio(value=number, influence=np.zeros(3)),
            baseline=Ratio(value=0.0, influence=np.zeros(3)),
        )
    for ends in ((math.nan, 0.0, 0.0), (0.0, math.nan, 0.0), (0.0, 0.0, math.nan)):
        with pytest.raises(NotComputed):
            known(Interval(low=ends[0], estimate=ends[1], high=ends[2]))


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ("money", "The saving"),
        ("spreads", "The spread of the times"),
        ("failures", "The list of failures"),
        ("located", "Where failures lie"),
        ("judge_figures", "What the judge says"),
        ("course", "Error rate over time"),
        ("since_first", "Error rate by day"),
    ],
)
def test_a_section_that_fails_is_left_out_with_a_sentence(
    part: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_args: object, **_named: object) -> None:
        raise ZeroDivisionError("division by zero")

    sample, canary = sample_of(users(((150, 150),)), PLAIN["usual"], "none", None), judged_by(0)
    whole = build(sample, canary, now=START + 10 * DAY_S)
    monkeypatch.setattr(verdict, part, fails)
    found = build(sample, canary, now=START + 10 * DAY_S)
    assert found.metrics == whole.metrics
    assert found.verdict == whole.verdict
    assert any(
        reason == f"{says} could not be made and is left out: an error of canary's own (ZeroDivisionError: "
        "division by zero), which is in the log with its trace. The rest of the report stands."
        for reason in sentences(found)
    )
    shown(found)


def test_a_newest_phase_without_a_value_yet_leaves_the_row_that_of_the_phases_before() -> None:
    """The first phase has values of one arm alone, the last none at all."""
    of = users(((3, 150), (150, 150), (110, 110)))
    sample = sample_of(of, PLAIN["usual"], "none", None)
    given = np.flatnonzero((of.phase == 1) | ((of.phase == 0) & ~of.candidate))
    csat = sample.feedback["csat"]
    some = Ratings(row=csat.row[given], value=csat.value[given], at=csat.at[given])
    canary = replace(judged_by(0), criteria=rubric((("csat", "> 1.5", "> 2"),)))
    found = build(replace(sample, feedback={"csat": some}), canary, now=START + 10 * DAY_S)
    assert found.metrics[0].units == 150
    assert not [reason for reason in sentences(found) if "computed" in reason]
