"""A release in one place: what was rolled back stays so, the worst layer decides, and the clock is right."""

import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from alerts.incidents.rollback import RollbackEvidence
from canary.config import Config, parse
from common.concentration import Concentration, FailingPart
from control.states.rollouts import Rollouts
from pages.reports.release import headline, line, rendered, to_json
from pages.words import verdict
from pages.words.archive import decided, ending, reasons_of
from pages.words.reasons import sentences
from pages.words.status import day
from records.store import Act, Store
from records.store.benchmarks import Benchmarks
from records.store.decisions import Decision, Decisions
from records.store.releases import ReleaseNote, Releases
from records.store.reports import DailyReport, DailyReports, Evaluations
from routing import transitions
from verdict.archive import releases
from verdict.archive.archivist import SETTLE_S, Archivist
from verdict.archive.evaluations import from_document
from verdict.archive.releases import LAYERS, NoSuchRelease, all_releases, measured, of_benchmark, release_of
from verdict.archive.trends import trends
from verdict.decision.document import from_json
from verdict.decision.document import to_json as report_json
from verdict.decision.reports import report_of

CONFIG = """\
providers: {openai: {api: openai, base_url: "http://127.0.0.1:1/v1"}}
canaries:
"""
TRIAL = """\
  - name: trial
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: old}
    candidate: {provider: openai, model: new}
    share: 5%
    rubric: [{metric: error_rate, acceptable: "< 3%", ideal: "< 1%", weight: 1, question: "Any?"}]
"""
WITH, WITHOUT = (parse(text, "canary.yaml", {}) for text in (CONFIG + TRIAL, CONFIG + "  []"))
START = 1_800_000_000.000_4
"""Times of acts are finer than the milliseconds that an evaluation keeps."""
DAY_S = 86400.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as opened:
        yield opened


def _started(store: Store) -> Rollouts:
    rollouts = Rollouts(store, lambda plan: None)
    rollouts.reconcile(WITH.control, START)
    return rollouts


def _rolled_back(rollouts: Rollouts, at: float, minutes: float | None = None) -> None:
    act = Act(at=at, action="rollback", who="ann", reason="refunds", minutes=minutes)
    rollouts.change("trial", act, lambda state: transitions.rollback(state, reason="refunds", now=at))
    rollouts.settle()


def _archived(store: Store, config: Config, now: float) -> None:
    Archivist(store, lambda: config.control.reports, sentences).turn(now + SETTLE_S + 1)


def a_benchmark(verdict: str, *, right: int = 95) -> dict[str, Any]:
    spent = {"cost_usd": 2.0, "judge_cost_usd": None, "examples": 100, "failures": {}, "priced": 100}
    side = {**spent, "completion": right / 100, "interval": [right / 100 - 0.05, right / 100 + 0.03]}
    nodes = {
        "examples": 100,
        "baseline": {**spent, "completion": 0.94, "interval": [0.88, 0.97]},
        "candidate": side,
        "mcnemar_p": None,
        "new_failures": ["r-1"],
        "latency_ratio": {"low": 0.9, "estimate": 1.0, "high": 1.1},
        "cost_ratio": None,
    }
    dataset = {**nodes, "dataset": "basics", "categories": []}
    return {
        "at": "2027-01-15T08:00:00Z",
        "owner": "ann",
        "via": "direct",
        "candidate": "openai/new",
        "baseline": "openai/old",
        "stages": {"basics": 60.0},
        "verdict": verdict,
        "reasons": [],
        "issues": {
            "issues": [
                {"mode": "invents a date", "state": "still_there"},
                {"mode": "says nothing", "state": "gone"},
            ]
        },
        "layers": [{**nodes, "layer": "synthetic", "verdict": verdict, "datasets": [dataset]}],
    }


def _add(store: Store, document: Mapping[str, Any], at: float) -> None:
    Benchmarks(store).add(document, baseline="openai/old", candidate="openai/new", at=at)


def test_what_was_rolled_back_reads_so_when_its_entry_has_left_the_config(store: Store) -> None:
    rollouts = _started(store)
    _rolled_back(rollouts, START + DAY_S)
    _archived(store, WITH, START + DAY_S)
    rollouts.reconcile(WITHOUT.control, START + 9 * DAY_S)
    _archived(store, WITHOUT, START + 9 * DAY_S)
    found = release_of(WITHOUT.control.reports, store, "new", now=START + 30 * DAY_S)
    assert (found.state, found.verdict) == ("rolled_back", "dont_ship")
    (run,) = found.runs
    assert (run.state, run.who, run.reason, run.ended_at) == ("rolled_back", "ann", "refunds", START + DAY_S)
    assert run.report is not None
    assert run.report.verdict == "dont_ship"
    (listed,) = all_releases(store)
    assert (listed.state, listed.verdict) == ("rolled_back", "dont_ship")


def test_a_release_names_the_categories_in_which_it_failed_and_no_lack_of_one(
    store: Store,
) -> None:
    rollouts, at = _started(store), START + DAY_S
    parts = (FailingPart(by="category", value=of, failing=5, of=10, share=0.1) for of in ("", "refund"))
    because = RollbackEvidence(
        canary="trial", run=1, rule="error_rate", who="guardrail error_rate", reason="", at=at, rules=(),
        arms={}, failures=(), share_before=0.05, share_after=0.0, where=Concentration(parts=tuple(parts)),
    )  # fmt: skip
    act = Act(at=at, action="rollback", who=because.who, reason="")
    rollouts.change("trial", act, lambda state: transitions.rollback(state, reason="", now=at), why=because)
    rollouts.settle()
    _archived(store, WITH, at)
    found = release_of(WITH.control.reports, store, "new", now=at + DAY_S)
    assert ending(found) == "rolled back in category refund"


def test_no_report_from_before_a_rollback_speaks_for_the_run(store: Store) -> None:
    rollouts = _started(store)
    judged = release_of(WITH.control.reports, store, "new", now=START)
    assert judged.verdict is None
    good = replace(report_of(WITH.control.reports, "trial", store, now=START), verdict="ship")
    daily = DailyReport(
        canary="trial",
        run=1,
        day="2027-01-15",
        at=START,
        verdict="ship",
        document=report_json(good, sentences),
    )
    DailyReports(store).add(daily)
    assert all_releases(store)[0].verdict == "ship"
    _rolled_back(rollouts, START + DAY_S)
    (found,) = all_releases(store)
    assert (found.state, found.verdict, found.report) == ("rolled_back", "dont_ship", None)


def test_a_report_s_evaluation_cost_has_all_benchmarks_of_its_two_models(store: Store) -> None:
    _started(store)
    for number, verdict_ in enumerate(("extend", "ship")):
        _add(store, a_benchmark(verdict_), START - DAY_S + number)
    found = report_of(WITH.control.reports, "trial", store, now=START).details
    assert (found.evaluation.benchmark_usd, found.evaluation.unknown) == (8.0, ())
    assert found.benchmarks[0].verdict == "ship"


def test_the_clock_runs_from_the_first_stage_to_the_decision_and_counts_peoples_minutes(store: Store) -> None:
    Releases(store).notice("openai/new", at=START - 2 * DAY_S)
    _add(store, a_benchmark("ship"), START - DAY_S)
    rollouts = _started(store)
    state = store.states()["trial"].state
    decision = Decision(
        at=START + 3 * DAY_S, canary="trial", run=1, decision="ship", who="ann", reason="good"
    )
    Decisions(store).record(decision, state, minutes=15.0)
    act = Act(at=START + 4 * DAY_S, action="promote", who="ann", reason="good", minutes=5.0)
    rollouts.change("trial", act, lambda s: transitions.promote(s, reason="good", now=act.at))
    (release,) = Releases(store).all()
    Releases(store).note(ReleaseNote(at=START, release=release.id, who="bob", text="read 40", minutes=20.0))
    told = line(release_of(WITH.control.reports, store, "openai/new", now=START + 5 * DAY_S))
    assert told["stages"] == {
        "noticed": "2027-01-13T08:00:00.000Z",
        "benchmarked": "2027-01-14T08:00:00.000Z",
        "started": "2027-01-15T08:00:00.000Z",
        "decided": "2027-01-18T08:00:00.000Z",
    }
    assert (told["days"], told["minutes"], told["state"], told["decision"]) == (5.0, 40.0, "promoted", "ship")


def test_the_worst_of_the_layers_decides_and_the_disagreement_is_told(store: Store) -> None:
    rollouts = _started(store)
    _add(store, a_benchmark("ship"), START)
    _rolled_back(rollouts, START + DAY_S)
    _archived(store, WITH, START + DAY_S)
    found = release_of(WITH.control.reports, store, "new", now=START + 2 * DAY_S)
    assert found.verdict == "dont_ship"
    assert reasons_of(found)[1] == (
        "They disagree: the benchmark says ship and canary trial says don’t ship. The worst of them decides."
    )
    assert set(found.layers) == set(LAYERS)
    assert (found.layers["synthetic"].state, found.layers["synthetic"].score) == ("PASS", 95.0)
    assert found.layers["real"].state == "NODATA"


def test_a_benchmark_alone_says_that_no_user_has_tried_the_model(store: Store) -> None:
    found = of_benchmark(a_benchmark("ship"), now=START)
    assert found.verdict == "ship"
    assert reasons_of(found) == ("No user has tried it yet: the verdict rests on examples only.",)
    assert headline(found) == "Ship, by examples only: openai/new against openai/old"
    assert found.state == "benchmarked"
    stored = measured(WITH.control.reports, store, a_benchmark("dont_ship"), now=START)
    assert (stored.verdict, stored.release.id) == ("dont_ship", "(not stored)")


VARIANT = (
    TRIAL.replace("name: trial", "name: frugal")
    .replace("[gpt-4o]", "[gpt-x]")
    .replace("{provider: openai, model: old}", "{provider: openai, model: new}")
)
FRUGAL = VARIANT.replace(
    "    candidate: {provider: openai, model: new}",
    "    candidate: {provider: openai, model: new, request: {set: {reasoning_effort: low}, remove: [n]}}",
)


def test_a_variant_of_a_model_is_a_release_of_its_own_and_named_by_its_difference(store: Store) -> None:
    rollouts = _started(store)
    promoted = Act(at=START + 60, action="promote", who="ann", reason="good")
    rollouts.change(
        "trial", promoted, lambda state: transitions.promote(state, reason="good", now=START + 60)
    )
    both = parse(CONFIG + TRIAL + FRUGAL, "canary.yaml", {})
    rollouts.reconcile(both.control, START + DAY_S)
    act = Act(at=START + 2 * DAY_S, action="rollback", who="ann", reason="shallow")
    back = partial(transitions.rollback, reason="shallow", now=START + 2 * DAY_S)
    rollouts.change("frugal", act, back)
    rollouts.settle()
    _archived(store, both, START + 3 * DAY_S)
    found = {each.release.candidate: each for each in all_releases(store)}
    assert {name: (each.release.baseline, each.state) for name, each in found.items()} == {
        "openai/new": ("openai/old", "promoted"),
        "openai/new · low effort, without n": ("openai/new", "rolled_back"),
    }
    assert release_of(both.control.reports, store, "new", now=START + 4 * DAY_S).state == "promoted"
    variant = found["openai/new · low effort, without n"]
    assert headline(variant) == "Don’t ship: openai/new · low effort, without n against openai/new"
    model = {"provider": "openai", "model": "new"}
    assert line(variant)["candidate"] == {**model, "request": "low effort, without n"}
    assert line(variant)["baseline"] == model
    report = report_of(both.control.reports, "frugal", store, now=START + 4 * DAY_S)
    assert verdict.models(report) == "new → new · low effort, without n"
    assert from_json(report_json(report, sentences)).models == report.models
    told = trends(map(from_document, Evaluations(store).all()))
    assert [step.candidate for step in told.steps] == ["new", "new · low effort, without n"]
    (family,) = told.families
    assert (family.releases, family.shipped) == (("new",), 1)


def test_a_model_that_its_newest_benchmark_refused_counts_while_no_user_has_tried_it(store: Store) -> None:
    _add(store, a_benchmark("ship"), START)
    assert Benchmarks(store).refused() == {}
    _add(store, a_benchmark("dont_ship"), START + 60)
    assert Benchmarks(store).refused() == {"openai/new": START + 60}
    _started(store)
    assert Benchmarks(store).refused() == {}


def test_a_run_under_way_without_users_is_no_verdict(store: Store) -> None:
    _started(store)
    _add(store, a_benchmark("ship"), START)
    assert release_of(WITH.control.reports, store, "new", now=START + 60).verdict is None
    _add(store, a_benchmark("dont_ship"), START + 1)
    assert release_of(WITH.control.reports, store, "new", now=START + 60).verdict == "dont_ship"


def test_another_baselines_benchmark_is_another_release(store: Store) -> None:
    _add(store, a_benchmark("ship", right=90), START)
    Benchmarks(store).add(a_benchmark("ship"), baseline="openai/older", candidate="openai/new", at=START + 1)
    newer, older = all_releases(store)
    assert (newer.release.baseline, older.release.baseline) == ("openai/older", "openai/old")
    assert (newer.state, older.state) == ("benchmarked", "superseded")
    assert reasons_of(older)[0] == f"Superseded by release {newer.release.id}, against openai/older."
    assert older.layers["synthetic"].score == 90.0
    with pytest.raises(NoSuchRelease, match="there are: openai/new"):
        release_of(WITH.control.reports, store, "newest", now=START)


@pytest.mark.parametrize("baseline", ["openai/old", "openai/older"])  # a new model with a new prompt, too
def test_a_variant_is_found_by_its_shown_name_and_named_where_its_model_has_no_release(
    store: Store, baseline: str
) -> None:
    variant = "openai/old · low effort"
    Benchmarks(store).add(a_benchmark("ship"), baseline=baseline, candidate=variant, at=START)
    asked = ("low effort", "old · low effort", variant)
    found = [release_of(WITH.control.reports, store, each, now=START + 60) for each in asked]
    assert {each.release.candidate for each in found} == {variant}
    with pytest.raises(NoSuchRelease, match=f"of 'old'; of variants of it there are: {variant}"):
        release_of(WITH.control.reports, store, "old", now=START)


def test_a_one_off_comparison_does_not_take_over_the_models_name(store: Store) -> None:
    _started(store)
    Benchmarks(store).add(a_benchmark("ship"), baseline="openai/rival", candidate="openai/new", at=START + 1)
    found = release_of(WITH.control.reports, store, "new", now=START + 60)
    assert (found.release.baseline, found.state) == ("openai/old", "running")


def test_what_keeps_an_open_release_from_shipping_stands_at_its_top(store: Store) -> None:
    document = {**a_benchmark("extend"), "reasons": ["basics: 20 examples", "a", "b"], "caveats": ["dear"]}
    found = of_benchmark(document, now=START)
    assert headline(found) == "Not enough examples to decide: openai/new against openai/old"
    told = ("basics: 20 examples", "a", "b", "dear")
    assert reasons_of(found)[:-1] == tuple(f"Examples: {each}." for each in told)


def test_every_form_tells_the_same_and_escapes_what_others_wrote(store: Store) -> None:
    rollouts = _started(store)
    document = a_benchmark("extend")
    document["reasons"] = ["<b>basics</b> | has too few examples"]
    _add(store, document, START)
    _rolled_back(rollouts, START + DAY_S)
    found = release_of(WITH.control.reports, store, "new", now=START + 2 * DAY_S)
    told = {form: rendered(found, form) for form in ("text", "markdown", "html")}
    for text in told.values():
        assert "Don’t ship: openai/new against openai/old" in text
        assert "refunds" in text
        assert "1 known issue still there: invents a date." in text
    assert "&lt;b&gt;basics" in told["html"]
    assert "<b>" not in told["html"]
    assert "\\<b\\>basics\\</b\\> &#124; has" in told["markdown"]
    assert json.loads(json.dumps(to_json(found)))["runs"][0]["state"] == "rolled_back"


@pytest.mark.parametrize("against", ["", "extend"])
def test_a_promoted_release_reads_that_it_was_promoted_by_whom_and_what_the_report_said(
    store: Store, against: str
) -> None:
    rollouts = _started(store)
    act = Act(at=START + DAY_S, action="promote", who="ann", reason="good enough.", against=against)
    rollouts.change("trial", act, lambda state: transitions.promote(state, reason=act.reason, now=act.at))
    rollouts.settle()
    for archived, said in ((False, "without a report"), (True, "when the verdict was extend")):
        if archived:
            _archived(store, WITH, START + DAY_S)
        found = release_of(WITH.control.reports, store, "new", now=START + 30 * DAY_S)
        assert headline(found) == "Promoted: openai/new against openai/old"
        said = f"against the verdict {against}" if against else said
        assert reasons_of(found)[0] == f"Canary trial was promoted by ann {said}: good enough."
        assert decided(found) == [f"{day(START + DAY_S)}: {reasons_of(found)[0]}"]
        assert to_json(found)["runs"][0]["against"] == (against or None)


def test_a_release_is_shown_with_its_kept_report_while_the_present_one_cannot_be_made(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_args: object, **_named: object) -> None:
        raise ZeroDivisionError("division by zero")

    _started(store)
    kept = replace(report_of(WITH.control.reports, "trial", store, now=START), verdict="ship")
    monkeypatch.setattr(releases, "report_of", fails)
    whys = []
    for document in (None, report_json(kept, sentences)):
        if document is not None:
            daily = DailyReport(canary="trial", run=1, day="d", at=START, verdict="ship", document=document)
            DailyReports(store).add(daily)
        found = release_of(WITH.control.reports, store, "new", now=START + DAY_S)
        assert all(rendered(found, form) for form in ("text", "markdown", "html"))
        whys.append(reasons_of(found)[0])
    assert found.verdict == "ship"
    error = (
        "an error of canary's own (ZeroDivisionError: division by zero), which is in the log with its trace."
    )
    assert whys == [
        f"The present report of canary trial could not be made, no earlier one was kept: {error}",
        f"The present report of canary trial could not be made, the newest kept one is shown: {error}",
    ]
