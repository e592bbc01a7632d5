"""`canary preflight` asks the candidate before any user does, as the proxy would."""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from canary.cli import app
from demo.provider.behaviour import Behaviour
from demo.provider.connection import sealed
from tests.serving import ProviderThread

CONFIG = """
providers:
  it: {{api: {api}, base_url: "{url}"{key}}}
canaries:
  - name: trial
    match: {match}
    baseline: {{provider: it, model: old}}
    candidate: {{provider: it, model: new}}
    share: 5%
"""
ROOTS = {"openai": "/v1", "anthropic": "", "gemini": ""}
KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY")
MESSAGES = [{"role": "user", "content": "hi"}]


def preflight(
    folder: Path,
    provider: ProviderThread,
    *words: str,
    name: str = "trial",
    lines: str | None = None,
    api: str = "openai",
    match: str = "{models: [m]}",
    key: str = ", api_key: sk-it",
    **environment: str,
) -> Result:
    config = folder / "canary.yaml"
    config.write_text(CONFIG.format(api=api, url=provider.url + ROOTS[api], match=match, key=key))
    if lines is not None:
        (folder / "requests.jsonl").write_text(lines)
        words = (*words, "--from", str(folder / "requests.jsonl"))
    env = {**dict.fromkeys(KEYS), **environment}
    return CliRunner().invoke(app, ["preflight", name, "--config", str(config), *words], env=env)


def result(done: Result) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def chat(**members: Any) -> str:
    return json.dumps({"model": "m", "messages": MESSAGES, **members})


def test_a_candidate_that_takes_all_ends_with_zero(tmp_path: Path, provider: ProviderThread) -> None:
    done = preflight(tmp_path, provider, "-o", "json", lines=f"{chat()}\n{chat(temperature=0.2)}\n")
    assert done.exit_code == 0, done.output
    assert result(done) == {"canary": "trial", "asked": 2, "taken": 2, "refused": 0, "refusals": []}
    (said,) = done.stderr.splitlines()
    assert said.startswith("warning: ") and "trial" in said and "price" in said, said
    assert Counter(each.model for each in provider.log.entries) == {"new": 2}
    sent = provider.log.entries[0]
    assert sent.credentials == {"authorization": "Bearer sk-it"}
    assert sorted(each.json.get("temperature", 0) for each in provider.log.entries) == [0, 0.2]  # type: ignore[type-var]


def test_kinds_of_refusal_have_the_provider_s_words_and_their_count(
    tmp_path: Path, provider: ProviderThread
) -> None:
    provider.behave("new", Behaviour(rejects=("logprobs", "seed")))
    lines = "\n".join([chat(seed=1), chat(seed=2), chat(logprobs=True), chat()])
    done = preflight(tmp_path, provider, "-o", "json", lines=lines)
    assert done.exit_code == 3, done.output
    found = result(done)
    assert (found["asked"], found["taken"], found["refused"]) == (4, 1, 3)
    told = {each["message"]: each for each in found["refusals"]}
    seed = told["Unsupported parameter: 'seed' is not supported with this model."]
    assert (seed["operation"], seed["status"], seed["count"]) == ("/chat/completions", 400, 2)
    assert seed["request"] == {"rename": {}, "remove": ["seed"]}
    assert [each[:4] for each in seed["request_ids"]] == ["req_", "req_"]
    logprobs = told["Unsupported parameter: 'logprobs' is not supported with this model."]
    assert (logprobs["count"], logprobs["request"]["remove"]) == (1, ["logprobs"])


def test_a_path_of_its_own_is_asked_there(tmp_path: Path, provider: ProviderThread) -> None:
    lines = json.dumps({"path": "/v1/responses", "body": {"model": "m", "input": "hi", "stream": True}})
    assert preflight(tmp_path, provider, lines=lines).exit_code == 0
    assert [(each.target, each.model) for each in provider.log.entries] == [("/v1/responses", "new")]


@pytest.mark.parametrize(("api", "operations"), [("openai", 3), ("anthropic", 2), ("gemini", 3)])
def test_without_requests_each_operation_is_asked_once(
    tmp_path: Path, provider: ProviderThread, api: str, operations: int
) -> None:
    """The demo provider lacks one operation of two APIs, for the baseline too."""
    done = preflight(tmp_path, provider, "-o", "json", api=api)
    assert done.exit_code == 0, done.output
    assert (result(done)["asked"], result(done)["taken"]) == (operations, operations)
    missing = api != "anthropic"
    asked = Counter(each.model for each in provider.log.entries)
    assert asked == ({"new": operations + 1, "old": 1} if missing else {"new": operations})
    assert ("does not count: the baseline refuses it too" in done.stdout) == missing


def test_only_operations_of_the_match_are_asked(tmp_path: Path, provider: ProviderThread) -> None:
    provider.behave("new", Behaviour(rejects=("input",)))
    done = preflight(tmp_path, provider, match="{paths: [/v1/chat/completions]}")
    assert done.exit_code == 0, done.output
    assert [each.target for each in provider.log.entries] == ["/v1/chat/completions"]


@pytest.mark.parametrize("faults", [{"status": 1.0}, {"reset": 1.0}, {"empty": 1.0}])
def test_a_fault_is_neither_taken_nor_refused(
    tmp_path: Path, provider: ProviderThread, faults: dict[Any, float]
) -> None:
    provider.behave("new", Behaviour(faults=faults, status=429))
    done = preflight(tmp_path, provider, "-o", "json", lines=chat())
    assert done.exit_code == 1
    found = result(done)
    assert (found["asked"], found["taken"], found["refused"]) == (1, 0, 0)
    assert [each["count"] for each in found["failed"]] == [1]


def test_without_a_credential_nothing_can_be_asked(tmp_path: Path, provider: ProviderThread) -> None:
    done = preflight(tmp_path, provider, key="")
    assert done.exit_code == 1
    assert "no key for it: set OPENAI_API_KEY, or api_key in the config" in done.stderr
    assert provider.log.entries == []
    assert preflight(tmp_path, provider, key="", OPENAI_API_KEY="sk-env").exit_code == 0
    assert {each.credentials["authorization"] for each in provider.log.entries} == {"Bearer sk-env"}


@pytest.mark.parametrize(
    ("words", "says"),
    [({"name": "other"}, "no canary 'other'; it has: trial"), ({"lines": "[]"}, "line 1 is not a request")],
)
def test_wrong_usage_ends_with_two(
    tmp_path: Path, provider: ProviderThread, words: dict[str, str], says: str
) -> None:
    done = preflight(tmp_path, provider, **words)  # type: ignore[arg-type]
    assert done.exit_code == 2
    assert says in done.stderr


def test_one_run_gives_every_line_that_is_needed(tmp_path: Path, provider: ProviderThread) -> None:
    """The provider names one member at a time."""
    provider.behave("new", Behaviour(rejects=("max_tokens", "temperature", "top_p")))
    lines = "\n".join([chat(max_tokens=5, temperature=0.2), chat(max_tokens=9), chat(max_tokens=5, top_p=1)])
    done = preflight(tmp_path, provider, "-o", "json", lines=lines)
    assert done.exit_code == 3, done.output
    (kind,) = result(done)["refusals"]
    assert kind["count"] == 3
    assert "Use 'max_completion_tokens' instead." in kind["message"]
    assert kind["request"]["rename"] == {"max_tokens": "max_completion_tokens"}
    assert sorted(kind["request"]["remove"]) == ["temperature", "top_p"]
    assert kind["asked_again"]["taken"] is True
    assert len(kind["asked_again"]["refused"]) == 2

    text = preflight(tmp_path, provider, lines=lines).stdout
    assert "trial: 0 of 3 requests taken, 3 refused" in text
    assert "      rename: {max_tokens: max_completion_tokens}\n      remove: [temperature, top_p]\n" in text
    assert "asked again with these lines: taken" in text

    config = tmp_path / "canary.yaml"
    cured = "candidate: {provider: it, model: new, request: {rename: {max_tokens: max_completion_tokens}, "
    changed = config.read_text().replace(
        "candidate: {provider: it, model: new", cured + "remove: [temperature, top_p]}"
    )
    config.write_text(changed)
    requests = str(tmp_path / "requests.jsonl")
    again = CliRunner().invoke(app, ["preflight", "trial", "--config", str(config), "--from", requests])
    assert again.exit_code == 0, again.output


def test_what_no_line_cures_is_said(tmp_path: Path, provider: ProviderThread) -> None:
    provider.behave("new", Behaviour(rejects=("messages",)))
    done = preflight(tmp_path, provider, lines=chat())
    assert done.exit_code == 3
    assert "the refusal names no member of the request" in done.stdout
    assert len(provider.log.entries) == 1


def test_state_that_only_the_baselines_account_reads_does_not_count(
    tmp_path: Path, provider: ProviderThread
) -> None:
    api = f'api: anthropic, base_url: "{provider.url}"'
    config = tmp_path / "canary.yaml"
    config.write_text(
        "providers:\n"
        f"  one: {{{api}, api_key: sk-baseline}}\n"
        f"  two: {{{api}, api_key: sk-candidate}}\n"
        "canaries:\n- {name: trial, match: {models: [m]}, baseline: {provider: one, model: old},"
        " candidate: {provider: two, model: new}, share: 5%}\n"
    )
    thought = {"type": "thinking", "thinking": "x", "signature": sealed("sk-baseline", "x")}
    said = [*MESSAGES, {"role": "assistant", "content": [thought]}, *MESSAGES]
    requests = tmp_path / "requests.jsonl"
    requests.write_text("\n".join(chat(max_tokens=9, messages=each) for each in (said, MESSAGES)))
    words = ["preflight", "trial", "--config", str(config), "--from", str(requests), "-o", "json"]
    done = CliRunner().invoke(app, words, env=dict.fromkeys(KEYS))
    assert done.exit_code == 0, done.output
    found = result(done)
    assert (found["asked"], found["taken"], found["refused"]) == (1, 1, 0)
    assert found["notes"][-1] == "1 that carry state of the baseline's account do not count"
    assert Counter(each.model for each in provider.log.entries) == {"new": 2}


SAYS = {"type": "message", "content": [{"type": "output_text", "text": "pong"}]}
ANSWERED = {"object": "response", "status": "completed", "output": [SAYS]}


@contextmanager
def hanging(theirs: int, ours: int) -> Iterator[str]:
    """A provider whose chat hangs for `new`. /responses has these statuses for `old` and `new`, and
    /embeddings 404 and 503."""
    over = threading.Event()
    answer = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "pong"}}]}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            is_new = asked["model"] == "new"
            status, said = 404, {"error": {"message": "Not Found"}}
            if self.path == "/v1/chat/completions":
                if is_new:
                    over.wait(60)
                status, said = 200, answer
            elif self.path == "/v1/responses":
                status = ours if is_new else theirs
                said = ANSWERED if status == 200 else said
            elif self.path == "/v1/embeddings" and is_new:
                status, said = 503, {"error": {"message": "no workers"}}
            body = json.dumps(said).encode()
            with suppress(OSError):
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.05,))
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            over.set()
            server.shutdown()
            serving.join()


@pytest.mark.parametrize(
    ("theirs", "ours", "key", "code", "refused"),
    [
        (200, 404, ", api_key: k", 3, ["✗ 1 × /responses: 404 Not Found"]),
        (404, 404, ", api_key: k", 1, []),
        (404, 404, "", 1, []),
        (200, 200, ", api_key: k", 1, []),
    ],
    ids=["the baseline takes it", "the baseline refuses it", "the baseline has no key", "both take it"],
)
def test_where_chat_hangs_that_is_named_first_and_what_does_not_count_is_not_blamed(
    tmp_path: Path, theirs: int, ours: int, key: str, code: int, refused: list[str]
) -> None:
    config = tmp_path / "canary.yaml"
    with hanging(theirs, ours) as url:
        config.write_text(
            CONFIG.format(api="openai", url=url, match="{models: [m]}", key=key)
            .replace(
                "canaries:",
                f'  ours: {{api: openai, base_url: "{url}", api_key: k, timeout: {{total: 1s}}}}\ncanaries:',
            )
            .replace("candidate: {provider: it,", "candidate: {provider: ours,")
        )
        env = dict.fromkeys(KEYS)
        done = CliRunner().invoke(app, ["preflight", "trial", "--config", str(config)], env=env)
    assert done.exit_code == code, done.output
    said = [each for each in done.stdout.splitlines() if each[:1] in "✗!"]
    assert said[0].startswith("! 1 × /chat/completions: ")
    assert said[1:] == refused
    assert "  /embeddings does not count: " in done.stdout
