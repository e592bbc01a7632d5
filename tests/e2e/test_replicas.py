"""Two replicas and two admins on a real Redis and a real PostgreSQL do what one machine does: a failing
candidate is pulled back once, everywhere, one page goes out, and each exchange is stored and counted once.
"""

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

import httpx2
import pytest

from demo.provider.behaviour import Behaviour
from demo.provider.server import LocalProvider
from records.store import Store
from records.store.reports import Evaluations
from tests.e2e.receivers import Hook, listening_hook
from tests.e2e.replicas import Fleet, Member, fleet
from tests.e2e.stage import chat
from tests.servers.postgres import Postgres
from tests.servers.redis import RedisServer
from tests.serving import ProviderThread, eventually

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
canaries:
  - name: goes-bad
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-4o-2024-11-20}}
    share: 5%
    settle: 0s
notify: [{{webhook: "{hook}"}}]
"""
CANDIDATE = "gpt-4o-2024-11-20"
MOST_REQUESTS = 6000
AT_ONCE = 6
KEY = {"authorization": "Bearer sk-caller"}
pytestmark = pytest.mark.alone  # one second is held to


@dataclass
class Crowd:
    """Users who ask by turns at all replicas, each once: nineteen of the baseline's to one candidate's."""

    members: Fleet
    statuses: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        candidates = self.members.users("candidate", "goes-bad", 0.05, "c")
        baselines = self.members.users("baseline", "goes-bad", 0.05, "b")
        self._users = (user for first in candidates for user in (first, *islice(baselines, 19)))
        self._doors = cycle(member.traffic for member in self.members.replicas)
        self._drawing = threading.Lock()

    def ask(self, stop: threading.Event, most: int = MOST_REQUESTS) -> None:
        """Keep asking until `stop`, or `most` requests."""
        left = iter(range(most))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for done in [pool.submit(self._one_by_one, stop, left) for _ in range(AT_ONCE)]:
                done.result()

    def _one_by_one(self, stop: threading.Event, left: Iterator[int]) -> None:
        with httpx2.Client(headers=KEY, trust_env=False, timeout=30.0) as http:
            while not stop.is_set():
                with self._drawing:
                    if next(left, None) is None:
                        return
                    user, door = next(self._users), next(self._doors)
                answer = http.post(f"{door}/v1/chat/completions", json=chat("gpt-4o", user))
                self.statuses.append(answer.status_code)


@dataclass
class Story:
    """What happened: the fleet, its provider and receiver, the crowd, and when the rollback was, in UTC."""

    members: Fleet
    provider: ProviderThread
    hook: Hook
    crowd: Crowd
    rolled_back_at: float


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> Iterator[Story]:
    """Half of the candidate's answers are errors, until a while after the rollback."""
    with ExitStack() as stack:
        redis = RedisServer()
        stack.callback(redis.close)
        provider = stack.enter_context(ProviderThread(LocalProvider()))
        hook = stack.enter_context(listening_hook())
        config = CONFIG.format(url=provider.url, hook=hook.url)
        folder = tmp_path_factory.mktemp("replicas")
        members = stack.enter_context(fleet(folder, config, store=postgres.fresh(), shared=redis.url))
        for role in ("admin", "traffic", "traffic", "admin"):
            members.add(role)
        crowd = Crowd(members)
        crowd.ask(threading.Event(), 2)  # at once: they are accepted when they can be counted
        members.ready(2)
        crowd.ask(threading.Event(), 200)
        provider.behave(CANDIDATE, Behaviour(faults={"status": 0.5}))
        stop = threading.Event()
        asking = threading.Thread(target=crowd.ask, args=(stop,))
        asking.start()
        try:
            eventually(lambda: members.status("goes-bad")["state"] == "rolled_back")
            at = eventually(lambda: changed_at(members.replicas[0]) if rolled_back(members) else None)
            assert not stop.wait(max(0.0, at + 2.5 - time.time()))  # the crowd asks on meanwhile
        finally:
            stop.set()
            asking.join()
        yield Story(members, provider, hook, crowd, at)


def rolled_back(members: Fleet) -> bool:
    """True when every replica's plan says so."""
    plans = [json.loads((member.data / "plan.json").read_bytes()) for member in members.replicas]
    return all(plan["states"]["goes-bad"]["state"] == "rolled_back" for plan in plans)


def changed_at(member: Member) -> float:
    """When the canary's state last changed, as a replica's plan says: a UTC second."""
    plan = json.loads((member.data / "plan.json").read_bytes())
    at: float = plan["states"]["goes-bad"]["changed_at"]
    return at


def test_the_candidate_is_pulled_back_in_all_replicas_within_a_second(story: Story) -> None:
    assert len(story.crowd.statuses) < MOST_REQUESTS
    candidate = story.provider.log.of(CANDIDATE)
    last = max(entry.mono for entry in candidate) - time.monotonic() + time.time()
    failed = [entry for entry in candidate if entry.fault == "status"]
    print(
        f"\nrolled back after {len(failed)} failures of {len(candidate)} candidate requests; the last one "
        f"{last - story.rolled_back_at:+.3f} s from the rollback"
    )
    assert last <= story.rolled_back_at + 1.0
    assert {*story.crowd.statuses} == {200}


def test_exactly_one_page_says_what_happened(story: Story) -> None:
    (page,) = eventually(lambda: story.hook.events("goes-bad", "page"))
    told = eventually(
        lambda: [each for each in story.hook.events("goes-bad") if "was rolled" in each["done"]]
    )
    assert "share 5 % → 0 %" in told[0]["done"]
    assert {each["dedup_key"] for each in story.hook.events("goes-bad")} == {page["dedup_key"]}


def test_everything_is_stored_once(story: Story) -> None:
    asked = len(story.crowd.statuses)
    rows = eventually(lambda: rows if len(rows := story.members.outcomes()) >= asked else None)
    assert len(rows) == len({row["exchange_id"] for row in rows}) == asked
    assert {row["outcome"] for row in rows} == {"ok", "fallback"}
    assert {row["reason"] for row in rows} == {"cohort", "stopped"}  # no `no_plan`, from the first one on


def test_one_evaluation_of_it_is_in_the_archive(story: Story, tmp_path: Path) -> None:
    with closing(Store.open(story.members.store, tmp_path)) as store:
        (kept,) = eventually(lambda: Evaluations(store).all("goes-bad"))
    assert (kept["event"], kept["report"]["verdict"]) == ("rolled_back", "dont_ship")
    told = {name: kept["candidate"][name] for name in ("provider", "model", "vendor")}
    assert told == {"provider": "openai", "model": CANDIDATE, "vendor": "openai"}


def test_metrics_summed_over_all_targets_are_right(story: Story) -> None:
    asked = len(story.crowd.statuses)
    rows = eventually(lambda: rows if len(rows := story.members.outcomes()) >= asked else None)
    arms = {(arm, outcome): 0 for arm in ("baseline", "candidate") for outcome in ("ok", "fallback")}
    for row in rows:
        arms[row["arm"], row["outcome"]] += 1

    def summed() -> dict[str, float] | None:
        sums = story.members.sums()
        return sums if sums['canary_records_total{state="stored"}'] == len(rows) else None

    sums = eventually(summed)
    for (arm, outcome), count in arms.items():
        name = f'canary_requests_total{{arm="{arm}",canary="goes-bad",outcome="{outcome}"}}'
        assert sums[name] == count, name
    assert sums['canary_records_total{state="accepted"}'] == len(rows)
    assert sums["canary_records_spooled"] == 0.0
    assert sums["canary_leader"] == 1.0
    assert sums["canary_shared_up"] == 4.0
    print(f"\nthe leader knew of the last exchange after {sums['canary_evidence_lag_seconds']:.2f} s")
    assert sums["canary_evidence_lag_seconds"] < 10.0
    assert sums['canary_state{canary="goes-bad",state="rolled_back"}'] == 1.0
    assert sum(value for name, value in sums.items() if name.startswith("canary_rollbacks_total")) == 1.0


def test_an_admin_that_does_not_lead_shows_the_same_and_takes_orders(story: Story) -> None:
    members = story.members
    leader = members.leader()
    (other,) = [each for each in members.admins if each is not leader]

    def shown() -> dict[str, object] | None:
        mine, theirs = (each.get("/api/status").json()["canaries"][0] for each in (leader, other))
        keys = ("state", "share", "incident", "arms")
        alike = all(mine[key] == theirs[key] for key in keys if key != "arms")
        return theirs if alike and theirs["arms"]["candidate"]["requests"] > 0 else None

    assert eventually(shown)["incident"] is not None
    done = other.ask("POST", "/api/canaries/goes-bad/resume", {"who": "ann", "reason": "mended"})
    assert done.status_code == 200, done.text
    assert (done.json()["state"], done.json()["confirmed"], done.json()["workers"]) == ("running", 2, 2)
    eventually(lambda: story.members.status("goes-bad")["run"] == 2)
    eventually(lambda: story.hook.events("goes-bad", "resolved"))
    done = other.ask("POST", "/api/canaries/goes-bad/rollback", {"who": "ann", "reason": "no"})
    assert done.status_code == 200, done.text
    eventually(lambda: members.status("goes-bad")["state"] == "rolled_back")  # the leader has heard of it


def test_another_admin_takes_over_from_a_killed_leader_without_a_second_page(story: Story) -> None:
    members = story.members
    leader = members.leader()
    pages = len(story.hook.events("goes-bad", "page"))
    before = members.status("goes-bad")
    killed_at = time.monotonic()
    leader.kill()
    other = members.leader()
    print(f"\nanother admin led {time.monotonic() - killed_at:.1f} s after the kill")
    assert other is not leader
    after = members.status("goes-bad")
    for name in ("state", "share", "run", "incident"):
        assert after[name] == before[name]
    assert after["arms"]["candidate"]["requests"] == before["arms"]["candidate"]["requests"]
    crowd = Crowd(members)
    crowd.ask(threading.Event(), 100)
    assert {*crowd.statuses} == {200}
    seen = before["arms"]["baseline"]["requests"]
    eventually(lambda: members.status("goes-bad")["arms"]["baseline"]["requests"] >= seen + 50)
    assert len(story.hook.events("goes-bad", "page")) == pages


def test_a_changed_config_reaches_replicas_and_admins_without_a_restart(story: Story) -> None:
    members = story.members
    living = [each for each in (*members.replicas, *members.admins) if each.process.poll() is None]
    added = CONFIG.partition("canaries:\n")[2].partition("notify:")[0]
    added = added.replace("goes-bad", "later").replace("[gpt-4o]", "[gpt-4o-mini]").format()
    for member in living:
        fresh = member.config.with_suffix(".new")
        fresh.write_text(member.config.read_text().replace("canaries:\n", f"canaries:\n{added}"))
        fresh.replace(member.config)
    eventually(lambda: members.status("goes-bad")["state"] == "rolled_back")
    shown = eventually(lambda: later(members))
    assert (shown["state"], shown["share"]) == ("running", 0.05)
    user = next(members.users("candidate", "later", 0.05))
    door = members.replicas[0].traffic
    eventually(lambda: arm_of(f"{door}/v1/chat/completions", user) == "candidate")


def later(members: Fleet) -> dict[str, object] | None:
    """The new canary's status, once there is one."""
    canaries = members.leader().get("/api/status").json()["canaries"]
    return next((each for each in canaries if each["name"] == "later" and each["run"] == 1), None)


def arm_of(url: str, user: str) -> str | None:
    """The arm that this user is given."""
    answer = httpx2.post(url, json=chat("gpt-4o-mini", user), headers=KEY, trust_env=False)
    return answer.headers.get("x-canary-arm")
