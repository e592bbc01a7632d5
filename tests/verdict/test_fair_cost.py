"""A cost beside the arms' prompt caches: what the candidate would cost at the baseline's share of hits."""

from pathlib import Path

import numpy as np
import pytest

from pages.reports.report import rendered
from proxy.providers.provider import Provider
from records.facts.prices import PricedModel, TokenPrices
from tests.verdict.totals import UnitTotals
from verdict.decision.document import Report, from_json, to_json
from verdict.decision.verdict import build
from verdict.rows.reasons import CacheDiffers
from verdict.sample.cohort import to_judge
from verdict.sample.csv_log import from_csv
from verdict.sample.sample import Sample
from verdict.terms.judged_canary import JudgedCanary
from verdict.terms.rubric import Criterion, parse_bound

DAY_S = 86400.0
DEAR, CACHED = 10e-6, 1e-6
"""Dollars of a plain and of a cached input token."""


def _terms(price: float | None = CACHED) -> JudgedCanary:
    prices = {} if price is None else {"n": TokenPrices(input=10, cached_input=1, output=0)}
    entry = Provider(name="own", api="openai", base_url="http://own.example")
    row = Criterion(
        metric="cost_per_request", acceptable=parse_bound("<= 1.2x baseline"),
        ideal=parse_bound("<= 1x baseline"), weight=1, question="?",
    )  # fmt: skip
    return JudgedCanary(
        name="c",
        criteria=(row,),
        minimum_days=0,
        shares={0: 0.5},
        candidate_price=PricedModel(seller=entry, model="n", overrides=prices, same_as={}),
    )


def _hits(rng: np.random.Generator, candidate: bool, equal: bool) -> int:
    """Cached tokens of 1,000: nine tenths of the baseline's, half of the candidate's."""
    return 100 * int(rng.binomial(10, 0.5 if candidate and not equal else 0.9))


def _log(folder: Path, *, equal: bool = False) -> Sample:
    rng = np.random.default_rng(3)
    lines = ["unit,arm,at,cost_usd,input_tokens,cached_input_tokens"]
    for user in range(400):
        candidate = user % 2 == 1
        for each in range(1 + user % 5):
            cached = _hits(rng, candidate, equal)
            cost = (1000 - cached) * DEAR + cached * CACHED
            arm = "candidate" if candidate else "baseline"
            lines.append(f"u{user},{arm},{1e9 + user + each * 1000},{cost:.6f},1000,{cached}")
    (folder / "log.csv").write_text("\n".join(lines))
    return from_csv(folder / "log.csv")


def _judged(sample: Sample, terms: JudgedCanary) -> Report:
    return build(sample, terms, now=2e9)


def test_the_cost_at_the_baselines_share_is_that_of_its_prices(tmp_path: Path) -> None:
    report = _judged(_log(tmp_path), _terms())
    found, (line,) = report.details.cache_hits, report.metrics
    assert found is not None and line.candidate is not None
    assert found.different and found.candidate < 0.6 < 0.85 < found.baseline
    # By hand: 1,000 input tokens at the baseline's share. A hit is worth $9 a million.
    by_hand = 1000 * (DEAR - found.baseline * (DEAR - CACHED))
    assert found.costs == {"cost_per_request": pytest.approx(by_hand)}
    assert line.candidate > 2 * by_hand
    assert any(isinstance(reason, CacheDiffers) for reason in report.reasons)


def test_it_is_a_caveat_and_a_figure_on_every_surface(tmp_path: Path) -> None:
    report = _judged(_log(tmp_path), _terms())
    for form in ("text", "markdown", "html"):
        shown = " ".join(rendered(report, form).split())
        assert "input tokens in its cache" in shown
        assert "input tokens cached" in shown
    document = to_json(report, lambda _: ["as it was"])
    assert document["details"]["cache_hits"]["costs"] == report.details.cache_hits.costs  # type: ignore[union-attr]
    assert from_json(document).details == report.details


def test_equal_shares_are_shown_without_a_caveat(tmp_path: Path) -> None:
    report = _judged(_log(tmp_path, equal=True), _terms())
    found = report.details.cache_hits
    assert found is not None and not found.different and found.costs == {}
    assert not any(isinstance(reason, CacheDiffers) for reason in report.reasons)


def test_without_a_price_the_caveat_says_what_depends_on_it(tmp_path: Path) -> None:
    report = _judged(_log(tmp_path), _terms(price=None))
    assert report.details.cache_hits is not None and report.details.cache_hits.costs == {}
    assert "Cost per request depends on it." in rendered(report, "text", width=400)


def test_the_stores_totals_tell_the_same_as_a_log(unit_totals: UnitTotals, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for user in range(400):
        candidate, requests = user % 2 == 1, 1 + user % 5
        cached = sum(_hits(rng, candidate, equal=False) for _ in range(requests))
        unit_totals.cell(
            unit=f"u{user}", arm="candidate" if candidate else "baseline", exchanges=requests,
            counted=requests, cost_n=requests, input_tokens=1000 * requests, cached_tokens=cached,
            cost_sum=(1000 * requests - cached) * DEAR + cached * CACHED,
        )  # fmt: skip
    stored, logged = (
        _judged(to_judge(unit_totals.connection, _terms()), _terms()),
        _judged(_log(tmp_path), _terms()),
    )
    assert stored.details.cache_hits is not None and logged.details.cache_hits is not None
    assert stored.details.cache_hits.costs == pytest.approx(logged.details.cache_hits.costs)
