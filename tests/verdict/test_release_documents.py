"""A release's documents: known numbers for each reader, and in the vendor's no user, cost or text."""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from canary.cli import app
from canary.config import parse
from control.states.rollouts import Rollouts
from pages.reports.release_documents import rendered
from records.captures.capture import Capture, CapturedMessage, CaptureInfo
from records.facts.exchange_id import mint
from records.outcome import AttemptRecord, Feedback, Outcome, ProviderError
from records.store import Act, Store
from records.store.benchmarks import Benchmarks
from records.store.captures import CaptureStore
from records.store.releases import ReleaseNote, Releases, SentPage
from records.store.reports import LookScope, StoredLook, VerdictLooks
from routing import transitions
from tests.effort import examples
from tests.records.samples import a_batch
from verdict.archive.release_facts import Reader, ReleaseFacts, facts_of
from verdict.archive.releases import release_of
from verdict.details import savings

TEXT = """\
providers: {openai: {api: openai, base_url: "http://127.0.0.1:1/v1"}}
canaries:
  - name: trial
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: old}
    candidate:
      provider: openai
      model: new
      request: {rename: {max_tokens: max_completion_tokens}, set: {user: "u-4711 Anna"}}
    share: 5%
    rubric: [{metric: error_rate, acceptable: "< 3%", ideal: "< 1%", weight: 1, question: "Any?"}]
"""
CONFIG = parse(TEXT, "canary.yaml", {})
START = 1_800_000_000.0
FORMS = ("text", "markdown", "html", "json")
UNIT = "ab" * 16
SEED = ProviderError(code="unsupported", param="seed", message="Unsupported parameter: 'seed' in call 17")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as opened:
        Rollouts(opened, lambda plan: None).reconcile(CONFIG.control, START)
        yield opened


def an_exchange(serial: int, **changed: Any) -> Outcome:
    at = START + 60.0 * serial
    arm = changed.get("arm", "candidate")
    signed = {"canary": "trial", "run": 1, "phase": 0, "arm": arm, "unit_hash": changed.get("unit", UNIT)}
    name = mint(b"k" * 32, **signed, at=at, serial=serial.to_bytes(8))
    fields = {"canary": "trial", "run": 1, "arm": arm, "reason": "cohort", "unit": UNIT, "share": 0.5}
    fields |= {"outcome": "ok", "provider": "openai", "model": "new", "status": 200, "category": "refund"}
    fields |= {"cost_usd": 0.0123, "api": "openai", "operation": "chat", "latency_s": 1.0}
    fields |= {"provider_request_id": f"req_{serial:04}"}
    return Outcome(**{"exchange_id": name, "at": at, "mono": 0.0, **fields, **changed})


def a_failure(serial: int, said: ProviderError, **changed: Any) -> Outcome:
    """The candidate refuses, and the baseline answers."""
    attempts = (
        AttemptRecord(arm="candidate", provider="openai", model="new", status=400, cost_usd=0.0071),
        AttemptRecord(arm="baseline", provider="openai", model="old", status=200, cost_usd=0.0072),
    )
    told = {"outcome": "fallback", "error_type": "candidate_rejects", "provider_error": said, "model": "old"}
    return an_exchange(serial, **told, attempts=attempts, **changed)


def facts(
    store: Store, reader: Reader = "vendor", *, now: float = START + 86400.0, **more: Any
) -> ReleaseFacts:
    found = release_of(CONFIG.control.reports, store, "new", now=now)
    return facts_of(CONFIG.control.reports, store, found, reader, now=now, **more)


def captured(outcome: Outcome, asked: str, answer: str) -> Capture:
    about = CaptureInfo(
        exchange_id=outcome.exchange_id,
        at=outcome.at,
        expires_at=START + 90 * 86400.0,
        canary="trial",
        run=1,
        phase=0,
        arm="candidate",
        kept="rate",
        served_by=outcome.served_by,
        unit=UNIT,
    )
    return Capture(about=about, messages=(CapturedMessage("user", asked),), answer=answer)


def test_the_vendor_reads_what_failed_how_often_and_under_which_id(store: Store) -> None:
    again = ProviderError(code="unsupported", param="seed", message="Unsupported parameter: 'seed' in call 9")
    store.ship(
        a_batch(
            *(an_exchange(serial) for serial in range(15)),
            a_failure(15, again),
            a_failure(16, SEED),
            an_exchange(17, faults=("empty",), finish="stop"),
            an_exchange(18, arm="baseline", outcome="error", error_type="provider_5xx"),
            an_exchange(19, outcome="fallback", error_type="breaker_open"),
            an_exchange(20, outcome="fallback", error_type="provider_throttled", status=429),
        )
    )
    found = facts(store).failures
    assert (found.asked, found.failed) == (19, 4)
    refused, throttled, empty = found.kinds
    assert (refused.what, refused.model, refused.status) == ("candidate_rejects", "openai/new", 400)
    assert (refused.count, refused.said) == (2, SEED)
    assert (refused.first_at, refused.last_at) == (START + 900, START + 960)
    assert [each.request_id for each in refused.newest] == ["req_0016", "req_0015"]
    assert (throttled.what, throttled.status, empty.what) == ("provider_throttled", 429, "empty")
    told = json.loads(rendered(facts(store), "vendor", "json"))
    assert told["says"][0] == "4 of 19 (21.1 %) requests to the candidate failed or had a fault."
    what, first, *_, adapted = told["sections"]
    assert what["tables"][0][0] == {
        "what": "1. the candidate rejects a request that the current model accepts",
        "model": "openai/new",
        "status": "400",
        "the provider's words": "Unsupported parameter: 'seed' in call 17 (code unsupported, param seed)",
        "how often": "2 of 19 (10.5 %)",
        "first": "2027-01-15 08:15:00 UTC",
        "last": "2027-01-15 08:16:00 UTC",
    }
    assert first["tables"][0][0] == {
        "the provider's request id": "req_0016",
        "when": "2027-01-15 08:16:00 UTC",
    }
    assert first["says"] == ["2027-01-15: 2"]
    assert adapted["says"] == ["trial renames max_tokens to max_completion_tokens and sets user."]


def test_the_vendor_reads_what_failed_after_the_promotion(store: Store) -> None:
    act = Act(at=START + 600.0, action="promote", who="ann", reason="good")
    promoted = partial(transitions.promote, reason="good", now=act.at)
    Rollouts(store, lambda plan: None).change("trial", act, promoted)
    store.ship(a_batch(an_exchange(1)))
    week_s = 7 * 86400.0
    store.ship(a_batch(a_failure(2 + int(week_s / 60), SEED)))
    found = facts(store, now=START + 2 * week_s).failures
    assert (found.asked, found.failed) == (2, 1)


def test_the_vendor_reads_how_many_requests_an_outage_kept_from_the_provider(store: Store) -> None:
    """An outage of 40 minutes: ten 503s open the breaker, and the current model answers all that follow."""
    down = {"outcome": "fallback", "status": 503}
    store.ship(
        a_batch(
            *(an_exchange(serial) for serial in range(30)),
            *(an_exchange(serial, error_type="provider_5xx", **down) for serial in range(30, 40)),
            *(an_exchange(serial, error_type="breaker_open", **down) for serial in range(40, 70)),
        )
    )
    found = facts(store).failures
    assert (found.asked, found.failed, found.spared) == (40, 10, 30)
    failed, spared = json.loads(rendered(facts(store), "vendor", "json"))["says"][:2]
    assert failed == "10 of 40 (25.0 %) requests to the candidate failed or had a fault."
    assert spared.startswith(
        "30 more requests never reached it, from 2027-01-15 08:40:00 UTC to 2027-01-15 09:09:00 UTC"
    )
    assert spared in rendered(facts(store), "team", "json")


WORDS = (
    st.text("abcdefghijklmnop ", min_size=16, max_size=60).map(str.strip).filter(lambda each: len(each) > 15)
)


@settings(
    max_examples=examples(24), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(asked=WORDS, answer=WORDS, around=st.text("xyz", max_size=9), cut=st.integers(0, 20))
def test_the_vendors_document_has_no_user_no_cost_and_no_captured_text(
    tmp_path_factory: pytest.TempPathFactory, asked: str, answer: str, around: str, cut: int
) -> None:
    """The provider's words may quote the request or its own answer, whole or in part."""
    with closing(Store.open("sqlite:///canary.db", tmp_path_factory.mktemp("store"))) as store:
        Rollouts(store, lambda plan: None).reconcile(CONFIG.control, START)
        quotes = [asked[min(cut, len(asked) - 16) :], f"{around}{answer}{around}"]
        failed = [
            a_failure(serial, ProviderError(code=f"c{serial}", message=each))
            for serial, each in enumerate(quotes)
        ]
        store.ship(a_batch(*failed, an_exchange(9)))
        CaptureStore(store).add([captured(each, asked, answer) for each in failed], now=START)
        found = facts(store)
        for form in FORMS:
            told = rendered(found, "vendor", form)
            for secret in (asked, answer, quotes[0], UNIT, "u-4711", "Anna", "0.0123", "0.0071", "$"):
                assert secret not in told, secret
            for outcome in failed:
                assert outcome.exchange_id not in told
        assert "req_0000" in rendered(found, "vendor", "html")


def test_texts_are_there_when_asked_for_and_no_other_model_s_answer(store: Store) -> None:
    refused = a_failure(1, SEED, served_by="baseline")
    cut = an_exchange(2, faults=("cut_off",), finish="length", served_by="candidate")
    store.ship(a_batch(refused, cut))
    captures = [
        captured(refused, "where is my order?", "on its way"),
        captured(cut, "and when?", "tomorrow at"),
    ]
    CaptureStore(store).add(captures, now=START)
    assert "where is my order" not in rendered(facts(store), "vendor", "json")
    told = json.loads(rendered(facts(store, texts=True), "vendor", "json"))
    texts = [each["text, redacted"] for section in told["sections"][1:3] for each in section["tables"][1]]
    assert sorted(texts) == ["and when?", "tomorrow at", "where is my order?"]


def test_a_release_that_nobody_tried_has_a_document_in_every_form(store: Store) -> None:
    for form in FORMS:
        assert "No request of a user was sent to the candidate" in rendered(facts(store), "vendor", form)


def test_the_team_reads_what_happened_when_by_whom_why_and_for_how_long(store: Store) -> None:
    rollouts = Rollouts(store, lambda plan: None)
    rollouts.reconcile(CONFIG.control, START)
    (release,) = Releases(store).all()
    document = {"owner": "ann", "verdict": "ship", "layers": [], "reasons": []}
    Benchmarks(store).add(document, baseline="openai/old", candidate="openai/new", at=START - 600)
    ramp = Act(at=START + 100, action="ramp", who="ann", reason="looks good")
    rollouts.change("trial", ramp, lambda state: transitions.set_share(state, (), 0.1, now=START + 100))
    scope = LookScope(canary="trial", run=1, rubric_sha256="x")
    seen = StoredLook(metric="csat", day=7, at=START + 200, document={"units": 9, "seen": None})
    VerdictLooks(store).keep(
        scope,
        [
            seen,
            replace(
                seen, metric="error_rate", document={"units": 9, "seen": {"acceptable": {"estimate": 0.028}}}
            ),
        ],
    )
    page = SentPage(key="k/1", at=START + 300, canary="trial", event="page", title="Refund answers fail")
    Releases(store).paged([page])
    Releases(store).paged([page])
    at_once = Act(at=START + 350, action="promote", who="bob", reason="the old one retires", against="extend")
    rollouts.change("trial", at_once, lambda state: transitions.promote(state, reason="", now=START + 350))
    back = Act(at=START + 400, action="rollback", who="ann", reason="refunds", minutes=5.0)
    rollouts.change(
        "trial", back, lambda state: transitions.rollback(state, reason="refunds", now=START + 400)
    )
    rollouts.settle()
    for minutes, stage in ((20.0, "labelling"), (10.0, "labelling"), (2.0, "")):
        note = ReleaseNote(
            at=START + 500, release=release.id, who="bob", text="40", minutes=minutes, stage=stage
        )
        Releases(store).note(note)
    told = json.loads(rendered(facts(store, "team"), "team", "json"))
    rows = [" | ".join(each.values()) for each in told["sections"][0]["tables"][0]]
    assert [row.removeprefix("2027-01-15 ") for row in rows] == [
        "07:50:00 UTC | benchmark: ship | ann | – | –",
        "08:00:00 UTC | trial, run 1: first seen, 0 % → 5 % of the users | config | "
        "running at share 0.05 | –",
        "08:01:40 UTC | trial, run 1: ramp, 5 % → 10 % of the users | ann | looks good | –",
        "08:03:20 UTC | trial, run 1: look of day 7, room to the bounds: error rate; too few users for "
        "satisfaction | – | – | –",
        "08:05:00 UTC | trial, run 1: people were told: page | – | Refund answers fail | –",
        "08:05:50 UTC | trial, run 1: promote, 10 % → 100 % of the users, against the verdict extend | bob "
        "| the old one retires | –",
        "08:06:40 UTC | trial, run 1: rollback, 100 % → 0 % of the users | ann | refunds | 5 decision",
        "08:08:20 UTC | a note | bob | 40 | 20 labelling",
        "08:08:20 UTC | a note | bob | 40 | 10 labelling",
        "08:08:20 UTC | a note | bob | 40 | 2 other",
    ]
    assert told["sections"][1]["tables"] == [
        [
            {"stage": "labelling", "minutes": "30"},
            {"stage": "decision", "minutes": "5"},
            {"stage": "other", "minutes": "2"},
        ]
    ]


def test_a_person_says_on_which_stage_the_minutes_went_and_gets_a_file(tmp_path: Path) -> None:
    config, folder = tmp_path / "canary.yaml", tmp_path / "data"
    config.write_text(TEXT)
    folder.mkdir()
    with closing(Store.open("sqlite:///canary.db", folder)) as store:
        Rollouts(store, lambda plan: None).reconcile(CONFIG.control, START)
    where = ["--config", str(config), "--data", str(folder)]

    def run(*words: str) -> Any:
        return CliRunner().invoke(app, ["release", *words, *where])

    assert run("note", "new", "read 40", "--minutes", "20", "--stage", "Labelling").exit_code == 0
    assert run("note", "new", "read 40", "--stage", "labelling").exit_code == 2
    assert run("show", "new", "--texts").exit_code == 2
    assert run("show", "new", "--for", "team", "-o", "team.pdf").exit_code == 2
    for form in ("html", "md", "json"):
        file = tmp_path / f"team.{form}"
        assert run("show", "new", "--for", "team", "-o", str(file)).exit_code == 0
        assert "20 labelling" in file.read_text()
    assert "20 labelling" in run("show", "new").stdout


COUNTED = parse(
    TEXT
    + """\
metrics:
  resolved: {kind: bool, per: exchange, question: "Is the case settled?"}
  cost_per_resolution: {cost_per: resolved, question: "What does a settled case cost?"}
""",
    "canary.yaml",
    {},
)


def test_finance_reads_costs_with_intervals_month_and_year_net_and_what_is_assumed(store: Store) -> None:
    """200 users of each arm make two requests in two days, at 4 and at 2 cents; every other one settles a
    case."""
    rows = list[Outcome | Feedback]()
    for serial in range(800):
        user, arm = serial % 400, ("baseline", "candidate")[serial % 2]
        cost = {"baseline": 0.04, "candidate": 0.02}[arm] * (0.9, 1.1)[serial // 2 % 2]
        who = {"arm": arm, "unit": f"{user:032x}", "cost_usd": cost, "model": "new" if serial % 2 else "old"}
        made = an_exchange(serial * 4, **who)
        rows.append(made)
        known = {
            "exchange_id": made.exchange_id,
            "at": made.at,
            "mono": 0.0,
            "canary": "trial",
            "run": 1,
            "unit": made.unit,
        }
        value = float(serial // 2 % 2)
        rows.append(
            Feedback(key=f"{made.exchange_id}/resolved", metric="resolved", value=value, arm=arm, **known)
        )
    store.ship(a_batch(*rows))
    now = START + 3 * 86400.0
    found = release_of(COUNTED.control.reports, store, "new", now=now)
    known_facts = facts_of(COUNTED.control.reports, store, found, "finance", now=now)
    told = json.loads(rendered(known_facts, "finance", "json"))
    costs, money, assumed, *_ = told["sections"]
    values = [[*each.values()] for each in costs["tables"][0]]
    assert [[row[0], row[1], row[2], row[4].partition(" (")[0], row[5]] for row in values] == [
        ["Cost per request", "$0.0400", "$0.0200", "50 % lower", "200"],
        ["Cost per user", "$0.0800", "$0.0400", "50 % lower", "200"],
        ["Cost per resolution (cost per resolved)", "$0.0800", "$0.0400", "50 % lower", "200"],
    ]
    for row in values:
        assert re.fullmatch(r"50 % lower \(−\$0\.0\d+ to −\$0\.0\d+\)", row[4])
        low, _, high = row[3].partition(" – ")
        assert float(low[1:]) < float(row[2][1:]) < float(high[1:])
    saving = savings(known_facts.costs[-1].report.details)
    assert saving is not None
    # 400 users at 8 cents in 2.2 days, of which half would be saved
    assert saving.monthly.estimate == pytest.approx(400 * 0.04 * 30 / (3196 * 60 / 86400), rel=0.01)
    assert money["facts"]["Difference"] == "$216 less a month ($209 to $223 less)"
    assert money["facts"]["First year"] == "$2,631 less ($2,548 to $2,712 less)"
    assert "on 200 users of the current model and 200 users of the candidate." in assumed["says"][0]
    for form in FORMS:
        text = rendered(known_facts, "finance", form)
        for secret in ("req_0004", UNIT, "the provider's request id"):
            assert secret not in text
    assert facts(store).costs == (), "the vendor gets none"
