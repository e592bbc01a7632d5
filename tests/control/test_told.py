"""What people are told: outcomes and feedback go in at the monitor, messages and pages come out."""

import asyncio
import io
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import pytest
from rich.console import Console

from alerts.incidents.incident import RESOLVE_AFTER_S
from alerts.incidents.notice import (
    Notice,
    alertmanager_payload,
    apprise_payload,
    describe,
    pagerduty_payload,
    slack_payload,
    webhook_payload,
)
from alerts.rules.rule import RuleName
from alerts.wording import TITLE, clock
from canary.commands.mcp_server import brief_status
from canary.config import parse
from control.feed.events import WorkerEvents
from control.operator.status import document_of
from pages.status.terminal import picture
from records.outcome import (
    AttemptRecord,
    Feedback,
    Heartbeat,
    InFlight,
    Outcome,
    ProviderError,
    ToolCall,
    Usage,
)
from records.store import Store
from routing.canary import ArmName
from tests.control.desks import desk_over

NOW = 1_790_000_000.0
"""14:13:20 UTC on 21 September."""
SHARE = 0.2
CONFIG = """\
providers: {{openai: {{api: openai, base_url: "http://127.0.0.1:1/v1"}}}}
metrics:
  reopened: {{kind: bool, per: exchange, higher_is_better: false, question: "Was it reopened?"}}
  handling_min: {{kind: rating, scale: 0-60, higher_is_better: false, question: "How many minutes?"}}
  solved: {{kind: bool, per: user, question: "Was it solved?"}}
canaries:
  - name: trial
    match: {{models: [bot]}}
    baseline: {{provider: openai, model: m1}}
    candidate: {{provider: openai, model: m2}}
    share: 20%
    owner: anna@example.com
    on_candidate_failure: {failure}
    guardrails: [{rule}]
notify: [{{webhook: "http://127.0.0.1:1/"}}]
"""
REFUSED = ProviderError(message="tool schema mismatch.", code="invalid_schema")
COVERED: Mapping[str, Any] = {
    "outcome": "fallback",
    "served_by": "baseline",
    "error_type": "candidate_rejects",
    "provider_error": REFUSED,
}
FAILED: Mapping[str, Any] = {"outcome": "error", "error_type": "provider_5xx", "status": 500}
BROKEN: Mapping[str, Any] = {"outcome": "error", "error_type": "provider_truncated", "status": 200}


@dataclass(kw_only=True)
class User:
    """What one user does: an exchange for each of `exchanges`, `gap_s` apart in a session, and `says`."""

    exchanges: Sequence[Mapping[str, Any]] = ({},)
    says: Mapping[str, float] = field(default_factory=dict)
    gap_s: float = 1.0


GOOD = User()


def one(**changed: Any) -> User:
    return User(exchanges=(changed,))


def session(*exchanges: Mapping[str, Any], gap_s: float = 1.0) -> User:
    return User(exchanges=exchanges, gap_s=gap_s)


def said(**values: float) -> User:
    return User(says=values)


class Watched:
    """The canary, its monitor and a clock of its own. Four of five users get the baseline."""

    def __init__(self, store: Store, rule: str, *, failure: str = "baseline", more: str = "") -> None:
        text = CONFIG.format(rule=rule, failure=failure) + more
        self.settings = parse(text, "canary.yaml", {}).control
        self.operator = desk_over(store, self.settings).operator
        self.operator.rollouts.reconcile(self.settings, NOW)
        self.monitor = self.operator.monitor
        self.mono, self.sent, self.bad = 1000.0, 0, 0
        """Since when the candidate fails, so many of its users have come."""

    @property
    def notices(self) -> list[Notice]:
        return [entry.notice for entry in self.monitor.outbox.state.entries]

    def come(self, users: int, *, baseline: User, candidate: User, messages: int = 1) -> None:
        """So many of the candidate's users, each after four of the baseline's; fewer once there are so many
        messages."""
        for _ in range(users):
            if len(self.notices) < messages:
                arrivals: list[tuple[ArmName, User]] = [("baseline", baseline)] * 4
                for arm, user in [*arrivals, ("candidate", candidate)]:
                    self.comes(arm, user)
                self.bad += candidate is not baseline
                self.monitor.decide(NOW + self.mono, self.mono)

    def quiet(self, seconds: float) -> None:
        """Nobody comes for so long."""
        for _ in range(int(seconds // 10)):
            self.mono += 10.0
            self.monitor.decide(NOW + self.mono, self.mono)

    def comes(self, arm: ArmName, user: User) -> None:
        self.sent += 1
        session = f"s{self.sent}" if len(user.exchanges) > 1 else ""
        records: list[Any] = [
            self._outcome(arm, self.mono + number * user.gap_s, session, changed)
            for number, changed in enumerate(user.exchanges)
        ]
        records += [self._feedback(records[0], metric, value) for metric, value in user.says.items()]
        self.mono += len(user.exchanges) * user.gap_s
        self.monitor.take(WorkerEvents(records=records, heard=len(user.exchanges)))

    def _outcome(self, arm: ArmName, at: float, session: str, changed: Mapping[str, Any]) -> Outcome:
        usual: dict[str, Any] = {
            "outcome": "ok",
            "status": 200,
            "latency_s": 0.4,
            "cost_usd": 0.01,
            "finish": "stop",
            "output_check": "judged",
            "usage": Usage(input_tokens=1000, cached_input_tokens=800, output_tokens=100),
            "category": "refund",
        }
        values = usual | dict(changed)
        began = at - values["latency_s"]
        return Outcome(
            exchange_id=f"x{self.sent}-{at:g}", at=NOW + began, mono=began, canary="trial", run=1, phase=1,
            share=SHARE, arm=arm, reason="cohort", unit=f"u{self.sent}", operation="chat", session=session,
            tags={"plan": "pro"}, **values,
        )  # fmt: skip

    def _feedback(self, about: Outcome, metric: str, value: float) -> Feedback:
        return Feedback(
            key=f"{about.exchange_id}/{metric}", metric=metric, value=value, at=about.at, mono=about.mono,
            exchange_id=about.exchange_id, canary="trial", run=1, phase=1, arm=about.arm, unit=about.unit,
        )  # fmt: skip

    def surfaces(self) -> Mapping[str, str]:
        """What each surface shows at this moment; of messages only one that was sent now."""
        status = self.operator.status()
        (canary,) = status["canaries"]
        incident = self.monitor.canaries["trial"].incident
        assert incident is not None
        sent = bool(self.notices) and self.notices[-1].at == NOW + self.mono
        shown = {name: text for name, text in self.seen().items() if sent or name not in MESSAGES}
        body = "{requests} requests, {users} affected users".format(**webhook_payload(self.notices[-1]))
        return {
            **shown,
            "rules": str([each["sentence"] for each in canary["guardrails"]]),
            "incident": f"{incident.requests} requests, {incident.users} affected users",
            **({"webhook's body": body} if sent else {}),
            **({"place": canary["where_sentence"]} if canary["where"] else {}),
        }

    def seen(self) -> Mapping[str, str]:
        """What each receiver and each surface shows of the newest message."""
        notice, status = self.notices[-1], self.operator.status()
        told = Console(width=2000, record=True, file=io.StringIO())
        told.print(picture(status, NOW + self.mono, width=2000))
        return {
            "pagerduty": pagerduty_payload(notice, "k")["payload"]["summary"],
            "slack": slack_payload(notice)["text"],
            "webhook": webhook_payload(notice)["headline"],
            "alertmanager": alertmanager_payload(notice, notice.at)[0]["annotations"]["summary"],
            "apprise": apprise_payload(notice)["body"],
            "terminal": told.export_text(),
            "api": str(status["canaries"][0]["open_incident"]),
            "mcp": str(brief_status(status)["canaries"][0]["open_incident"]),
        }


MESSAGES = ("pagerduty", "slack", "webhook", "alertmanager", "apprise")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as opened:
        yield opened


CALLS: Mapping[str, Any] = {"tool_calls": (ToolCall("find", b"12345678"),)}
OTHERS: Sequence[Mapping[str, Any]] = [{"tool_calls": (ToolCall("find", bytes([n] * 8)),)} for n in range(9)]
LEFT: Mapping[str, Any] = {"outcome": "aborted", "error_type": "aborted", "latency_s": 2.0, "finish": None}
LONG_TEXT = {"usage": Usage(input_tokens=9000, output_tokens=900)}
COLD = {"usage": Usage(input_tokens=1000, cached_input_tokens=0, output_tokens=9)}
TWO = session({}, {})
SILENT: Mapping[str, Any] = {
    "outcome": "fallback",
    "served_by": "baseline",
    "error_type": "provider_timeout",
    "attempts": (AttemptRecord(arm="candidate", provider="openai", model="m2", latency_s=12.0),),
}
CASES: Mapping[str, tuple[User, User, str, str]] = {
    "error_rate": (
        GOOD,
        one(**COVERED),
        "Answers of m2 fail: 5 of 5 requests, 5 users",
        "Users got m1's answers instead.",
    ),
    "error_rate_vs_baseline": (
        GOOD,
        one(**FAILED),
        "Answers of m2 fail: 4 of 4 requests, 4 users",
        "Users got an error.",
    ),
    "latency_p95": (
        GOOD,
        one(latency_s=4.0),
        "Answers of m2 are slow: 8 of 8 requests took longer than 3 s, 8 users, p95 4 s",
        "Users waited that long.",
    ),
    "latency_vs_baseline": (
        GOOD,
        one(latency_s=1.2),
        "Answers of m2 are slow: 5 of 5 requests took longer than 1.5× the p95 of m1, 5 users",
        "Users waited that long.",
    ),
    "abandoned": (
        GOOD,
        one(**LEFT),
        "Users leave before m2 answers: 4 of 4 requests, 4 users",
        "They saw no answer.",
    ),
    "answer_faults": (
        GOOD,
        one(faults=("cut_off",)),
        "Answers of m2 are cut off: 4 of 4 requests, 4 users",
        "Users got these answers.",
    ),
    "refused": (
        GOOD,
        one(faults=("refused",)),
        "Answers of m2 are refusals: 4 of 4 requests, 4 users",
        "Users got these answers.",
    ),
    "cut_off": (
        GOOD,
        one(faults=("cut_off",)),
        "Answers of m2 are cut off: 4 of 4 requests, 4 users",
        "Users got these answers.",
    ),
    "empty": (
        GOOD,
        one(faults=("empty",)),
        "Answers of m2 are empty: 6 of 6 requests, 6 users",
        "Users got these answers.",
    ),
    "invalid_output": (
        GOOD,
        one(faults=("json_invalid",)),
        "Answers of m2 have tool calls or JSON that an app cannot use: 6 of 6 requests, 6 users",
        "Users got these answers.",
    ),
    "stalled": (
        GOOD,
        one(faults=("stalled",), stream=True, longest_gap_s=8.0),
        "Answers of m2 stall: silent for 8 s in mid-stream (6 of 6)",
        "Users saw answers stop for so long.",
    ),
    "cost_per_request": (
        GOOD,
        one(cost_usd=0.05),
        "Answers of m2 cost 2.0× those of m1, over 54 requests",
        "What grew: the price of 1,000 tokens $0.0185 against $0.00909. Users got its answers.",
    ),
    "session_cost": (
        TWO,
        session({"cost_usd": 0.1}, {"cost_usd": 0.1}),
        "Sessions of m2 cost 2.5× those of m1, over 48 sessions",
        "What grew: the price of 1,000 tokens $0.0227 against $0.00909. Users got its answers.",
    ),
    "session_exchanges": (
        TWO,
        session(*[{}] * 9),
        "Sessions of m2 take 2.2× the requests of m1, over 61 sessions",
        "What grew: requests per session 4.41 against 2.00. Users got its answers.",
    ),
    "session_tokens": (
        TWO,
        session(LONG_TEXT, LONG_TEXT),
        "Sessions of m2 take 2.5× the tokens of those of m1, over 49 sessions",
        "What grew: output tokens per request 247 against 100, input tokens per request 2,469 against 1,000."
        " Users got its answers.",
    ),
    "session_tool_calls": (
        session(CALLS, {}),
        session(*OTHERS),
        "Sessions of m2 make 2.5× the tool calls of those of m1, over 49 sessions",
        "What grew: requests per session 3.29 against 2.00, tool calls per session 2.47 against 1.00."
        " Users got its answers.",
    ),
    "session_length_s": (
        TWO,
        session({}, {}, gap_s=30.0),
        "Sessions of m2 last 2.9× as long as those of m1, over 44 sessions",
        "Why is not known: requests, tokens and their price have not grown, or are not known."
        " Users got its answers.",
    ),
    "stuck": (
        session(*OTHERS[:3]),
        session(CALLS, CALLS, CALLS),
        "Sessions of m2 make the same tool call three times in a row: 6 of 6 sessions, 6 users",
        "Users got its answers.",
    ),
    "session_faults": (
        TWO,
        session({"faults": ("cut_off",)}, {}),
        "Sessions of m2 have a faulty answer: 9 of 12 sessions, 9 users",
        "Users got these answers.",
    ),
    "session_abandoned": (
        TWO,
        session({}, FAILED),
        "Sessions of m2 end without an answer, or at an error: 9 of 12 sessions, 9 users",
        "Users left, or got an error.",
    ),
    "session_cache_hits": (
        TWO,
        session(COLD, COLD),
        "Sessions of m2 have 65.3 % of their input cached, over 49 users, at least 72.0 % wanted",
        "Users got its answers.",
    ),
    "csat": (
        said(csat=5.0),
        said(csat=2.0),
        "Users rate answers of m2 lower: csat 4.67 from 45 users, at least 4.75 wanted",
        "Users got its answers.",
    ),
    "thumbs": (
        said(thumbs=1.0),
        said(thumbs=0.0),
        "Users rate answers of m2 lower: thumbs 0.91 from 44 users, at least 0.95 wanted",
        "Users got its answers.",
    ),
    "helped": (
        said(helped=1.0),
        said(helped=0.0),
        "Users rate answers of m2 lower: helped 0.91 from 44 users, at least 0.95 wanted",
        "Users got its answers.",
    ),
    "nps": (
        said(nps=9.0),
        said(nps=2.0),
        "Users rate answers of m2 lower: nps 7.96 from 47 users, at least 8.55 wanted",
        "Users got its answers.",
    ),
    "escalated": (
        GOOD,
        said(escalated=1.0),
        "Users of m2 ask for a human more often: 4 users so far, and none of m1",
        "Users got its answers.",
    ),
    "repeat_question": (
        GOOD,
        said(repeat_question=1.0),
        "Users of m2 have to ask again more often: 4 users so far, and none of m1",
        "Users got its answers.",
    ),
    "reopened": (
        GOOD,
        said(reopened=1.0),
        "Users of m2 have reopened more often: 4 users so far, and none of m1",
        "Users got its answers.",
    ),
    "handling_min": (
        said(handling_min=5.0),
        said(handling_min=20.0),
        "Answers of m2 do worse: handling_min 8.89 from 54 users, at most 7.50 wanted",
        "Users got its answers.",
    ),
    "solved": (
        said(solved=1.0),
        GOOD,
        "Users of m2 have solved 0.8× as often as those of m1: 40 users against 204",
        "Users got its answers.",
    ),
}
OWN = ("reopened", "handling_min", "solved")
"""Metrics of the config; the others are rules by their own names."""


@pytest.mark.parametrize("rule", [*(each for each in get_args(RuleName) if each != "telemetry"), *OWN])
def test_every_rule_says_what_fails_how_often_since_when_and_what_users_saw(store: Store, rule: str) -> None:
    good, bad, what, saw = CASES[rule]
    watched = Watched(store, f"{{{'metric' if rule in OWN else 'rule'}: {rule}}}")
    watched.come(40, baseline=good, candidate=good)
    assert watched.notices == []
    began = clock(NOW + watched.mono, NOW)
    watched.come(200, baseline=good, candidate=bad)
    if not watched.notices:
        watched.quiet(2400)  # sessions are over then
    page = watched.notices[0]
    assert re.match(
        rf"{re.escape(what)}, since \d\d:\d\d UTC\. {re.escape(saw)} The candidate ", page.headline
    )
    assert "session" in rule + what or f"since {began}" in page.headline
    assert len(page.title) <= TITLE
    assert page.title.startswith(what.partition(", ")[0])
    assert saw.rpartition(". ")[2].replace(" instead", "") in page.title
    seen = watched.seen()
    assert what.partition(", ")[0] in seen.pop("pagerduty")
    assert {name for name, text in seen.items() if what not in text} == set()


PARTS: Mapping[str, tuple[str, User, str]] = {
    "a category": (
        "{rule: error_rate, category: refund}",
        one(**COVERED),
        "Refund answers of m2 fail: 5 of 5 requests, 5 users, since 14:35 UTC. Users got m1's answers",
    ),
    "a segment": (
        "{rule: latency_vs_baseline, segment: {plan: pro}}",
        one(latency_s=1.2),
        "Answers of m2 for plan pro are slow: 5 of 5 requests took longer than 1.5× the p95 of m1, 5 users",
    ),
    "streams that break off": (
        "{rule: error_rate}",
        one(**BROKEN),
        "Users saw answers break off.",
    ),
    "no answer": (
        "{rule: error_rate}",
        one(**SILENT),
        "m2 does not answer: no answer within 12 s, 5 of 5 requests, 5 users, since 14:35 UTC. Users got m1's"
        " answers instead, after 12 s.",
    ),
}


@pytest.mark.parametrize("case", PARTS)
def test_the_sentence_says_where_it_fails_and_in_which_way(store: Store, case: str) -> None:
    rule, bad, says = PARTS[case]
    watched = Watched(store, rule)
    watched.come(60, baseline=GOOD, candidate=GOOD)
    watched.come(60, baseline=GOOD, candidate=bad)
    assert says in watched.notices[0].headline


def test_requests_that_hang_are_told_of_before_they_end_and_their_figure_reads_over(store: Store) -> None:
    watched = Watched(store, "{rule: latency_p95}")
    watched.come(60, baseline=GOOD, candidate=GOOD)
    for number in range(60):
        watched.come(0 if watched.notices else 1, baseline=GOOD, candidate=GOOD)
        running = InFlight(
            exchange_id=f"hangs-{number}", at=NOW + watched.mono, mono=watched.mono, canary="trial", run=1,
            phase=1, share=SHARE, arm="candidate", reason="cohort", unit=f"hangs-{number}", operation="chat",
            stream=False,
        )  # fmt: skip
        watched.monitor.take(WorkerEvents(in_flight=[(("", 0, 7), running)]))
        watched.monitor.decide(NOW + watched.mono, watched.mono)
    page = watched.notices[0].headline
    assert page.startswith(
        "m2 is slow to answer: no answer within 5 s (6 of 12), since 14:35 UTC. Users waited"
    )
    (status,) = [each for each in watched.monitor.canaries["trial"].statuses if each.rule == "latency_p95"]
    assert re.match(r"candidate: p95 latency over 5\.\d\d s in ", status.sentence)


def test_what_users_saw_is_of_the_failures_that_are_counted_alone(store: Store) -> None:
    watched = Watched(store, "{rule: error_rate}")
    for _ in range(3):
        watched.come(40, baseline=GOOD, candidate=GOOD)
        watched.come(1, baseline=GOOD, candidate=one(**COVERED))
    watched.come(40, baseline=GOOD, candidate=GOOD)
    watched.come(60, baseline=GOOD, candidate=one(**FAILED))
    page = watched.notices[0]
    assert re.search(
        r" fail: (\d+) of \1 requests, \1 users, since .* UTC\. Users got an error\. The", page.headline
    )
    assert "The provider says" not in page.headline  # what it said was of an earlier failure


def test_faulty_answers_do_not_hide_what_users_saw_of_failures(store: Store) -> None:
    watched = Watched(store, "{rule: error_rate}")
    watched.come(40, baseline=GOOD, candidate=one(faults=("empty",)))
    failing = [one(**COVERED), *[one(faults=("empty",))] * 7]
    for number in range(400):
        watched.come(1, baseline=GOOD, candidate=failing[number % len(failing)])
    assert "Users got m1's answers instead." in watched.notices[0].headline


def test_from_page_to_resolved_each_message_has_the_figures_of_its_moment(store: Store) -> None:
    watched = Watched(store, "{rule: error_rate}")
    watched.come(40, baseline=GOOD, candidate=GOOD)
    watched.come(60, baseline=GOOD, candidate=one(**COVERED))
    failed = [watched.bad]
    watched.come(60, baseline=GOOD, candidate=one(**COVERED), messages=2)
    failed += [watched.bad]
    page, update = watched.notices
    assert [each.headline.split(", since")[0] for each in (page, update)] == [
        f"Answers of m2 fail: {bad} of {bad} requests, {bad} users" for bad in failed
    ]
    assert failed[0] < failed[1]
    for each in (update.headline, update.title):
        assert re.search(r"Rolled back at \d\d:\d\d UTC\.", each)
    assert update.headline.endswith('The provider says: "tool schema mismatch".')
    assert "tool schema" not in update.title
    assert (page.requests, update.requests, update.users) == (failed[0], failed[1], failed[1])
    (why,) = asyncio.run(watched.operator.rollbacks("trial", 9))
    assert why.why.on_call().startswith(f"{why.why.reason}, since ")
    assert why.why.reason == f"Answers of m2 fail: {failed[1]} of {failed[1]} requests, {failed[1]} users"
    closes = watched.operator.status()["canaries"][0]["open_incident"]["closes_at"]
    assert closes == pytest.approx(update.at + RESOLVE_AFTER_S)
    watched.quiet(RESOLVE_AFTER_S + 20.0)
    over = watched.notices[-1]
    assert (over.event, over.offers) == ("resolved", ())
    end = r"Over: m2 was rolled back at \d\d:\d\d UTC, and everybody gets m1\. It was: Answers of m2 fail: "
    assert re.match(end, over.headline)
    assert pagerduty_payload(over, "k")["event_action"] == "resolve"


NAMES = ("bad", "of", "users")
COUNTED = (
    r"Answers of m2 fail: (?P<bad>[\d,]+) of (?P<of>[\d,]+) requests?, (?P<users>[\d,]+) users?\b",
    r"candidate: (?P<bad>\d+) of (?P<of>\d+) outcomes failed\b",
    r"(?P<bad>\d+) of (?P<of>\d+) of the candidate's outcomes failed\b",
    r"\d+ of (?P<bad>\d+) failing exchanges are in category login",
    r"(?P<of>\d+) requests, (?P<users>\d+) affected users",
)
"""How surfaces count what fails in one incident: NAMES, or some of them."""


def counted(text: str) -> list[list[int | None]]:
    """Each count of a text, as NAMES; None for what it does not give."""
    found = [match.groupdict() for words in COUNTED for match in re.finditer(words, text)]
    return [
        [int(each[name].replace(",", "")) if each.get(name) else None for name in NAMES] for each in found
    ]


@pytest.mark.parametrize("seed", range(2))
def test_all_surfaces_count_one_incident_from_one_moment_and_never_less_than_before(
    store: Store, seed: int
) -> None:
    """Failures come in bursts. Between them the candidate looks healthy, and the incident goes on."""
    chance, seen, before = random.Random(seed), 0, [0, 0, 0]
    watched = Watched(store, "{rule: error_rate, action: page}, {rule: error_rate_vs_baseline, action: page}")
    provider: list[tuple[float, bool, str]] = []
    for share in [0.02] * 60 + ([0.6] * 25 + [0.0] * 40) * 2:
        bad = chance.random() < share
        place = "login" if bad or chance.random() < 0.1 else "order"
        user = one(**(FAILED if bad else {}), category=place)
        watched.come(1, baseline=GOOD, candidate=user, messages=99)
        provider.append((watched.mono - 1.0, bad, f"u{watched.sent}"))
        incident = watched.monitor.canaries["trial"].incident
        if incident is None:
            continue
        assert incident.trouble is not None and incident.trouble.since is not None
        since = incident.trouble.since - NOW
        mine = [(failed, user) for at, failed, user in provider if at >= since]
        truth = [sum(failed for failed, _ in mine), len(mine), len({user for failed, user in mine if failed})]
        surfaces = watched.surfaces()
        for name, text in surfaces.items():
            assert counted(text), name
            for each in counted(text):
                told = [true if value is None else value for value, true in zip(each, truth, strict=True)]
                assert told == truth, name
                seen += 1
        assert all(now >= then for now, then in zip(truth, before, strict=True))
        before = truth
    assert seen > 500 and before[0] > 20


def test_the_next_incident_counts_from_its_own_beginning(store: Store) -> None:
    watched = Watched(store, "{rule: error_rate, action: page}")
    failing = one(**FAILED)
    watched.come(40, baseline=GOOD, candidate=GOOD)
    watched.come(60, baseline=GOOD, candidate=failing)
    watched.come(20, baseline=GOOD, candidate=failing, messages=99)
    watched.come(300, baseline=GOOD, candidate=GOOD, messages=99)
    watched.quiet(RESOLVE_AFTER_S + 20.0)
    assert [each.event for each in watched.notices] == ["page", "resolved"]
    watched.come(20, baseline=GOOD, candidate=GOOD, messages=99)
    began, before = NOW + watched.mono, watched.bad
    watched.come(60, baseline=GOOD, candidate=failing, messages=3)
    bad = watched.bad - before
    since = clock(began, NOW)
    assert watched.notices[-1].headline.startswith(
        f"Answers of m2 fail: {bad} of {bad} requests, {bad} users, since {since}."
    )


def test_what_begins_during_another_incident_counts_from_its_own_beginning(store: Store) -> None:
    watched = Watched(store, "{rule: latency_p95, action: page}, {rule: error_rate}")
    watched.come(60, baseline=GOOD, candidate=GOOD)
    watched.come(60, baseline=GOOD, candidate=one(latency_s=4.0))
    watched.come(120, baseline=GOOD, candidate=one(latency_s=4.0), messages=99)
    assert watched.notices[0].rules == ("latency_p95",)
    before, began = watched.bad, NOW + watched.mono
    while not watched.notices[-1].rolled_back:
        watched.come(1, baseline=GOOD, candidate=one(**FAILED), messages=99)
    bad, since = watched.bad - before, clock(began, NOW)
    assert watched.notices[-1].headline.startswith(
        f"Answers of m2 fail: {bad} of {bad} requests, {bad} users, since {since}."
    )
    assert f"error_rate: candidate: {bad} of {bad} outcomes failed since {since}" in describe(
        watched.notices[-1]
    )


def test_all_surfaces_of_a_rollback_have_the_figures_of_its_moment_though_more_failures_come(
    store: Store,
) -> None:
    watched = Watched(store, "{rule: error_rate}, {rule: error_rate_vs_baseline}")
    watched.come(60, baseline=GOOD, candidate=GOOD)
    failing = one(**FAILED, category="login")
    while not watched.notices or not watched.notices[-1].rolled_back:
        watched.come(1, baseline=GOOD, candidate=failing, messages=99)
    for _ in range(3):  # they were under way
        watched.comes("candidate", failing)
        watched.monitor.decide(NOW + watched.mono, watched.mono)
    (found,) = asyncio.run(watched.operator.rollbacks("trial", 9))
    document, status = document_of(found), watched.operator.status()["canaries"][0]
    surfaces = {
        **watched.seen(),
        "rules": str([each["sentence"] for each in status["guardrails"]]),
        "place": status["where_sentence"],
        **{f"why {name}": document[name] for name in ("headline", "summary", "sentence", "reason")},
        **{f"status {name}": status["rollback"][name] for name in ("headline", "summary", "sentence")},
    }
    for name, text in surfaces.items():
        assert counted(text), name
        for values in counted(text):
            assert {*values} <= {None, watched.bad}, name
    for each in (document, status["guardrails"][0]):
        numbers = [each["evidence"][name] for name in ("bad", "outcomes", "adverse_units")]
        assert numbers == [watched.bad] * 3


def test_a_session_s_cost_is_put_down_to_the_tokens_that_grew_and_not_to_its_steps(store: Store) -> None:
    watched = Watched(store, "{rule: session_cost}")
    watched.come(40, baseline=TWO, candidate=TWO)
    long = {"usage": Usage(input_tokens=1000, cached_input_tokens=800, output_tokens=3000), "cost_usd": 0.1}
    watched.come(60, baseline=TWO, candidate=session(long, long))
    headline = watched.notices[-1].headline
    found = re.search(r"What grew: (.*) per request ([\d,]+) against 100\. Users got its answers\.", headline)
    assert found is not None and found[1] == "output tokens" and int(found[2].replace(",", "")) > 500
    assert "steps" not in headline and "longer" not in headline


@pytest.mark.parametrize("covered", [True, False])
def test_a_candidate_of_which_nothing_is_let_through_for_15_minutes_is_told_and_not_rolled_back(
    store: Store, covered: bool
) -> None:
    watched = Watched(store, "{rule: error_rate}")
    watched.come(10, baseline=GOOD, candidate=GOOD)
    outcome = {"outcome": "fallback"} if covered else {"outcome": "error", "status": 429}
    over = one(**outcome, error_type="provider_throttled")
    began = clock(NOW + watched.mono + 4.0, NOW)
    while not watched.notices and watched.mono < 3000.0:
        watched.come(1, baseline=GOOD, candidate=over)
        watched.quiet(50)
    (page,) = watched.notices
    assert watched.mono - 1050.0 == pytest.approx(900.0, abs=60.0)
    saw = "Users got m1's answers instead." if covered else "Users got an error."
    requests = page.requests
    assert page.headline == (
        f"m2 is over its provider's rate or quota: {requests} of {requests} requests throttled,"
        f" since {began}. {saw} The ramp holds."
    )
    state = watched.operator.rollouts.state("trial")
    assert state is not None and state.state == "running"
    watched.come(1, baseline=GOOD, candidate=GOOD, messages=2)
    watched.quiet(RESOLVE_AFTER_S + 20.0)
    assert [each.event for each in watched.notices] == ["page", "resolved"]


def test_what_is_no_fault_of_the_candidate_s_answers_says_so(store: Store) -> None:
    down = Watched(store, "{rule: error_rate}")
    down.come(40, baseline=GOOD, candidate=GOOD)
    down.come(60, baseline=one(**FAILED), candidate=one(**FAILED))
    (page,) = down.notices
    assert re.match(r"m1, the baseline, fails itself: (\d+) of \1 requests, \1 users, since ", page.headline)
    assert page.headline.endswith(" UTC. Users got its errors. The ramp holds.")

    down.monitor.watch_records(NOW + down.mono, down.mono, room_bytes=0, waiting=3, down=None)
    assert re.match(
        r"The spool is full, and guardrails see nothing new: free disk space, .* UTC\. "
        r"Users notice nothing\. Requests are served as before",
        down.notices[-1].headline,
    )
    assert (down.notices[-1].page, down.notices[-1].offers) == ("", ())


def test_a_candidate_that_refuses_what_it_is_asked_first_has_met_no_user(store: Store) -> None:
    waits = Watched(store, "{rule: error_rate}", failure="baseline\n    start: manual")
    waits.monitor.page_of_preflights({"trial": "chat: 400 no tools"})
    waits.quiet(10)
    (page,) = waits.notices
    assert page.headline == (
        "m2 refuses what canary asked of it before the start: chat: 400 no tools, since 14:30 UTC."
        " No user has met it. The canary has not started: it waits."
    )
    assert page.offers == ()


def test_records_that_stop_are_told_of_as_what_is_not_known(store: Store) -> None:
    silent = Watched(store, "{rule: telemetry}")
    silent.come(10, baseline=GOOD, candidate=GOOD)
    for finished in range(1, 95):
        beat = Heartbeat(
            worker=0, pid=7, at=NOW + silent.mono, mono=silent.mono, started=finished, finished=finished,
            dropped=0, lag_s=0.0, plan_version=1,
        )  # fmt: skip
        silent.monitor.take(WorkerEvents(beats=[(("", 0, 7), beat)]))
        silent.quiet(10)
    assert re.match(
        r"No record of a request has arrived for 9\d\d s, though requests are served, since \d\d:\d\d UTC\."
        r" What users saw is not recorded\. The ramp holds\.",
        silent.notices[0].headline,
    )
