"""The watch over the ground: new names are told once, and probes find another model within their budget."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import pytest

from alerts.incidents.notifier import Announcement
from bench.drift import (
    CONFIRM_EVERY_S,
    PROMPTS,
    REFERENCE,
    REFERENCE_EVERY_S,
    DriftAnswer,
    ProbeRound,
)
from canary.config import Config, parse
from canary.programs.controller import AftermathSentences
from control.jobs.drift import DriftJob, histories, unlike_before
from control.settings import ControlSettings
from control.states.rollouts import Rollouts
from demo.provider.behaviour import Behaviour
from pages.words.drift import history_document, history_lines
from pages.words.reasons import sentences
from records.outcome import Fault, Outcome
from records.store import Store
from records.store.drift import AnswersOfDay, DriftStore, ModelChange, ProbesSpent
from records.store.releases import Releases
from routing.states import Holdback, State
from tests.records.samples import a_batch
from tests.serving import ProviderThread
from tests.verdict.conftest import START, World, exchanges
from tests.verdict.shipping import Shipper
from verdict.decision.reports import report_of

DAY_S = 86400.0
MODEL = "openai/assistant-1"


CONFIG_TEXT = """\
providers: {{openai: {{api: openai, base_url: "{url}/v1", api_key: k}}}}
prices: {{assistant-1: {{input: 1, output: 2}}}}
probes: {{models: [assistant-1], daily_budget: {budget}}}
canaries:
  - name: support
    owner: anna@example.com
    match: {{models: [assistant-1]}}
    baseline: {{provider: openai, model: assistant-1}}
    candidate: {{provider: openai, model: assistant-2}}
    share: 5%
"""


def config(url: str, *, budget: float = 1.0) -> Config:
    return parse(CONFIG_TEXT.format(url=url, budget=budget), "canary.yaml", {})


@dataclass
class Watch:
    """The job over a store, and what it told."""

    store: Store
    config: Config
    told: list[Announcement] = field(default_factory=list)
    control: ControlSettings | None = None
    states: dict[str, State] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.job = DriftJob(
            self.store,
            settings=lambda: self.control or self.config.control,
            states=lambda: self.states,
            bench=lambda: self.config.bench,
            announce=self.told.append,
            works=lambda: True,
            environment={},
            words=AftermathSentences(),
        )

    def turn(self, *at: float) -> None:
        async def turns() -> None:
            for each in at:
                await self.job.turn(each)

        asyncio.run(turns())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as opened:
        yield opened


def answered(store: Store, at: float, served: str, fingerprint: str = "") -> None:
    outcome = Outcome(
        exchange_id=f"{at}", at=at, mono=at, outcome="ok", provider="openai", model="assistant-1",
        model_requested="support-bot", response_model=served, system_fingerprint=fingerprint,
    )  # fmt: skip
    store.ship(a_batch(outcome, cursors={"f": int(at)}))


def test_a_new_name_in_answers_is_told_once(store: Store) -> None:
    watch = Watch(store, config("http://127.0.0.1:1", budget=0.000001))
    answered(store, 100.0, "assistant-1-2026-10")
    watch.turn(160.0)
    answered(store, DAY_S, "assistant-1-2026-11")
    answered(store, DAY_S + 1, "assistant-1-2026-10")
    watch.turn(DAY_S + 60, DAY_S + 120)
    Watch(store, watch.config, watch.told).turn(DAY_S + 180)
    (news,) = watch.told
    assert (news.kind, news.owners) == ("model_changed", ("anna@example.com",))
    assert news.headline == (
        "openai/assistant-1 answers as assistant-1-2026-11 since 1970-01-02, before as "
        "assistant-1-2026-10; it is the baseline of support"
    )


def test_probes_follow_the_baseline_that_a_promotion_put_in_force(store: Store) -> None:
    text = CONFIG_TEXT.format(url="http://127.0.0.1:1", budget=0.000001)
    text = text.replace("model: assistant-2}", "model: assistant-2}\n    standing: true").replace(
        "candidate: {provider: openai, model: assistant-2}", "candidate: {provider: openai}"
    )
    parsed = parse(text, "canary.yaml", {})
    before = parsed.control.standing["support"]
    promoted = replace(before.terms.canary.baseline, model="assistant-2")
    terms = replace(before.terms, canary=replace(before.terms.canary, baseline=promoted))
    after = replace(parsed.control, standing={"support": replace(before, terms=terms)})
    for settings, probed in ((parsed.control, "assistant-1"), (after, "openai/assistant-2")):
        watch = Watch(store, parsed, control=settings)
        watch.turn(DAY_S)
        assert [each.split(": ")[1] for each in watch.job.troubles] == [probed]


@pytest.mark.parametrize(
    ("state", "probed"),
    [
        (State(state="running", share=0.05), ["assistant-1"]),
        (State(state="promoted", share=1.0), ["openai/assistant-2"]),
        (
            State(state="promoted", share=0.9, holdback=Holdback(since=0.0, until=9 * DAY_S, phase=1)),
            ["assistant-1", "openai/assistant-2"],
        ),
        (State(state="rolled_back"), ["assistant-1"]),
    ],
)
def test_probes_follow_what_users_of_a_plain_canary_get(
    store: Store, state: State, probed: list[str]
) -> None:
    watch = Watch(store, config("http://127.0.0.1:1", budget=0.000001), states={"support": state})
    watch.turn(DAY_S)
    assert [each.split(": ")[1] for each in watch.job.troubles] == probed


def answers(store: Store, at: float, served: str, count: int) -> None:
    """So many answers with this name, two seconds apart."""
    for place in range(count):
        answered(store, at + 2 * place, served)


def test_a_name_that_comes_back_is_told_within_three_minutes_each_time(store: Store) -> None:
    watch, now, waited = Watch(store, config("http://127.0.0.1:1", budget=0.000001)), DAY_S, []
    for served in ("old", "new", "old", "new", "old"):
        since, told = now, len(watch.told)
        for _ in range(9):
            answers(store, now, served, 8)
            now += 60.0
            watch.turn(now)
            waited += [now - since] * (len(watch.told) - told)
            told = len(watch.told)
    said = [each.headline.partition("; ")[0].partition(" answers as ")[2] for each in watch.told]
    assert said == [
        "new since 1970-01-02, before as old",
        "old again since 1970-01-02, before as new",
        "new again since 1970-01-02, before as old",
        "old again since 1970-01-02, before as new",
    ]
    assert max(waited) <= 180.0
    (history,) = histories(store)
    assert [(each.before, each.now) for each in history.changes] == [("old", "new"), ("new", "old")] * 2
    assert sorted(each.at for each in history.changes) == [each.at for each in history.changes]
    Watch(store, watch.config, watch.told).turn(now, now + 60.0, now + 120.0)
    assert len(watch.told) == 4


def test_two_names_at_once_are_no_return(store: Store) -> None:
    watch, now = Watch(store, config("http://127.0.0.1:1", budget=0.000001)), DAY_S
    answers(store, now, "old", 25)
    for _ in range(30):
        now += 60.0
        answers(store, now, "old", 6)
        answers(store, now + 1.0, "new", 6)
        watch.turn(now)
    assert [each.about["now"] for each in watch.told] == ["new"]


def test_a_name_that_is_gone_stays_in_the_history_with_its_last_day(store: Store) -> None:
    answered(store, 100.0, "old")
    answered(store, DAY_S + 100.0, "old")
    answered(store, 3 * DAY_S, "new")
    (history,) = histories(store)
    assert [line.strip() for line in history_lines(history) if "named" in line] == [
        "named old from 1970-01-01 to 1970-01-02",
        "named new since 1970-01-04",
    ]
    assert history_document(history)["names"][0]["last_day"] == "1970-01-02"


def test_the_fingerprints_of_systems_are_shown_and_told_to_nobody(store: Store) -> None:
    watch = Watch(store, config("http://127.0.0.1:1", budget=0.000001))
    for place in range(7):
        answered(store, 100.0 + place, "assistant-1", f"fp_{place}")
    numbered = [
        Outcome(
            exchange_id=f"n{place}", at=200.0, mono=1.0, outcome="ok", provider="openai", model="assistant-1",
            system_fingerprint=f"{place}",
        )
        for place in range(20)
    ]  # fmt: skip
    store.ship(a_batch(*numbered, cursors={"f": 999}))
    watch.turn(300.0)
    assert watch.told == []
    (history,) = histories(store)
    assert [name for name, _, _ in history.names] == [
        "assistant-1", *(f"fingerprint fp_{place}" for place in range(2, 7))
    ]  # fmt: skip


def reference(store: Store, text: str) -> None:
    """Store a reference in which every prompt was answered with this text."""
    drift, said = DriftStore(store), {name: DriftAnswer(text=text) for name in PROMPTS}
    for place in range(REFERENCE):
        at = place * REFERENCE_EVERY_S
        found = drift.begin_round(MODEL, at, reserve_usd=0.01, budget_usd=1.0)
        answers = msgspec.to_builtins(ProbeRound(at=at, answers=said))
        drift.end_round(found, answers, cost_usd=0.001)


def test_another_model_under_the_name_is_found_the_same_day_and_its_owner_told(
    provider: ProviderThread, store: Store
) -> None:
    watch = Watch(store, config(provider.url))
    provider.behave("assistant-1", Behaviour(says={"": "as ever"}))
    reference(store, "as ever")
    watch.turn(2 * DAY_S)
    assert watch.told == []
    provider.behave("assistant-1", Behaviour(says={"": "otherwise"}))
    watch.turn(4 * DAY_S)
    assert watch.told == []
    watch.turn(4 * DAY_S + CONFIRM_EVERY_S, 4 * DAY_S + REFERENCE_EVERY_S)
    (news,) = watch.told
    assert (news.kind, news.about["now"]) == ("model_drifted", f"{MODEL}@1970-01-05")
    assert news.owners == ("anna@example.com",)
    assert "30 of 30 probes differ" in news.headline
    (history,) = histories(store)
    assert history.probed is not None
    assert (history.probed.state, [each.kind for each in history.changes]) == ("pinning", ["model_drifted"])
    (release,) = Releases(store).all()
    assert (release.candidate, release.baseline) == (f"{MODEL}@1970-01-05", MODEL)
    assert max(DriftStore(store).spent(day * DAY_S) for day in range(6)) < 1.0


def test_a_model_that_gives_no_log_probabilities_is_asked_without(
    provider: ProviderThread, store: Store
) -> None:
    provider.behave("assistant-1", Behaviour(rejects=("logprobs",)))
    watch = Watch(store, config(provider.url))
    watch.turn(0.0, REFERENCE_EVERY_S)
    rounds = DriftStore(store).rounds(MODEL)
    assert [bool(each) for each in rounds] == [False, True, True]
    assert len(provider.log.entries) == 1 + 1 + 2 * len(PROMPTS) + 1
    assert provider.log.entries[-1].json["temperature"] == 0


def test_no_round_begins_that_the_days_budget_may_not_pay(provider: ProviderThread, store: Store) -> None:
    drift = DriftStore(store)
    watch = Watch(store, config(provider.url, budget=0.000001))
    watch.turn(0.0)
    assert (provider.log.entries, len(watch.job.troubles)) == ([], 1)
    first = drift.begin_round(MODEL, 10.0, reserve_usd=0.6, budget_usd=1.0)
    with pytest.raises(ProbesSpent):
        drift.begin_round(MODEL, 20.0, reserve_usd=0.6, budget_usd=1.0)
    drift.end_round(first, {}, cost_usd=0.1)
    drift.begin_round(MODEL, 30.0, reserve_usd=0.6, budget_usd=1.0)
    assert drift.spent(40.0) == pytest.approx(0.7)


def test_the_report_of_a_canary_that_runs_has_the_change_as_a_caveat(store: Store) -> None:
    settings = config("http://127.0.0.1:1").control
    Rollouts(store, lambda plan: None).reconcile(settings, START)
    Shipper(store).lines(exchanges(World(users=200, share=0.5, days=2.9)), canary="support")
    for at, model in ((START + 1.5 * DAY_S, MODEL), (START + 1.6 * DAY_S, "openai/other"), (0.0, MODEL)):
        change = ModelChange(model=model, kind="model_changed", before="one", now=f"another {at}", at=at)
        assert DriftStore(store).note_change(change)
    report = report_of(settings.reports, "support", store, now=START + 3 * DAY_S)
    (caveat,) = (each for each in sentences(report) if "Looks before day" in each)
    assert "The baseline's model, openai/assistant-1, answers as another" in caveat
    assert caveat.endswith("Looks before day 2 are of the one before, later ones of both.")


def of_day(day: int, **changed: float) -> AnswersOfDay:
    usual = {"finished": 1000, "refused": 10, "cut_off": 0, "answer_faults": 10, "tokens_n": 1000}
    return AnswersOfDay(day=day, category="refund", **{**usual, "tokens_sum": 5e5, **changed})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({}, ""),
        ({"refused": 16}, ""),
        ({"refused": 60}, "refused in category 'refund'"),
        ({"cut_off": 30}, "cut_off in category 'refund'"),
        ({"finished": 100, "refused": 50, "tokens_n": 100, "tokens_sum": 5e6}, ""),
        ({"tokens_sum": 7e5}, "tokens in category 'refund'"),
    ],
)
def test_users_answers_unlike_those_before_start_a_probe(changed: dict[str, float], why: str) -> None:
    before = [of_day(day) for day in range(14)]
    assert unlike_before([*before, of_day(14, **changed)], 14) == why


def met(at: float, *faults: Fault) -> Outcome:
    """What a user of the canary met at this UTC second."""
    return Outcome(
        exchange_id=f"{at}", at=at, mono=at, outcome="ok", provider="openai", model="assistant-1",
        canary="support", run=1, arm="baseline", reason="cohort", unit="u", finish="stop", faults=faults,
    )  # fmt: skip


def test_a_model_whose_users_meet_other_answers_is_probed_within_the_hour(
    provider: ProviderThread, store: Store
) -> None:
    provider.behave("assistant-1", Behaviour(says={"": "as ever"}))
    watch = Watch(store, config(provider.url))
    reference(store, "as ever")
    watch.turn(2 * DAY_S)
    assert len(DriftStore(store).rounds(MODEL)) == REFERENCE + 1
    store.ship(a_batch(*(met(1.5 * DAY_S + place) for place in range(300)), cursors={"f": 1}))
    refusals = (met(2.1 * DAY_S + place, "refused") for place in range(300))
    store.ship(a_batch(*refusals, cursors={"f": 2}))
    watch.turn(2 * DAY_S + 7200, 2 * DAY_S + 14400)
    assert len(DriftStore(store).rounds(MODEL)) == REFERENCE + 2
