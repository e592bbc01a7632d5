"""The checker's process: what it finds, what it never does, and how a check that runs away ends."""

import asyncio
import json
import socket
import sys
from collections.abc import Callable
from typing import Any

import pytest

from proxy.attempts import checker_process
from proxy.attempts.checker import LONGEST_JOB, MOST_REMEMBERED, MOST_WAITING, Checker, _Waiting
from proxy.attempts.checker_process import CheckJob, CheckResult, as_json_schema
from proxy.attempts.checker_process import result as done
from tests.servers.ports import free_port

Run = Callable[[Any], Any]
PATIENT_S = 20.0
PROCESS = (sys.executable, "-P", "-m", "proxy.attempts.checker_process")
RUNAWAY = "(?:(?:a+)+)+$"
"""A pattern of Python's that takes longer than anybody waits."""
NEVER = CheckJob(text="a" * 64 + "!", patterns=(RUNAWAY,))


def check(schema: Any, value: Any, *, openapi: bool = False) -> CheckJob:
    return CheckJob([(openapi, json.dumps(schema).encode(), json.dumps(value).encode())])


def verdict(schema: Any, value: Any, *, openapi: bool = False) -> bool | None:
    return done(check(schema, value, openapi=openapi)).verdicts[0]


def test_a_value_fits_its_schema_or_not() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    assert verdict(schema, {"n": 1}) is True
    assert verdict(schema, {"n": "1"}) is False
    assert verdict(schema, {}) is False
    assert verdict({"$schema": "http://json-schema.org/draft-07/schema#", "type": "string"}, 1) is False
    assert verdict({"type": "string", "format": "email"}, "nobody") is True  # formats are not checked


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"properties": 7},
        {"pattern": "("},
        {"$schema": "https://example.com/my-own-schema"},
        7,
        "text",
    ],
)
def test_a_schema_that_is_none_judges_nothing(schema: Any) -> None:
    assert verdict(schema, "a") is None


def test_a_schema_that_nests_too_deeply_judges_nothing() -> None:
    deep = b'{"not":' * 5000 + b"{}" + b"}" * 5000
    assert done(CheckJob([(False, deep, b"1")])).verdicts == [None]


def test_nothing_outside_a_schema_is_fetched() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port()))
        listener.listen()
        listener.setblocking(False)
        host, port = listener.getsockname()
        assert verdict({"$ref": f"http://{host}:{port}/schema"}, 1) is None
        assert verdict({"$schema": f"http://{host}:{port}/schema"}, 1) is None
        assert verdict({"$ref": "file:///etc/hostname"}, 1) is None
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_geminis_schemas_are_translated() -> None:
    schema = {
        "type": "OBJECT",
        "properties": {
            "tags": {"type": "ARRAY", "items": {"type": "STRING"}, "maxItems": "2"},
            "size": {"type": "NUMBER", "nullable": True},
            "unit": {"anyOf": [{"type": "STRING", "enum": ["m"]}, {"type": "TYPE_UNSPECIFIED"}]},
        },
        "required": ["tags"],
        "propertyOrdering": ["tags", "size"],
        "example": {"tags": []},
    }
    assert verdict(schema, {"tags": ["a"], "size": None, "unit": 3}, openapi=True) is True
    assert verdict(schema, {"tags": ["a", "b", "c"]}, openapi=True) is False
    assert verdict(schema, {"tags": [1]}, openapi=True) is False
    assert verdict(schema, {"tags": [], "size": "1"}, openapi=True) is False
    assert verdict({"type": "OBJECT", "maxItems": "many"}, {}, openapi=True) is None
    assert as_json_schema({"type": ["STRING", "NULL"]}) == {"type": ["string", "null"]}


def scene(run: Run, story: Callable[[Checker], Any], **options: Any) -> Any:
    async def play() -> Any:
        checker = Checker(PROCESS, **({"within_s": PATIENT_S} | options))
        try:
            return await story(checker)
        finally:
            checker.close()

    return run(play())


async def first_answer(checker: Checker) -> CheckResult:
    """A result, once a process runs; the first jobs may come before it does."""
    while (result := await checker.run(check({"type": "string"}, "a"))) is None:  # noqa: ASYNC110
        await asyncio.sleep(0.05)  # nothing tells when a process may start again
    return result


def test_many_jobs_at_once_are_answered_each_with_its_own(run: Run) -> None:
    async def story(checker: Checker) -> list[CheckResult | None]:
        await first_answer(checker)
        jobs = [check({"const": number % 2}, number % 3) for number in range(MOST_WAITING)]
        return list(await asyncio.gather(*[checker.run(job) for job in jobs]))

    results = scene(run, story)
    assert [result.verdicts for result in results] == [
        [number % 2 == number % 3] for number in range(MOST_WAITING)
    ]


def test_more_jobs_than_may_wait_are_not_done(run: Run) -> None:
    async def story(checker: Checker) -> tuple[int, int]:
        await first_answer(checker)
        before = checker.not_done
        jobs = [check({"const": 1}, 1)] * (MOST_WAITING + 3)
        results = await asyncio.gather(*[checker.run(job) for job in jobs])
        return results.count(None), checker.not_done - before

    assert scene(run, story) == (3, 3)


def test_a_job_as_long_as_may_be_is_done_and_a_longer_one_is_not(run: Run) -> None:
    async def story(checker: Checker) -> tuple[CheckResult | None, CheckResult | None]:
        await first_answer(checker)
        whole = await checker.run(check({"type": "string"}, "x" * (LONGEST_JOB - 100)))
        return whole, await checker.run(check({"type": "string"}, "x" * LONGEST_JOB))

    whole, longer = scene(run, story)
    assert (whole.verdicts, longer) == ([True], None)


def test_a_job_that_runs_away_is_ended_and_the_next_process_works(run: Run) -> None:
    async def story(checker: Checker) -> tuple[CheckResult | None, list[CheckResult | None], CheckResult]:
        await first_answer(checker)
        away, beside = await asyncio.gather(checker.run(NEVER), checker.run(check({"const": 1}, 1)))
        return away, [beside], await first_answer(checker)

    away, beside, after = scene(run, story)
    assert (away, [each and each.verdicts for each in beside], after.verdicts) == (None, [[True]], [True])


def test_a_late_result_is_not_waited_for_and_not_taken_for_another(run: Run) -> None:
    async def story(checker: Checker) -> tuple[CheckResult | None, CheckResult]:
        await first_answer(checker)
        checker._within_s = 0.0
        late = await checker.run(check({"const": 1}, 2))
        checker._within_s = PATIENT_S
        return late, await first_answer(checker)

    late, after = scene(run, story)
    assert late is None or late.verdicts == [False]
    assert after.verdicts == [True]


def test_a_program_that_cannot_start_leaves_everything_undone(run: Run) -> None:
    async def story() -> list[CheckResult | None]:
        checker = Checker(("/no/such/program",))
        results = [await checker.run(check({}, 1)) for _ in range(3)]
        checker.close()
        return results

    assert run(story()) == [None, None, None]


def test_the_process_ends_with_its_worker(run: Run) -> None:
    async def story(checker: Checker) -> int | None:
        await first_answer(checker)
        process = checker._child._process
        assert process is not None
        checker.close()
        return process.poll()

    assert scene(run, story) is not None


def test_texts_are_redacted_by_the_canarys_own_patterns(run: Run) -> None:
    async def story(checker: Checker) -> CheckResult | None:
        await first_answer(checker)
        return await checker.run(CheckJob(text="customer C-1234, mail a@b.example", patterns=(r"C-\d+",)))

    assert scene(run, story).text == "customer [redacted], mail [email]"


def large(number: int) -> CheckJob:
    """A schema of 9,000 properties, which takes longer to make than a job may."""
    pattern = f"^(a|b{number})+c{{1,9}}$"
    properties = {f"p{each}": {"type": "string", "pattern": pattern} for each in range(9000)}
    return check({"type": "object", "properties": properties}, {})


def test_a_schema_that_ends_the_process_is_remembered_and_others_jobs_are_done_again(run: Run) -> None:
    async def story(checker: Checker) -> tuple[list[CheckResult | None], CheckResult | None, int]:
        await first_answer(checker)
        both = [checker.run(NEVER), *[checker.run(check({"const": n}, n)) for n in range(8)]]
        results = list(await asyncio.gather(*both))
        process = checker._child.pid
        again = await checker.run(NEVER)
        await first_answer(checker)
        assert checker._child.pid == process, "it ended nobody again"
        return results, again, checker.not_done

    results, again, not_done = scene(run, story)
    assert (results[0], again, not_done) == (None, None, 2)
    assert [each and each.verdicts for each in results[1:]] == [[True]] * 8


def test_sixteen_large_schemas_end_no_more_processes_than_there_are_schemas(run: Run) -> None:
    jobs = [large(number) for number in range(16)]
    assert all(len(job.checks[0][1]) < LONGEST_JOB for job in jobs)

    async def story(checker: Checker) -> tuple[int, CheckResult]:
        await first_answer(checker)
        for _ in range(3):
            for job in jobs:
                await checker.run(job)
        return len(checker._fatal), await first_answer(checker)

    fatal, after = scene(run, story)
    assert fatal <= 16
    assert after.verdicts == [True]


def test_what_is_kept_of_schemas_is_bounded_in_bytes() -> None:
    for number in range(40):
        verdict({"type": "string", "title": f"{number}" + "x" * 100_000}, "a")
    assert sum(len(text) for _, text in checker_process._kept) <= checker_process.CACHED_BYTES
    assert len(checker_process._kept) > 1


def test_what_is_remembered_of_fatal_schemas_is_bounded(run: Run) -> None:
    async def story(checker: Checker) -> int:
        for number in range(MOST_REMEMBERED + 10):
            waiting = asyncio.get_running_loop().create_future()
            checker._waiting.append(_Waiting(b"", (b"%d" % number,), waiting))
            checker._died(0)
        return len(checker._fatal)

    assert scene(run, story) == MOST_REMEMBERED
