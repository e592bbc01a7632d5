"""A judge of known taste reads what real traffic was answered: every pair once, within its budget, whatever
happens to the server.
"""

import json
import os
import signal
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from itertools import islice
from pathlib import Path

import httpx2
import pytest

from canary.config import parse
from demo.provider.behaviour import Behaviour
from demo.provider.server import LocalProvider
from judge.judgements import JudgedExchange, Judgements
from pages.words.reasons import sentences
from records.store import Store, tables
from records.store.captures import CaptureStore
from tests.e2e.judge_server import PRICES, Asked, JudgeServer, likes
from tests.e2e.replicas import Fleet, Member, fleet
from tests.e2e.stage import Stage, chat, on_stage
from tests.servers.postgres import Postgres
from tests.servers.redis import RedisServer
from tests.serving import ProviderThread, eventually
from verdict.decision.document import Report
from verdict.decision.reports import report_of

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1", api_key: sk-app}}
  judging: {{api: openai, base_url: "JUDGE/v1", api_key: sk-judge}}
judge: {{provider: judging, model: the-judge, daily_budget: BUDGET, at_once: 2}}
canaries:
  - name: trial
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: old-model}}
    candidate: {{provider: openai, model: new-model}}
    share: 50%
    mirror: 100%
    capture: {{rate: 100%}}
    guardrails: []
    judge: {{OWN, criteria: "Friendly and whole."}}
"""
SECRET_WORDS = ("old-model", "new-model", "candidate", "baseline", "canary", "trial")
ALL = 900
"""Users' questions that the arms know an answer to."""


def config(judge: JudgeServer, *, own: str = "pairs: 500", budget: str = "5.00") -> str:
    text = CONFIG.replace("JUDGE", judge.url).replace("BUDGET", budget).replace("OWN", own)
    return text + PRICES.replace("{", "{{").replace("}", "}}") + "\n"


def arms() -> LocalProvider:
    """Both arms answer in words of their own, which the judge can tell apart without a name."""
    answers = {
        arm: {f"question {each}.": f"{arm} to {each}" for each in range(ALL)} for arm in ("Plain", "Warm")
    }
    return LocalProvider(
        {"old-model": Behaviour(says=answers["Plain"]), "new-model": Behaviour(says=answers["Warm"])}
    )


@contextmanager
def judged(folder: Path, judge: JudgeServer, **options: str) -> Iterator[Stage]:
    with on_stage(folder, config(judge, **options), provider=arms()) as stage:
        yield stage


def ask(stage: Stage, numbers: range, *, category: str = "", arm: str = "baseline") -> None:
    """One question of one user of the arm each."""
    users = stage.users(arm, "trial", 0.5, f"user-{numbers.start}")  # type: ignore[arg-type]
    with httpx2.Client(trust_env=False) as http:
        for number, user in zip(numbers, users, strict=False):
            body = chat("gpt-4o", user, text=f"question {number}.")
            headers = {"x-canary-category": category}
            answer = http.post(f"{stage.server.traffic}/v1/chat/completions", json=body, headers=headers)
            assert answer.status_code == 200


def judgements(store: str, data: Path) -> list[JudgedExchange]:
    with closing(Store.open(store, data)) as opened:
        return Judgements(opened).of("trial")


def of(stage: Stage) -> list[JudgedExchange]:
    return judgements("sqlite:///canary.db", stage.server.data)


def done(stage: Stage, number: int) -> list[JudgedExchange]:
    """All judgements, once so many have a result."""

    def found() -> list[JudgedExchange] | None:
        known = of(stage)
        return known if sum(bool(each.result) for each in known) >= number else None

    return eventually(found)


def ready(stage: Stage) -> str:
    answer = httpx2.get(f"{stage.server.admin}/readyz", trust_env=False)
    assert answer.status_code == 200
    return answer.text.strip()


def expected(number: int) -> str:
    """The result that the judge's taste must have for a question, told without its code."""
    if number % 13 == 0:
        return "no_mark"
    if number % 17 == 0:
        return "tie"
    return "candidate" if number % 10 < 7 else "baseline"


def test_every_pair_is_judged_in_both_orders_blind_and_as_planted(tmp_path: Path) -> None:
    numbers = range(60)
    with JudgeServer(likes("Warm")) as judge, judged(tmp_path, judge) as stage:
        ask(stage, numbers, category="refund")
        found = done(stage, 60)
        assert Counter(each.result for each in found) == Counter(map(expected, numbers))
        assert {(each.category, each.kind, each.judge) for each in found} == {
            ("refund", "pair", "judging/the-judge")
        }
        assert all(each.baseline_length and each.candidate_length for each in found)
        assert {call.request_id for each in found for call in each.calls} == {"req_judge"}
        ask(stage, range(60, 62))
        done(stage, 62)
        book = judge.book
        assert len({asked.text for asked in book}) == len(book) == 2 * 62  # those without a mark neither
        for number in numbers:
            orders = {(asked.first, asked.second) for asked in book if asked.number == number}
            assert orders == {
                (f"Plain to {number}", f"Warm to {number}"),
                (f"Warm to {number}", f"Plain to {number}"),
            }
        for asked in book:
            assert "What counts: Friendly and whole." in asked.text
            assert not [word for word in SECRET_WORDS if word in asked.text.lower()]
            assert asked.authorization == "Bearer sk-judge"
        told = eventually(
            lambda: each if (each := stage.api("GET", "/api/status").json()["judge"])["spent_usd"] else None
        )
        assert (told["state"], told["reason"], told["daily_budget_usd"]) == ("judging", "", 5.0)
        assert sum(each.cost_usd for each in of(stage)) == pytest.approx(judge.charged_usd, rel=0.02)
        assert ready(stage) == "ready"
        assert "judge: judging/the-judge, $0.0" in stage.canary("status").stdout
        nothing = stage.canary("judge", "trial", "--pairs", "5", "--config", str(stage.server.config))
        assert nothing.returncode == 1
        assert "no pair of trial's run 1 waits for the judge, 62 have been judged" in nothing.stderr


def test_single_answers_of_both_arms_are_marked_where_nothing_is_mirrored(tmp_path: Path) -> None:
    def marks(asked: Asked) -> str:
        return f"Fair.\nMARK: {4 if asked.first.startswith('Warm') else 3}"

    with JudgeServer(marks) as judge, judged(tmp_path, judge, own="answers: 8") as stage:
        ask(stage, range(30))
        ask(stage, range(30, 40), arm="candidate")
        found = done(stage, 8)
        assert {(each.arm, each.mark, each.kind) for each in found} == {
            ("baseline", 3.0, "answer"),
            ("candidate", 4.0, "answer"),
        }
        where = ["--config", str(stage.server.config)]
        more = stage.canary("judge", "trial", "--answers", "6", "-o", "json", *where)
        told = json.loads(more.stdout)
        assert (more.returncode, told["answers"]) == (0, 6)
        assert told["baseline"] == {"marked": 3, "mean_mark": 3.0}
        assert told["candidate"] == {"marked": 3, "mean_mark": 4.0}
        assert len({asked.text for asked in judge.book}) == len(judge.book)


ASSISTED = """    rubric:
      - {{metric: csat, acceptable: ">= baseline - 20%", ideal: ">= baseline", weight: 1, minimum_days: 1,
          assisted: judge, question: "Are users satisfied?"}}
"""
ANSWERED = 150


def _in_two_days(stage: Stage) -> Report:
    settings = parse(stage.server.config.read_text(), "canary.yaml", {}).control.reports
    with closing(Store.open("sqlite:///canary.db", stage.server.data)) as store:
        state = store.states()["trial"].state
        assert state.started_at is not None
        return report_of(settings, "trial", store, now=state.started_at + 2.2 * 86400)


def test_a_judge_who_likes_the_candidate_is_put_right_by_the_ratings_of_a_few(tmp_path: Path) -> None:
    """Every answer is marked, every second one is rated, and users like both arms alike."""
    with JudgeServer(lambda asked: f"MARK: {4 if asked.first.startswith('Warm') else 2}") as judge:
        text = config(judge, own="answers: 900").replace("\nprices:", f"\n{ASSISTED}prices:", 1)
        with on_stage(tmp_path, text, provider=arms()) as up:
            ask(up, range(ANSWERED))
            ask(up, range(ANSWERED, 2 * ANSWERED), arm="candidate")
            marked = done(up, 2 * ANSWERED)
            by_arm = {arm: [each for each in marked if each.arm == arm] for arm in ("baseline", "candidate")}
            ratings = [
                {"exchange_id": each.exchange_id, "metric": "csat", "value": 3 + n % 3}
                for found in by_arm.values()
                for n, each in enumerate(found[::2])
            ]
            url = f"{up.server.traffic}/canary/feedback"
            assert httpx2.post(url, json=ratings, trust_env=False).status_code == 202
            eventually(lambda: _stored_ratings(up) == len(ratings))  # a look is made once, and kept
            report = _in_two_days(up)
    assert report.metrics[0].state in ("PASS", "IDEAL"), sentences(report)
    assert report.judge is not None and report.judge.marks is not None
    (found,) = report.judge.assisted
    assert found.rated == len(ratings) // 2
    assert (found.marked, found.decides) == (2 * ANSWERED, True)
    assert report.judge.marks.difference is not None and found.means.difference is not None
    assert report.judge.marks.difference.estimate == 2.0
    assert abs(found.means.difference.estimate) < 1e-3


def _stored_ratings(stage: Stage) -> int:
    with closing(sqlite3.connect(stage.server.data / "canary.db")) as database:
        found: int = database.execute("SELECT count(*) FROM feedback").fetchone()[0]
        return found


TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "parameters": {"type": "object", "properties": {"order": {"type": "string"}}},
    },
}


def work(stage: Stage, number: int, user: str) -> None:
    """One agent's session: a question, a tool's call with its result, and the answer."""
    messages = chat("gpt-4o", user, text=f"question {number}.")["messages"]
    headers = {"x-canary-unit": user, "x-canary-session": f"session-{number}"}
    with httpx2.Client(trust_env=False, headers=headers) as http:
        for _ in range(2):
            body = {"model": "gpt-4o", "messages": messages, "tools": [TOOL]}
            answer = http.post(f"{stage.server.traffic}/v1/chat/completions", json=body)
            said = answer.json()["choices"][0]["message"]
            messages.append(said)
            for call in said.get("tool_calls") or ():
                result = json.dumps({"order": number, "mail": "anna@example.com"})
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})


def half_an_hour_later(stage: Stage, captured: int) -> None:
    """Move what was captured back in time, once so much is stored."""
    eventually(lambda: len(stage.outcomes()) >= captured)
    with closing(Store.open("sqlite:///canary.db", stage.server.data)) as store:
        eventually(lambda: len(list(CaptureStore(store).read("trial"))) >= captured)
        with store.writing() as connection:
            for table, column in ((tables.captures, "at"), (tables.sessions, "last_at")):
                connection.execute(table.update().values({column: table.c[column] - 3600.0}))


def test_whole_sessions_of_agents_are_marked_and_shown_by_session(tmp_path: Path) -> None:
    """The candidate's say whether their task was done; the judge reads calls and results, redacted."""

    def marks(asked: Asked) -> str:
        done = "Warm to" in asked.first
        return f"It looked it up.\nMARK: {5 if done else 2}, DONE: {'YES' if done else 'NO'}"

    with JudgeServer(marks) as judge, judged(tmp_path, judge, own="sessions: 8") as stage:
        for arm, numbers in (("baseline", range(1, 9)), ("candidate", range(11, 17))):
            users = list(islice(stage.users(arm, "trial", 0.5), 2))
            for number in numbers:
                work(stage, number, users[number % 2])
        half_an_hour_later(stage, 28)
        found = done(stage, 8)
        assert Counter((each.kind, each.arm, each.mark, each.done) for each in found) == {
            ("session", "baseline", 2.0, False): 4,
            ("session", "candidate", 5.0, True): 4,
        }
        for asked in judge.book:
            assert f"user: question {asked.number}.\nassistant: [calls look_up " in asked.text
            assert f'tool: {{"order":{asked.number},"mail":"[email]"}}\nassistant: ' in asked.text
            assert not [word for word in SECRET_WORDS if word in asked.text.lower()]
        more = stage.canary("judge", "trial", "--sessions", "9", "-o", "json", *_config(stage))
        told = json.loads(more.stdout)
        assert (told["sessions"], told["baseline"]["done"], told["candidate"]["done"]) == (6, 0, 2)
        assert len({asked.text for asked in judge.book}) == len(judge.book) == 14
        report = json.loads(stage.canary("report", "trial", "-o", "json", *_config(stage)).stdout)
        shown = report["judge"]["judged_session"]
        assert (shown["sessions"], shown["no_mark"]) == (14, 0)
        assert shown["mark"]["difference"]["estimate"] == pytest.approx(3.0)
        assert [shown["done"][arm]["estimate"] for arm in ("baseline", "candidate")] == [0.0, 1.0]
        text = stage.canary("report", "trial", *_config(stage)).stdout
        assert "Of 14 whole sessions, marked by the judge from 1 to 5" in " ".join(text.split())
        told = stage.canary("explain", "--session", "session-11").stdout
        assert "The judge gives it 5 of 5, and the task was done." in told


def _config(stage: Stage) -> list[str]:
    return ["--config", str(stage.server.config)]


def test_a_provider_that_fails_pauses_the_judge_and_nothing_else_until_it_answers(tmp_path: Path) -> None:
    with JudgeServer(likes("Warm")) as judge, judged(tmp_path, judge) as stage:
        judge.broken = 503
        ask(stage, range(6))
        eventually(lambda: ready(stage) == "degraded: judge: paused (provider)")
        told = stage.api("GET", "/api/status").json()
        assert (told["judge"]["state"], told["judge"]["reason"]) == ("paused", "provider")
        assert "overloaded: come back later" in told["judge"]["because"]
        assert told["judge"]["until"] is not None and told["degraded"] == ["judge: paused (provider)"]
        shown = stage.canary("status")
        assert "degraded: judge: paused (provider)" in shown.stderr
        assert "come back later" in shown.stdout
        ask(stage, range(6, 8))  # traffic has nothing to do with it
        assert judge.refused <= 8
        judge.broken = None
        assert len(done(stage, 8)) == 8
        assert eventually(lambda: ready(stage) == "ready")


@pytest.mark.more
def test_a_pair_that_the_provider_refuses_keeps_no_other_waiting(tmp_path: Path) -> None:
    with JudgeServer(likes("Warm")) as judge, judged(tmp_path, judge) as stage:
        judge.rejects = {5}
        ask(stage, range(5, 6))  # alone: the next answer clears what the status says of it
        eventually(lambda: judge.refused)
        assert "too_long: shorten it" in eventually(
            lambda: stage.api("GET", "/api/status").json()["judge"]["because"]
        )
        ask(stage, range(1, 5))
        done(stage, 4)
        assert {asked.number for asked in judge.book} == {1, 2, 3, 4}
        assert eventually(lambda: ready(stage) == "ready")
        assert judge.refused == 2  # both orders, once


@pytest.mark.more
def test_a_judge_without_price_or_credential_says_so(tmp_path: Path) -> None:
    with JudgeServer(likes("Warm")) as judge, judged(tmp_path, judge) as stage:
        text = stage.config_text
        stage.configure(text.replace("prices: {the-judge: {input: 1, output: 2}}", ""))
        eventually(lambda: ready(stage) == "degraded: judge: paused (no price)")
        where = ["judge", "trial", "--pairs", "1", "--config", str(stage.server.config)]
        ask(stage, range(2))
        by_hand = eventually(lambda: each if "price" in (each := stage.canary(*where)).stderr else None)
        assert by_hand.returncode == 1
        assert "no known price" in stage.api("GET", "/api/status").json()["judge"]["because"]
        stage.configure(text.replace(", api_key: sk-judge", ""))
        eventually(lambda: ready(stage) == "degraded: judge: paused (no credential)")
        stage.configure(text)
        assert len(done(stage, 2)) == 2


def kill(stage: Stage, *, all_of_it: bool) -> None:
    """kill -9 of the server with all its processes, or of the admin process, which is started again."""
    pids = stage.server.children() if all_of_it else stage.server.children_of("canary.programs.controller")
    for pid in ([stage.server.process.pid] if all_of_it else []) + pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if all_of_it:
        stage.server.process.wait()
        stage.restart()


@pytest.mark.more
def test_ten_kills_cost_nothing_twice_and_a_raised_budget_goes_on(tmp_path: Path) -> None:
    """Every answer costs nearly what was reserved for it, so the budget is what ends the judging."""
    with (
        JudgeServer(likes("Warm"), out_tokens=2000, takes_s=0.05) as judge,
        judged(tmp_path, judge, budget="0.50") as stage,
    ):
        judge.broken = 503
        ask(stage, range(150))
        judge.broken = None
        for number in range(10):
            before = len(judge.book)
            eventually(lambda before=before: len(judge.book) > before)  # type: ignore[misc]
            kill(stage, all_of_it=number % 2 == 0)
        before = len(judge.book)
        eventually(lambda: len(judge.book) > before)
        eventually(lambda: ready_or_none(stage) == "degraded: judge: paused (budget)")
        assert 0.40 < judge.charged_usd <= 0.50
        assert len({asked.text for asked in judge.book}) == len(judge.book)
        assert {asked.number for asked in judge.book} < set(range(150))
        refused = stage.canary("judge", "trial", "--pairs", "1", "--config", str(stage.server.config))
        assert refused.returncode == 1
        assert "budget has no room for another call" in refused.stderr
        before = len(judge.book)
        stage.configure(stage.config_text.replace("daily_budget: 0.50", "daily_budget: 0.60"))
        eventually(lambda: len(judge.book) > before + 4)
        eventually(lambda: ready_or_none(stage) == "degraded: judge: paused (budget)")
        assert 0.50 < judge.charged_usd <= 0.60
        assert len({asked.text for asked in judge.book}) == len(judge.book)


@pytest.mark.more
def test_a_budget_without_room_for_one_call_says_so_and_promises_no_midnight(tmp_path: Path) -> None:
    with JudgeServer(likes("Warm")) as judge, judged(tmp_path, judge, budget="0.0005") as stage:
        ask(stage, range(1, 4))
        eventually(lambda: ready(stage) == "degraded: judge: paused (budget)")
        told = stage.api("GET", "/api/status").json()["judge"]
        assert "paused (budget): $0.0005 is too small for one call, for which $0.0" in told["sentence"]
        assert told["sentence"].endswith("; raise `daily_budget`; $0.00 of $0.0005 today; waits: trial")
        assert (told["state"], told["until"]) == ("paused", None)
        by_hand = stage.canary("judge", "trial", "--pairs", "1", "--config", str(stage.server.config))
        assert by_hand.returncode == 1
        assert "too small for one call, today and tomorrow; raise it" in by_hand.stderr
        assert judge.book == []


def ready_or_none(stage: Stage) -> str | None:
    """None while the admin process starts again."""
    with suppress(httpx2.TransportError):
        return ready(stage)
    return None


@pytest.mark.more
def test_by_hand_needs_no_server(tmp_path: Path) -> None:
    with JudgeServer(likes("Warm")) as judge, judged(tmp_path, judge, own="pairs: 2") as stage:
        ask(stage, range(1, 13))
        done(stage, 2)
        stage.server.stop()
        where = ["--config", str(stage.server.config)]
        told = stage.canary("judge", "trial", "--pairs", "4", "-o", "json", *where)
        document = json.loads(told.stdout)
        assert told.returncode == 0
        assert (
            document["pairs"]
            == document["won"] + document["tie"] + document["lost"] + document["no_mark"]
            == 4
        )
        assert 0 < document["cost_usd"] < document["budget_left_usd"]
        assert "4 of 4 judged" in told.stderr
        shown = stage.canary("judge", "trial", "--pairs", "99", *where)
        assert shown.returncode == 0
        assert shown.stdout.startswith("trial: 6 pairs: won ")
        assert len(judge.book) == 2 * 12
        usage = stage.canary("judge", "trial", *where)
        assert (usage.returncode, "--pairs N" in usage.stderr) == (2, True)
        unknown = stage.canary("judge", "other", "--pairs", "1", *where)
        assert (unknown.returncode, "it has: trial" in unknown.stderr) == (2, True)


@pytest.mark.more
def test_by_hand_what_cannot_be_read_or_is_refused_is_told_with_the_reason(tmp_path: Path) -> None:
    with JudgeServer(lambda _: "Both are fine.") as judge, judged(tmp_path, judge, own="pairs: 1") as stage:
        ask(stage, range(1, 6))
        done(stage, 1)
        sentence = eventually(
            lambda: (
                told
                if "used" in (told := stage.api("GET", "/api/status").json()["judge"]["sentence"])
                else None
            )
        )
        assert sentence.endswith("; trial: the day's `pairs: 1` is used up")
        stage.server.stop()
        where = ["judge", "trial", "--config", str(stage.server.config), "--pairs"]
        told = stage.canary(*where, "2")
        assert told.returncode == 0
        assert "no mark 2: the judge never ended with BETTER: A, B or SAME; cost" in told.stdout
        judge.rejects = set(range(9))
        refused = stage.canary(*where, "2")
        assert refused.returncode == 1
        assert "2 were refused by the provider: caller_rejected too_long: shorten it" in refused.stderr


@pytest.mark.more
def test_by_hand_a_failing_provider_is_an_error_and_its_words_are_told(tmp_path: Path) -> None:
    with JudgeServer(likes("Warm")) as judge, judged(tmp_path, judge, own="pairs: 1") as stage:
        ask(stage, range(1, 6))
        done(stage, 1)
        judge.broken = 500
        told = stage.canary("judge", "trial", "--pairs", "2", "--config", str(stage.server.config))
        assert told.returncode == 1
        assert "the judge's provider failed: provider_5xx overloaded: come back later" in told.stderr


@pytest.fixture
def replicas(
    tmp_path: Path, postgres: Postgres, redis_server: RedisServer
) -> Iterator[tuple[Fleet, JudgeServer]]:
    with JudgeServer(likes("Warm"), takes_s=0.02) as judge, ProviderThread(arms()) as provider:
        text = config(judge).format(url=provider.url)
        with fleet(tmp_path, text, store=postgres.fresh(), shared=redis_server.url) as members:
            for role in ("admin", "admin", "traffic"):
                members.add(role)  # type: ignore[arg-type]
            members.ready(1)
            yield members, judge


def ask_replica(members: Fleet, numbers: range) -> None:
    users = members.users("baseline", "trial", 0.5, f"user-{numbers.start}")
    for number, user in zip(numbers, islice(users, len(numbers)), strict=True):
        url = f"{members.replicas[0].traffic}/v1/chat/completions"
        body = chat("gpt-4o", user, text=f"question {number}.")
        assert httpx2.post(url, json=body, trust_env=False).status_code == 200


def judge_of(member: Member) -> str:
    return str(member.get("/api/status").json()["judge"]["state"])


@pytest.mark.more
def test_of_two_admins_only_the_leader_asks_and_the_next_one_goes_on(
    replicas: tuple[Fleet, JudgeServer],
) -> None:
    members, judge = replicas
    ask_replica(members, range(30))
    folder = members.replicas[0].data

    def all_judged(least: int) -> bool:
        """True once every pair has its result; a busy replica leaves out a copy or two."""
        with closing(Store.open(members.store, folder)) as store:
            pairs = {real.about.exchange_id for real, _ in CaptureStore(store).pairs("trial")}
            found = {each.exchange_id for each in Judgements(store).of("trial") if each.result}
        return len(pairs) >= least and pairs == found

    eventually(lambda: all_judged(20))
    leader = members.leader()
    [other] = [each for each in members.admins if each is not leader]
    assert (judge_of(leader), judge_of(other)) == ("judging", "standby")
    leader.kill()
    before = len(judge.book)
    ask_replica(members, range(30, 50))
    eventually(lambda: len(judge.book) > before and all_judged(before // 2 + 1))
    assert judge_of(other) == "judging"
    assert len(judge.book) == len({asked.text for asked in judge.book})
