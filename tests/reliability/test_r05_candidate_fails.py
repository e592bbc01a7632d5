"""R5: however a candidate fails before its first byte, the baseline answers; its breaker opens, it is rolled
back, and one page says so.

Users are mixed one of the candidate's to four of the baseline's, as a share of 20 % has them.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import cycle, islice

import pytest

from tests.e2e.receivers import Hook, listening_hook
from tests.e2e.stage import Stage, chat
from tests.reliability.answers import (
    DONE,
    JSON,
    Play,
    answer,
    document,
    events,
    hang,
    reset,
    saying,
    stream,
    whole,
)
from tests.reliability.callers import Answer, ask
from tests.reliability.fault_provider import Seen
from tests.reliability.rig import rigged
from tests.serving import eventually

CONFIG = """
providers:
  openai: {api: openai, base_url: "<baseline>/v1"}
PROVIDERS
canaries:
CANARIES
notify: [{webhook: "HOOK"}]
"""
PROVIDER = '  to-NAME: {api: openai, base_url: "URL/v1", api_key: sk-candidate}\n'
CANARY = """
  - name: NAME
    match: {models: [NAME]}
    baseline: {provider: openai, model: NAME-baseline}
    candidate: {provider: to-NAME, model: NAME-candidate, timeout: {first_byte: LIMIT, total: LIMIT}}
    share: 20%
"""
NOBODY = "http://127.0.0.1:1"
HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
ERROR = b'data: {"error": {"message": "overloaded", "type": "server_error", "code": null}}\n\n'
FAULTS: dict[str, tuple[Play | None, str, tuple[bool, ...]]] = {
    # name: (what the candidate does, its error_type, streams or documents or both)
    "refused": (None, "provider_connect", (False, True)),
    "reset": (reset, "provider_reset", (False, True)),
    "error-500": (saying(whole(b'{"error": {"message": "no"}}', 500)), "provider_5xx", (False, True)),
    "limited-429": (saying(whole(b'{"error": {"message": "slow"}}', 429)), "provider_429", (False, True)),
    "hang": (hang, "provider_timeout", (False, True)),
    "html": (saying(whole(HTML, 200, b"content-type: text/html\r\n")), "provider_malformed", (False, True)),
    "bad-json": (saying(whole(b'{"choices": [', 200, JSON)), "provider_malformed", (False,)),
    "empty-200": (saying(whole(b"")), "provider_malformed", (False, True)),
    "sse-error": (saying(stream([ERROR, DONE])), "provider_stream_error", (True,)),
}  # fmt: skip
DIES = "dies"
"""Another canary: its candidate answers 35 times before it answers 500."""
GOOD_ANSWERS = 35
FEW_S = 15.0
AT_ONCE = 8
AFTERWARDS = 8
MOST = 400
SECRET = "a-secret-of-the-reliability-tests-012345"


def canary(name: str) -> str:
    """The canary of one fault; only what hangs is too late."""
    return CANARY.replace("NAME", name).replace("LIMIT", "2s" if name == "hang" else "60s")


@dataclass
class Course:
    """What happened to one canary."""

    name: str
    answers: list[tuple[bool, Answer]] = field(default_factory=list)
    took_s: float = 0.0


@dataclass
class Scene:
    stage: Stage
    hook: Hook
    courses: dict[str, Course]
    dead: threading.Event


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    dead = threading.Event()

    async def dies(seen: Seen) -> None:
        await (saying(whole(b'{"error": {"message": "no"}}', 500)) if dead.is_set() else answer)(seen)

    plays = {name: play for name, (play, _, _) in FAULTS.items() if play} | {DIES: dies}
    with ExitStack() as stack:
        hook = stack.enter_context(listening_hook())
        providers = "".join(
            PROVIDER.replace("NAME", name).replace("URL", f"<{name}>" if name in plays else NOBODY)
            for name in (*FAULTS, DIES)
        )
        config = CONFIG.replace("PROVIDERS", providers).replace("HOOK", hook.url)
        config = config.replace("CANARIES", "".join(map(canary, (*FAULTS, DIES))))
        folder = tmp_path_factory.mktemp("r05")
        stage = stack.enter_context(
            rigged(folder, config, {"baseline": answer} | plays, env={"CANARY_SECRET": SECRET})
        )
        stage.provider.log.clear()  # the preflights'
        with ThreadPoolExecutor(len(FAULTS)) as pool:
            courses = list(pool.map(lambda name: run(stage, name), FAULTS))
        yield Scene(stage, hook, {course.name: course for course in courses}, dead)


def run(stage: Stage, name: str) -> Course:
    """Ask until the candidate is rolled back and a little longer, a few at once."""
    course, lock, began = Course(name), threading.Lock(), time.monotonic()
    candidates, baselines = (stage.users(arm, name, 0.2, arm[0]) for arm in ("candidate", "baseline"))
    crowd = enumerate(user for first in candidates for user in (first, *islice(baselines, 4)))
    kinds = FAULTS[name][2]

    def one() -> None:
        with lock:
            number, user = next(crowd)
        streaming = kinds[(number // 5) % len(kinds)]
        told = ask(stage.server.traffic, chat(name, user, stream=streaming, text=str(number)))
        with lock:
            course.answers.append((streaming, told))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done in [pool.submit(one) for _ in range(50)]:
            done.result()
        while stage.status(name)["state"] != "rolled_back" and len(course.answers) < MOST:
            one()
        course.took_s = time.monotonic() - began
        for done in [pool.submit(one) for _ in range(AFTERWARDS)]:
            done.result()
    return course


@pytest.mark.parametrize("name", FAULTS)
def test_every_answer_is_the_baselines_whole_and_verbatim(scene: Scene, name: str) -> None:
    course = scene.courses[name]
    expected = {False: document(f"{name}-baseline"), True: b"".join(events(f"{name}-baseline"))}
    for streaming, told in course.answers:
        assert (told.status, told.ending) == (200, "clean")
        assert told.body == expected[streaming]
    covered = [told for _, told in course.answers if told.first("x-canary-served-by") == "baseline"]
    candidates = [told for _, told in course.answers if told.first("x-canary-arm") == "candidate"]
    assert len(covered) == len(candidates) >= 5
    print(f"\nR5 {name}: {len(course.answers)} of {len(course.answers)} answers the baseline's, "
          f"{len(candidates)} of them for the candidate's users")  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_the_breaker_opens_and_spares_the_candidate(scene: Scene, name: str) -> None:
    answers = scene.courses[name].answers
    ids = {told.first("x-canary-exchange") for _, told in answers}

    def recorded() -> list[dict[str, object]] | None:
        rows = [row for row in scene.stage.outcomes() if row["exchange_id"] in ids]
        return rows if len(rows) == len(ids) else None

    rows = [row for row in eventually(recorded) if row["arm"] == "candidate"]
    why = Counter(str(row["error_type"]) for row in rows)
    assert {row["outcome"] for row in rows} == {"fallback"}
    assert {*why} - {"breaker_open"} == {FAULTS[name][1]}
    failed = why[FAULTS[name][1]]
    asked = sum(json.loads(str(row["attempts"]))[0]["arm"] == "candidate" for row in rows)
    # Those that waited when the breaker opened were taken from the candidate, some before they were sent.
    assert failed <= asked <= failed + AT_ONCE
    reached = len(scene.stage.provider.of(name)) if FAULTS[name][0] else asked
    assert failed <= reached <= asked
    # What hangs counts while it waits: the rollback may come first, and take it before the fifth fails.
    opens = failed >= 5 or name != "hang"
    assert (failed if opens else asked) >= 5
    assert failed <= 5 + AT_ONCE
    metrics = scene.stage.api("GET", "/metrics").text
    assert f'canary_breaker_open{{canary="{name}"}} {float(opens)}' in metrics
    print(f"\nR5 {name}: breaker open after {reached} attempts, {why['breaker_open']} kept back")


@pytest.mark.parametrize("name", FAULTS)
def test_the_candidate_is_rolled_back_with_exactly_one_page(scene: Scene, name: str) -> None:
    stage, hook = scene.stage, scene.hook
    assert stage.status(name)["state"] == "rolled_back"
    (page,) = eventually(lambda: hook.events(name, "page"))
    eventually(lambda: [each for each in hook.events(name) if "was rolled" in each["done"]])
    assert len(hook.events(name, "page")) == 1
    actions = [each["action"] for each in stage.api("GET", "/api/audit").json() if each["canary"] == name]
    assert actions.count("rollback") == 1
    course = scene.courses[name]
    print(
        f"\nR5 {name}: rolled back by {page['rules'][0]} {course.took_s:.1f} s after the first request, "
        "one page"
    )


def test_one_page_each_and_no_other(scene: Scene) -> None:
    pages = [body for body in scene.hook.bodies if body["event"] == "page"]
    assert Counter(page["canary"] for page in pages) == dict.fromkeys(FAULTS, 1), json.dumps(pages)


def test_a_candidate_that_dies_after_good_answers_is_rolled_back_before_its_breaker_starves_the_rules(
    scene: Scene,
) -> None:
    stage = scene.stage
    users = [stage.users(arm, DIES, 0.2, arm[0]) for arm in ("candidate", *["baseline"] * 4)]
    crowd = (next(each) for each in cycle(users))

    def asked() -> Answer:
        return ask(stage.server.traffic, chat(DIES, next(crowd), text="hello"))

    while len(stage.provider.of(DIES)) < GOOD_ANSWERS:
        assert asked().status == 200
    scene.dead.set()
    died = time.monotonic()

    def rolled_back() -> bool:
        assert {asked().status for _ in users} == {200}
        return stage.status(DIES)["state"] == "rolled_back"

    eventually(rolled_back, within_s=FEW_S)
    failed = len(stage.provider.of(DIES)) - GOOD_ANSWERS
    print(f"\nR5 {DIES}: rolled back {time.monotonic() - died:.1f} s after its end, {failed} failures")
