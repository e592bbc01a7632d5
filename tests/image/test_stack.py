"""The Compose file runs as it is, but for the provider's URL and without Grafana, which is not here."""

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from demo.provider.behaviour import Behaviour
from demo.provider.server import LocalProvider
from tests.grafana.reading import annotations, filled, queries
from tests.image.container import GATEWAY, ROOT, chat, client, status
from tests.image.engine import Engine
from tests.servers.prometheus import Prometheus
from tests.serving import ProviderThread, eventually

pytestmark = [pytest.mark.image, pytest.mark.timeout(900)]

MODEL = "gpt-5.6-terra"
SERVICES = ("traffic", "admin", "postgres", "redis", "prometheus", "alertmanager")
PROMETHEUS = "http://127.0.0.1:9090"
ALERTS = "http://127.0.0.1:9093/api/v2/alerts"


class Stack:
    """The running services, and the provider behind them."""

    def __init__(self, docker: Engine, folder: Path, provider: ProviderThread) -> None:
        self.provider = provider
        self.folder = folder
        self._docker = docker

    def __call__(self, *words: str) -> str:
        """`docker compose WORDS`."""
        return self._docker("compose", *words, cwd=self.folder, within_s=300)

    def canary(self) -> dict[str, Any]:
        """The status of the one canary."""
        (canary,) = self._canaries()
        return canary

    def states(self) -> dict[str, str]:
        """Each canary's state."""
        return {each["name"]: each["state"] for each in self._canaries()}

    def _canaries(self) -> list[dict[str, Any]]:
        """Their status; the command's exit code after a rollback is 5."""
        words = ("compose", "exec", "-T", "admin", "canary", "status", "-o", "json")
        done = self._docker.tried(*words, cwd=self.folder)
        assert done.returncode in (0, 5), done.stderr
        return list(json.loads(done.stdout)["canaries"])


@pytest.fixture(scope="module")
def stack(docker: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    checkout = tmp_path_factory.mktemp("checkout")
    for name in ("deploy", "grafana"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns(".env", "secrets"))
    folder = checkout / "deploy" / "compose"
    with ProviderThread(LocalProvider(host=GATEWAY)) as provider:
        config = folder / "config" / "canary.yaml"
        config.write_text(config.read_text().replace("https://api.openai.com", provider.url))
        stack = Stack(docker, folder, provider)
        subprocess.run(["./setup.sh"], cwd=folder, check=True, capture_output=True, timeout=60)
        try:
            stack("up", "--detach", "--wait", "--wait-timeout=240", *SERVICES)
            yield stack
        finally:
            stack("--profile=watch", "down", "--volumes", "--timeout=20")


@pytest.fixture
def http() -> Iterator[httpx2.Client]:
    with client() as http:
        yield http


def test_all_are_healthy_and_prometheus_sees_both_roles(stack: Stack, http: httpx2.Client) -> None:
    told = [json.loads(line) for line in stack("ps", "--format=json").splitlines()]
    assert {each["Service"]: each["Health"] for each in told} == dict.fromkeys(SERVICES, "healthy")

    def up() -> bool:
        targets = http.get(f"{PROMETHEUS}/api/v1/targets").json()["data"]["activeTargets"]
        return [each["health"] for each in targets] == ["up", "up"]

    eventually(up, within_s=120)


def test_a_token_replaced_by_rename_is_taken(stack: Stack, http: httpx2.Client) -> None:
    file = stack.folder / "secrets" / "canary" / "admin_token"
    old, new = file.read_text(), "another token of more than sixteen bytes"
    fresh = file.with_name("fresh")
    fresh.write_text(new)
    fresh.chmod(0o444)
    fresh.replace(file)
    url = "http://127.0.0.1:8081/api/status"
    eventually(lambda: (status(http, url, new), status(http, url, old)) == (200, 401))


def test_a_candidate_that_fails_is_rolled_back_and_nobody_sees_a_failure(
    stack: Stack, http: httpx2.Client
) -> None:
    stack("exec", "-T", "admin", "canary", "start", "support-nov")
    eventually(lambda: stack.canary()["actual_share"] or stack.canary()["state"] == "running")
    assert {chat(http, f"calm-{number}", MODEL).status_code for number in range(60)} == {200}
    stack.provider.behave("gpt-6.1-terra", Behaviour(faults={"status": 1.0}))
    users = iter(range(1_000_000))

    def rolled_back() -> bool:
        answers = [chat(http, f"user-{next(users)}", MODEL) for _ in range(100)]
        assert {answer.status_code for answer in answers} == {200}
        return bool(stack.canary()["state"] == "rolled_back")

    eventually(rolled_back, within_s=240)


def test_canary_and_prometheus_both_page(stack: Stack, http: httpx2.Client) -> None:
    def paged() -> bool:
        return {"CanaryIncident", "CanaryRolledBack"} <= {
            each["labels"]["alertname"] for each in http.get(ALERTS).json()
        }

    eventually(paged, within_s=240)


def test_every_query_of_the_dashboards_is_answered(stack: Stack) -> None:
    prometheus = Prometheus(PROMETHEUS)
    now = time.time()
    answered = 0
    for asked in [*queries(), *annotations()]:
        expr = filled(asked.expr, canary="support-nov", range_s=600, rate_s=60)
        answered += bool(
            prometheus.at(expr, now) if asked.instant else prometheus.over(expr, now - 600, now, 15)
        )
    prometheus.close()
    assert answered, "each was answered without a series"


@pytest.mark.parametrize("store", ["redis", "postgres"])
def test_requests_are_answered_while_a_store_is_away_and_recorded_when_it_is_back(
    stack: Stack, store: str
) -> None:
    with asked_all_the_time() as answers:
        seen = len(answers)
        stack("stop", store)
        eventually(lambda: len(answers) > seen + 40)
        stack("start", store)
        seen = len(answers)
        eventually(lambda: len(answers) > seen + 40)
    assert set(answers) == {200}
    token = (stack.folder / "secrets" / "metrics" / "token").read_text()
    eventually(lambda: stack.canary()["state"] == "rolled_back")
    eventually(lambda: waiting(stack, token) == 0, within_s=120)


STANDING = """\
  - name: next
    standing: true
    match: {models: [support-bot]}
    baseline: {provider: openai, model: gpt-old}
    candidate: {provider: openai}
    share: 5%
    settle: 0s
    start: manual
    rubric:
      - {metric: error_rate, acceptable: "< 2%", ideal: "< 1%", weight: 1, question: "Do answers arrive?"}
datasets: {sums: {file: sums.jsonl, layer: synthetic}}
prices: {gpt-old: {input: 1, output: 2}, gpt-next: {input: 1, output: 2}}
store:"""
SUMS = {f"{n} + 1 = ?": str(n + 1) for n in reversed(range(60))}


def test_a_new_model_is_noticed_begun_and_promoted_and_no_file_is_written(
    stack: Stack, http: httpx2.Client
) -> None:
    config = stack.folder / "config" / "canary.yaml"
    text = config.read_text().replace("\nstore:", f"\n{STANDING}")
    lines = [
        json.dumps({"id": asked, "task": "exact", "input": asked, "expected": said})
        for asked, said in SUMS.items()
    ]
    config.with_name("sums.jsonl").write_text("\n".join(lines))
    config.write_text(text)
    given = {"OPENAI_API_KEY": "sk-any", "CANARY_WATCH_FLAGS": "--bench --begin next --match gpt-next"}
    env = stack.folder / ".env"
    for name, value in given.items():
        env.write_text(env.read_text().replace(f"\n{name}=\n", f"\n{name}={value}\n"))
    stack.provider.behave("gpt-old", Behaviour(says=SUMS))
    stack("--profile", "watch", "up", "--detach", "watch")
    eventually(lambda: stack("exec", "-T", "watch", "ls", "/data").split().count("watch.json"), within_s=120)
    stack.provider.behave("gpt-next", Behaviour(says=SUMS))
    stack("restart", "watch")
    eventually(lambda: stack.states().get("next-gpt-next") == "waiting", within_s=240)

    stack("exec", "-T", "admin", "canary", "start", "next-gpt-next")
    stack("exec", "-T", "admin", "canary", "promote", "next-gpt-next", "--against-verdict", "--reason", "r")
    eventually(lambda: served(stack, http) == {"gpt-next"})
    stack("restart")
    eventually(lambda: status(http, "http://127.0.0.1:8080/readyz") == 200, within_s=120)
    assert served(stack, http) == {"gpt-next"}
    assert "model: gpt-next" in stack("exec", "-T", "watch", "canary", "show", "next")
    for name in ("traffic", "admin", "watch"):
        assert stack("exec", "-T", name, "grep", " /etc/canary ", "/proc/mounts").split()[3].startswith("ro,")
    assert config.read_text() == text


def served(stack: Stack, http: httpx2.Client) -> set[str]:
    """The models that users of the app get."""
    before = len(stack.provider.log.entries)
    assert {chat(http, f"user-{number}", "support-bot").status_code for number in range(20)} == {200}
    return {each.model for each in stack.provider.log.entries[before:]}


def waiting(stack: Stack, token: str) -> float:
    """Records that the traffic container has not stored yet."""
    ask = f"""import urllib.request as r
asked = r.Request("http://127.0.0.1:8081/metrics", headers={{"authorization": "Bearer {token}"}})
print(r.urlopen(asked).read().decode())"""
    lines = stack("exec", "-T", "traffic", "python", "-c", ask).splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("canary_records_spooled"))


@contextmanager
def asked_all_the_time() -> Iterator[list[int]]:
    """The statuses of requests that a thread sends one after the other, within the block."""
    answers: list[int] = []
    over = threading.Event()

    def ask() -> None:
        with client() as http:
            while not over.is_set():
                answers.append(chat(http, f"always-{len(answers)}", MODEL).status_code)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield answers
    finally:
        over.set()
        asking.join(90)
