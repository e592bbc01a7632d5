"""What `canary serve` records of faulty answers, as it stands in the spool."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx2

from demo.provider.behaviour import Behaviour
from records.outcome import Outcome
from records.spool.frame import scan
from tests.serving import ProviderThread, Running, eventually

CONFIG = """
providers: {{openai: {{api: openai, base_url: "{url}/v1"}}}}
canaries:
  - name: support
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: old}}
    candidate: {{provider: openai, model: new}}
    share: 100%
    guardrails: []
"""
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}
KEY = "caller-secret-0123456789"


@contextmanager
def readers_stopped(server: Running) -> Iterator[None]:
    """Stop the admin process meanwhile, so that it ships nothing and deletes no file of the spool."""
    (admin,) = server.children_of("canary.programs.controller")
    os.kill(admin, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(admin, signal.SIGCONT)


def spooled(server: Running) -> list[Outcome]:
    """The outcomes in the spool's files, in their order."""
    files = sorted((server.data / "spool").glob("*"))
    frames = [scan(file.read_bytes(), limit=100_000, final=False).records for file in files if file.is_file()]
    return sorted(
        [record for part in frames for record in part if isinstance(record, Outcome)],
        key=lambda one: one.mono,
    )


def ask(server: Running, **more: object) -> httpx2.Response:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}], "user": "u", **more}
    headers = {"authorization": f"Bearer {KEY}"}
    return httpx2.post(f"{server.traffic}/v1/chat/completions", json=body, headers=headers, timeout=30.0)


def newest(server: Running, answer: httpx2.Response) -> Outcome:
    wanted = answer.headers["x-canary-exchange"]
    return eventually(lambda: next((one for one in spooled(server) if one.exchange_id == wanted), None))


def test_faults_and_words_stand_in_the_record(
    provider: ProviderThread, serve: Callable[..., Running]
) -> None:
    server = serve(CONFIG.format(url=provider.url), workers=1)
    with readers_stopped(server):
        for stream in (False, True):
            provider.behave("new", Behaviour(answer_faults={"spent": 1.0}))
            outcome = newest(server, ask(server, stream=stream))
            assert (outcome.finish, outcome.faults) == ("length", ("cut_off", "empty"))
            assert outcome.output_check == ""

            provider.behave("new", Behaviour(answer_faults={"tool_args_off_schema": 1.0}))

            def judged(stream: bool = stream) -> Outcome | None:
                """A check may come too late on a busy machine; then it is not judged, and asked again."""
                outcome = newest(server, ask(server, stream=stream, tools=[TOOL]))
                assert outcome.faults == (
                    ("tool_args_off_schema",) if outcome.output_check == "judged" else ()
                )
                return outcome if outcome.output_check == "judged" else None

            assert eventually(judged).finish == "tool_calls"

        provider.behave("new", Behaviour(rejects=("messages",)))
        answer = ask(server)
        outcome = newest(server, answer)
        assert (answer.status_code, outcome.outcome, outcome.finish) == (200, "fallback", None)
        assert outcome.provider_error is not None
        assert outcome.provider_error.param == "messages"
        assert KEY not in repr(spooled(server))
