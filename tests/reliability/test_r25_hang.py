"""R25: a candidate that hangs, at default settings. Its callers get the baseline's answer when their patience
is over or as soon as nobody should wait any more, and it is rolled back.

No timeout is set in the config. The callers wait for ever, or give up after three seconds as apps do. Some
canaries have no guardrails, so that nothing but patience, breaker or a person ends the wait.
"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import islice

import pytest

from common.whole_file import read_document
from control.monitor.wait_limits import FEWEST, LEAST_S
from records.outcome import InFlight, Outcome, Record
from records.spool.reader import SpoolReader
from routing.states import States
from tests.e2e.stage import Stage, chat
from tests.reliability.answers import JSON, answer, document, events, hang, whole
from tests.reliability.callers import Answer, ask, connected, receive, request
from tests.reliability.fault_provider import Seen
from tests.reliability.rig import rigged
from tests.serving import eventually

NAMES = ("by-default", "given-up", "patient", "by-hand", "by-breaker")
UNWATCHED = "    guardrails: []\n"
CONFIG = """
providers:
  openai: {api: openai, base_url: "<baseline>/v1"}
  hanging: {api: openai, base_url: "<hanging>/v1", api_key: sk-candidate}
canaries:
""" + "".join(
    f"""
  - name: {name}
    match: {{models: [{name}]}}
    baseline: {{provider: openai, model: {name}-baseline}}
    candidate: {{provider: hanging, model: {name}-candidate}}
    share: 20%
"""
    + ("" if name in ("by-default", "given-up") else UNWATCHED)
    for name in NAMES
)
SECRET = "a-secret-of-the-reliability-tests-012345"
FIRST = 10
FAILURES = 5
APP_TIMEOUT_S = 3.0
MOST_ROUNDS = 20


async def hang_or_fail(seen: Seen) -> None:
    """Hang, but answer 500 to those who ask for a failure."""
    if b"fail" in seen.message.body:
        seen.write(whole(b'{"error": {"message": "no"}}', 500, JSON))
    else:
        await hang(seen)


class Callers:
    """Callers of one canary, each on a thread and a connection of its own, JSON and streams by turns."""

    def __init__(self, stage: Stage, name: str, pool: ThreadPoolExecutor) -> None:
        self.stage, self.name, self._pool = stage, name, pool
        self.candidates = stage.users("candidate", name, 0.2, "c")
        self.baselines = stage.users("baseline", name, 0.2, "b")

    def start(self, users: Iterator[str], count: int, text: str = "hello") -> list[Future[Answer]]:
        return [
            self._pool.submit(self.ask, user, number % 2 == 1, text)
            for number, user in enumerate(islice(users, count))
        ]

    def ask(self, user: str, stream: bool, text: str) -> Answer:
        return ask(self.stage.server.traffic, chat(self.name, user, stream=stream, text=text))

    def warm(self) -> list[str]:
        """Users of the baseline are answered, so that its times are known; the ids of their exchanges."""
        answers = [each.result() for each in self.start(self.baselines, 2 * FEWEST)]
        assert {each.status for each in answers} == {200}
        return [each.first("x-canary-exchange") for each in answers]

    def give_up(self, user: str, stream: bool) -> None:
        """Ask, and leave unless there is an answer within the app's timeout."""
        document = chat(self.name, user, stream=stream)
        with connected(self.stage.server.traffic) as line, suppress(TimeoutError):
            line.sendall(request(self.stage.server.traffic, document))
            line.settimeout(APP_TIMEOUT_S)
            receive(line)

    def rolled_back(self) -> bool:
        return bool(self.stage.status(self.name)["state"] == "rolled_back")

    def rule(self) -> str:
        """The rule that rolled the candidate back."""
        (found,) = self.stage.api("GET", f"/api/canaries/{self.name}/rollbacks").json()
        return str(found["rule"])

    def hanging(self, count: int) -> None:
        """Wait until so many requests hang at the candidate."""
        eventually(lambda: len([each for each in self.reached() if each.left_at is None]) >= count)

    def reached(self) -> list[Seen]:
        """What reached the candidate."""
        return [each for each in self.stage.provider.of("hanging") if each.model == f"{self.name}-candidate"]  # type: ignore[attr-defined]

    def answered(self, waiting: Sequence[Future[Answer]]) -> list[str]:
        """The ids of the exchanges, once the baseline has answered each of them whole."""
        expected = {document(f"{self.name}-baseline"), b"".join(events(f"{self.name}-baseline"))}
        answers = [each.result() for each in waiting]
        assert {(each.status, each.ending) for each in answers} == {(200, "clean")}
        assert {each.body for each in answers} == expected
        assert {each.first("x-canary-served-by") for each in answers} == {"baseline"}
        return [each.first("x-canary-exchange") for each in answers]

    def causes(self, ids: Sequence[str]) -> set[tuple[str, str]]:
        """How these exchanges ended by their outcomes."""
        rows = [self.stage.outcome(each) for each in ids]
        return {(row["outcome"], row["error_type"]) for row in rows}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    plays = {"baseline": answer, "hanging": hang_or_fail}
    with rigged(tmp_path_factory.mktemp("r25"), CONFIG, plays, env={"CANARY_SECRET": SECRET}) as stage:
        yield stage


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2 * FIRST) as pool:
        yield pool


def test_after_a_persons_rollback_nobody_waits(stage: Stage, pool: ThreadPoolExecutor) -> None:
    callers = Callers(stage, "by-hand", pool)
    waiting = callers.start(callers.candidates, FIRST)
    callers.hanging(FIRST)
    ordered = time.monotonic()
    assert stage.canary("rollback", "by-hand", "--reason", "it hangs").returncode == 0
    ids = callers.answered(waiting)
    took = time.monotonic() - ordered
    assert callers.causes(ids) == {("fallback", "breaker_open")}
    eventually(lambda: all(each.left_at is not None for each in callers.reached()))
    print(f"\nR25: {FIRST} of {FIRST} who waited had the baseline's answer {took:.2f} s after the order")


def test_when_the_breaker_opens_nobody_waits(stage: Stage, pool: ThreadPoolExecutor) -> None:
    callers = Callers(stage, "by-breaker", pool)
    waiting = callers.start(callers.candidates, 4)
    callers.hanging(4)
    failed = callers.answered(callers.start(callers.candidates, FAILURES + 1, "fail"))
    ids = callers.answered(waiting)
    assert callers.causes(ids) == {("fallback", "breaker_open")}
    assert ("fallback", "provider_5xx") in callers.causes(failed)


def test_when_patience_is_over_the_baseline_answers(stage: Stage, pool: ThreadPoolExecutor) -> None:
    callers = Callers(stage, "patient", pool)
    began = time.monotonic()
    waiting = callers.start(callers.candidates, FIRST)
    callers.hanging(FIRST)
    quick = callers.warm()
    plan = stage.server.data / "plan.json"
    known = eventually(lambda: (read := read_document(plan, States)) and read.patience.get("patient"))
    assert known == {"chat/json": LEAST_S, "chat/stream": LEAST_S}
    ids = callers.answered(waiting)
    took = time.monotonic() - began
    causes = callers.causes(ids)
    assert ("fallback", "provider_timeout") in causes
    assert causes <= {("fallback", "provider_timeout"), ("fallback", "breaker_open")}
    assert_told(stage, ids, quick)
    print(f"\nR25: {FIRST} of {FIRST} had the baseline's answer after {took:.1f} s")


def test_at_default_settings_the_candidate_is_rolled_back_and_its_callers_are_answered(
    stage: Stage, pool: ThreadPoolExecutor
) -> None:
    callers = Callers(stage, "by-default", pool)
    callers.warm()
    began = time.monotonic()
    waiting = callers.start(callers.candidates, FIRST)
    ids = callers.answered(waiting)
    answered = time.monotonic() - began
    eventually(callers.rolled_back)
    rolled_back = time.monotonic() - began
    assert callers.causes(ids) <= {("fallback", "provider_timeout"), ("fallback", "breaker_open")}
    print(
        f"\nR25: at default settings {FIRST} of {FIRST} had the baseline's answer after {answered:.1f} s, "
        f"rolled back by {callers.rule()} after {rolled_back:.1f} s (target 60 s)"
    )


def test_of_callers_who_give_up_the_candidate_is_rolled_back_too(
    stage: Stage, pool: ThreadPoolExecutor
) -> None:
    callers = Callers(stage, "given-up", pool)
    callers.warm()
    began, rounds = time.monotonic(), 0
    while not callers.rolled_back():
        rounds += 1
        assert rounds <= MOST_ROUNDS
        users = islice(callers.candidates, FIRST)
        for gone in [pool.submit(callers.give_up, user, place % 2 == 1) for place, user in enumerate(users)]:
            gone.result()
    print(
        f"\nR25: with callers who give up after {APP_TIMEOUT_S:g} s rolled back by {callers.rule()} "
        f"after {time.monotonic() - began:.1f} s (target 60 s), {rounds * FIRST} requests"
    )


def assert_told(stage: Stage, slow: Sequence[str], quick: Sequence[str]) -> None:
    """In the spool, each slow exchange is told in flight and then ends; the others have an outcome only."""
    reader, told = SpoolReader(stage.server.data / "spool", quarantine=False), dict[str, list[Record]]()

    def all_there() -> bool:
        for record in reader.read(10_000).records():
            if isinstance(record, Outcome | InFlight):
                told.setdefault(record.exchange_id, []).append(record)
        return {*slow, *quick} <= told.keys() and all(type(told[each][-1]) is Outcome for each in slow)

    eventually(all_there)
    for name in slow:
        first, *more, last = told[name]
        assert (type(first), type(last)) == (InFlight, Outcome)
        assert isinstance(first, InFlight)
        assert (first.canary, first.arm, first.reason) == ("patient", "candidate", "cohort")
        assert (first.ttft_s, first.error_type) == (None, None)
        assert (
            len(more) <= 2
        )  # the candidate's failure, the baseline's first token: where a look falls between
    assert all([type(each) for each in told[name]] == [Outcome] for name in quick)
