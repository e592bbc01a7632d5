"""A standing canary in the store: its baselines, and trials that a config does not know yet."""

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from canary.config import parse
from control.jobs.release_metrics import figures_of
from control.settings import ControlSettings, StandingCanary
from control.states.rollouts import Rollouts
from pages.reports.release import headline
from pages.words.archive import decided, ending
from pages.words.reasons import sentences
from records.facts.standing import BegunTrial, PromotedBaseline, Standing
from records.store import Act, Store
from records.store.releases import past_canaries
from records.store.reports import Evaluations
from records.store.standing import CannotStand, Standings
from routing import transitions
from routing.states import State
from verdict.archive.archivist import SETTLE_S, Archivist
from verdict.archive.evaluations import from_document
from verdict.archive.release_facts import timeline_of
from verdict.archive.releases import all_releases, release_of
from verdict.archive.trends import trends
from verdict.decision.reports import report_of
from verdict.terms.judged_canary import RunRolledBack

CONFIG = """
providers:
  openai: {api: openai, base_url: "http://127.0.0.1:1/v1", api_key: k}
canaries:
  - name: support
    standing: true
    match: {models: [bot]}
    baseline: {provider: openai, model: first}
    candidate: {provider: openai}
    share: 50%
"""
FIRST = {"provider": "openai", "model": "first"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as store:
        yield store


def settings(begun: Standing | None) -> ControlSettings:
    known = {} if begun is None else {"support": begun}
    return parse(CONFIG, "canary.yaml", {}, lambda url, data: known).control


def begin(store: Store, model: str, *, alone: bool = True) -> str:
    trial, standing = f"support-{model}", Standings(store).all().get("support", Standing())
    arm = {"provider": "openai", "model": model, "patience": "3s"}
    new = BegunTrial(baseline=standing.arm or FIRST, candidate=arm, at=1.0, who="ann")
    Standings(store).begin("support", trial, new, reason="", alone=alone)
    return trial


def now(store: Store) -> Standing:
    return Standings(store).all()["support"]


def order(rollouts: Rollouts, trial: str, action: str) -> State:
    way = {
        "promote": partial(transitions.promote, reason="r", now=2.0),
        "rollback": partial(transitions.rollback, reason="r", now=2.0),
        "resume": partial(transitions.resume, steps=(), reason="r", now=2.0),
    }[action]
    state = rollouts.change(trial, Act(at=2.0, action=action, who="bob", reason="r"), way)
    rollouts.settle()
    return state


PROMPT = {"find": {"file": "v7.md", "text": "Old."}, "put": {"file": "v8.md", "text": "New."}}
OF_ARM = {"name": "v8", "prompt": PROMPT, "request": {"set": {"temperature": 0}}}
IN_FORCE = FIRST | OF_ARM


@pytest.mark.parametrize(
    ("own", "taken"),
    [
        ({"provider": "openai"}, OF_ARM),
        ({"provider": "openai", "name": "mine"}, {"prompt": PROMPT, "request": OF_ARM["request"]}),
        ({"provider": "openai", "request": None}, {"prompt": PROMPT}),
        ({"provider": "openai", "prompt": {}, "request": {}}, {}),
        ({"provider": "openai", "tools": {}}, {"prompt": PROMPT, "request": OF_ARM["request"]}),
        ({"provider": "azure"}, {"prompt": PROMPT}),  # a request of another provider's API
    ],
)
def test_the_next_candidate_differs_by_its_model_and_what_its_order_says(
    own: dict[str, object], taken: dict[str, object]
) -> None:
    newest = PromotedBaseline(arm=IN_FORCE, canary="support-second", run=1, at=1.0, who="ann")
    known = {"support": Standing(history=[newest])}
    text = CONFIG.replace("{provider: openai}", "{provider: openai}".replace("openai", str(own["provider"])))
    text = text.replace(
        "  openai:", '  azure: {api: openai, base_url: "http://127.0.0.1:1/v1", api_key: k}\n  openai:'
    )
    standing = parse(text, "canary.yaml", {}, lambda url, data: known).standing["support"]
    assert standing.candidate(own | {"model": "third"}) == own | {"model": "third"} | taken
    if own.keys() == {"provider"}:
        assert standing.taken_over({}) == taken
        assert standing.terms.canary.candidate.prompt == standing.terms.canary.baseline.prompt


def test_what_was_promoted_is_the_baseline_until_it_is_rolled_back(store: Store) -> None:
    trial = begin(store, "second")
    rollouts = Rollouts(store, lambda states: None)
    rollouts.reconcile(settings(now(store)), 1.5)
    order(rollouts, trial, "promote")
    newest = now(store).baseline
    assert newest is not None
    assert (newest.arm, newest.canary, newest.who) == (
        {"provider": "openai", "model": "second"},  # a baseline has no patience
        trial,
        "bob",
    )
    order(rollouts, trial, "rollback")
    assert now(store).baseline is None
    withdrawn = now(store).history[0].withdrawn
    assert withdrawn is not None and withdrawn.who == "bob"


@pytest.mark.parametrize("written", ["first", "second", "third", "other"])
def test_what_was_before_a_promotion_is_in_force_after_it_is_taken_back(store: Store, written: str) -> None:
    """Whatever baseline the file has since: first, second, third; both are taken back; the next one."""

    def standing() -> StandingCanary:
        text = CONFIG.replace("model: first", f"model: {written}")
        known = Standings(store).all()
        return parse(text, "canary.yaml", {}, lambda url, data: known).control.standing["support"]

    def models(of: StandingCanary) -> tuple[object, ...]:
        return of.baseline["model"], of.terms.canary.baseline.model, of.former["model"]

    assert models(standing()) == (written, written, written), "nothing was promoted: the file's counts"
    rollouts, seen = Rollouts(store, lambda states: None), []
    for number, model in enumerate(("second", "third")):
        before = FIRST if number == 0 else dict(standing().baseline)
        arm = {"provider": "openai", "model": model}
        new = BegunTrial(baseline=before, candidate=arm, at=1.0, who="ann")
        Standings(store).begin("support", f"support-{model}", new, reason="", alone=True)
        rollouts.reconcile(settings(now(store)), 1.5)
        order(rollouts, f"support-{model}", "promote")
        seen.append(models(standing()))
    for trial in ("support-third", "support-second"):
        Standings(store).revert("support", trial, Act(at=5.0, action="rollback", who="cy", reason="worse"))
        seen.append(models(standing()))
    assert seen == [
        ("second", "second", "first"),
        ("third", "third", "second"),
        ("second", "second", "first"),
        ("first", "first", "first"),
    ]


def test_the_end_of_a_promoted_trial_has_the_date_of_its_promotion(store: Store) -> None:
    """Its state stays until the next promotion, weeks later."""
    rollouts, trials = Rollouts(store, lambda states: None), list[str]()
    for model, at in (("second", 1.5), ("third", 3.5)):
        trials.append(begin(store, model))
        rollouts.reconcile(settings(now(store)), at)
        order(rollouts, trials[-1], "promote")
    rollouts.reconcile(settings(now(store)), 9.0)
    (end,) = [each.act for each in store.audit() if each.act.action == "end"]
    assert (end.at, end.who, end.reason) == (2.0, "config", "its promotion ended the trial")
    assert rollouts.states[trials[0]].state.changed_at == 2.0


def test_a_config_that_is_older_than_the_store_ends_no_trial(store: Store) -> None:
    trial = begin(store, "second")
    rollouts = Rollouts(store, lambda states: None)
    rollouts.reconcile(settings(now(store)), 1.5)
    rollouts.reconcile(settings(None), 1.6)
    assert rollouts.states[trial].state.state == "running"
    order(rollouts, trial, "promote")
    begin(store, "third")
    rollouts.reconcile(settings(now(store)), 2.5)
    assert rollouts.states[trial].state.state == "promoted"  # its candidate is the baseline
    without = CONFIG.replace("    standing: true\n", "").replace(
        "{provider: openai}", "{provider: openai, model: x}"
    )
    rollouts.reconcile(parse(without, "canary.yaml", {}).control, 3.0)
    assert rollouts.states[trial].state.state == "ended"


def test_a_promoted_trial_that_left_keeps_no_lane_from_the_next_ones(store: Store) -> None:
    def in_lanes() -> ControlSettings:
        text, known = CONFIG.replace("    share", "    lane: 50%\n    share"), {"support": now(store)}
        return parse(text, "canary.yaml", {}, lambda url, data: known).control

    trial = begin(store, "second")
    rollouts = Rollouts(store, lambda states: None)
    rollouts.reconcile(in_lanes(), 1.5)
    order(rollouts, trial, "promote")
    for model in ("third", "fourth"):
        arm = {"provider": "openai", "model": model}
        new = BegunTrial(baseline=FIRST, candidate=arm, at=3.0, who="ann")
        Standings(store).begin("support", f"support-{model}", new, reason="", alone=False)
        assert rollouts.reconcile(in_lanes(), 3.5) == []
    lanes = [rollouts.states[f"support-{model}"].state.lane for model in ("third", "fourth")]
    assert [lane is not None and lane.part for lane in lanes] == [0.5, 0.5]
    assert rollouts.states[trial].state.state == "promoted"


def test_a_trial_that_left_does_not_come_back_by_an_old_config(store: Store) -> None:
    trial = begin(store, "second")
    old = settings(now(store))
    Standings(store).end(trial, Act(at=2.0, action="end", who="ann", reason=""))
    rollouts = Rollouts(store, lambda states: None)
    rollouts.reconcile(old, 2.5)
    assert trial not in rollouts.states


def test_a_trial_that_was_ended_behind_our_back_is_ended_once(store: Store) -> None:
    trial = begin(store, "second")
    rollouts = Rollouts(store, lambda states: None)
    by_hand = CONFIG.replace("    share", "    start: manual\n    share")
    known = {"support": now(store)}
    rollouts.reconcile(parse(by_hand, "canary.yaml", {}, lambda url, data: known).control, 1.5)
    Standings(store).end(trial, Act(at=2.0, action="end", who="ann", reason=""))
    rollouts.reconcile(settings(now(store)), 2.5)
    assert [each.act.who for each in store.audit(10, trial)] == ["ann", "config", "ann"]


def test_one_is_tried_at_a_time_and_the_next_begins_where_the_last_is_over(store: Store) -> None:
    trial = begin(store, "second")
    with pytest.raises(CannotStand, match="support-second has just begun"):
        begin(store, "third")
    rollouts = Rollouts(store, lambda states: None)
    rollouts.reconcile(settings(now(store)), 1.5)
    with pytest.raises(CannotStand, match="support-second is running"):
        begin(store, "third")
    with pytest.raises(CannotStand, match="support-second has run"):
        Standings(store).end(trial, Act(at=2.0, action="end", who="ann", reason=""))
    order(rollouts, trial, "rollback")
    begin(store, "third")
    rollouts.reconcile(settings(now(store)), 2.5)
    assert store.audit(1, trial)[0].act.reason == "the next trial began"
    assert list(now(store).open) == ["support-third"]
    with pytest.raises(CannotStand, match="a canary named support-second existed before"):
        begin(store, "second")


def test_reverting_withdraws_the_newest_baseline_and_ends_what_is_tried(store: Store) -> None:
    act = Act(at=5.0, action="rollback", who="cy", reason="worse")
    with pytest.raises(CannotStand, match="nothing is before it"):
        Standings(store).revert("support", None, act)
    trial = begin(store, "second")
    rollouts = Rollouts(store, lambda states: None)
    rollouts.reconcile(settings(now(store)), 1.5)
    order(rollouts, trial, "promote")
    third = begin(store, "third")
    rollouts.reconcile(settings(now(store)), 4.0)
    with pytest.raises(CannotStand, match="somebody else changed the baseline of support"):
        Standings(store).revert("support", "support-before", act)
    assert Standings(store).revert("support", trial, act) == [third]
    assert (now(store).baseline, dict(now(store).open)) == (None, {})
    newest = store.audit(1)[0]
    assert (newest.canary, newest.act, newest.after.state) == (trial, act, "rolled_back")
    rollouts.reconcile(settings(now(store)), 6.0)
    ended = past_canaries(store, {name: rollouts.states[name].state for name in (trial, third)})
    reports = parse(CONFIG, "canary.yaml", {}).control.reports
    report = report_of(reports, trial, store, now=7.0, run=1)
    assert RunRolledBack(who="cy", why="worse") in report.reasons
    (shipped,) = [each for each in all_releases(store) if each.release.candidate == "openai/second"]
    assert ending(shipped) == "shipped, and taken back by cy"
    assert [(past.ending, past.by and past.by.reason) for past in ended] == [
        ("rolled_back", "worse"),
        ("ended", "its baseline, openai/second, is taken back: worse"),
    ]


def test_a_trial_with_another_baseline_goes_on_after_a_revert(store: Store) -> None:
    beside = begin(store, "beside", alone=False)
    second = begin(store, "second", alone=False)
    rollouts = Rollouts(store, lambda states: None)
    rollouts.reconcile(settings(now(store)), 1.5)
    order(rollouts, second, "promote")
    third, fresh = begin(store, "third", alone=False), begin(store, "fresh", alone=False)
    rollouts.reconcile(settings(now(store)), 4.0)
    order(rollouts, third, "rollback")
    act = Act(at=5.0, action="rollback", who="cy", reason="worse")
    assert Standings(store).revert("support", second, act) == [fresh]
    assert list(now(store).open) == [beside]
    assert rollouts.states[beside].state.state == "running"


def test_a_release_is_taken_back_whose_trial_had_left_before(store: Store) -> None:
    """The third is reverted, then the second, whose trial the third's promotion had ended."""
    rollouts, trials = Rollouts(store, lambda states: None), list[str]()
    for model, at in (("second", 1.5), ("third", 3.5)):
        trials.append(begin(store, model))
        rollouts.reconcile(settings(now(store)), at)
        order(rollouts, trials[-1], "promote")
    rollouts.reconcile(settings(now(store)), 4.0)
    reports = parse(CONFIG, "canary.yaml", {}).control.reports
    for trial, at in ((trials[1], 5.0), (trials[0], 6.0)):
        act = Act(at=at, action="rollback", who="cy", reason=f"worse at {at:g}")
        Standings(store).revert("support", trial, act)
        rollouts.reconcile(settings(now(store)), at)
        Archivist(store, lambda: reports, sentences).turn(at + SETTLE_S + 1)
    (last, _) = store.audit(2, trials[0])
    assert (last.before, last.after.state) == (last.after, "ended")
    taken_back = now(store).taken_back
    assert taken_back is not None and taken_back.canary == trials[0]

    (listed,) = [each for each in all_releases(store) if each.release.candidate == "openai/second"]
    shown = release_of(reports, store, "second", now=9.0)
    for found in (listed, shown):
        assert (found.state, found.verdict) == ("rolled_back", "dont_ship")
        assert ending(found) == "shipped, and taken back by cy"
        assert headline(found).startswith("Don’t ship: openai/second")
        assert decided(found) == [f"1970-01-01: Canary {trials[0]} was rolled back by cy: worse at 6."]
    assert figures_of(listed).verdict == "dont_ship"
    assert [each.shipped for each in trends(map(from_document, Evaluations(store).all())).steps] == [
        False,
        False,
    ]
    (past,) = past_canaries(store, {trials[0]: rollouts.states[trials[0]].state})
    assert (past.ending, past.by) == ("rolled_back", act)
    report = report_of(reports, trials[0], store, now=9.0, run=1)
    assert RunRolledBack(who="cy", why="worse at 6") in report.reasons
    (reverted,) = [each for each in timeline_of(store, shown) if each.action == "rollback"]
    assert reverted.shares is None  # nobody had it through its trial
