"""The image, started as its header says: healthy, serving, draining, keeping its data, tightly limited."""

import asyncio
import json
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from demo.provider.behaviour import Behaviour
from tests.image.build import SIZES
from tests.image.container import KEY, Container, chat, client, streamed
from tests.image.engine import Engine
from tests.serving import ProviderThread, eventually

pytestmark = [pytest.mark.image, pytest.mark.timeout(600)]

Start = Callable[..., Container]

# But for `canary mcp`, whose extra is installed where the assistant runs.
EVERYTHING_IMPORTED = """
import importlib, pathlib, sys
site = pathlib.Path(sys.prefix, "lib/python3.13/site-packages")
rooms = "canary console pages control verdict judge proxy alerts bench records routing common demo"
for room in rooms.split():
    for file in sorted((site / room).rglob("*.py")):
        name = ".".join(file.relative_to(site).with_suffix("").parts).removesuffix(".__init__")
        if not name.endswith(("__main__", "migrations.env")) and not name.startswith("canary.commands.mcp_"):
            importlib.import_module(name)
import azure.identity, google.auth.transport.requests, opentelemetry.sdk.trace, openai
from botocore.session import Session
from pyarrow.fs import AzureFileSystem, GcsFileSystem, S3FileSystem
import pyarrow.parquet, scipy.stats
for service in ("sts", "sso", "sso-oidc"):
    Session().create_client(service, region_name="eu-west-1")
files = [getattr(module, "__cached__", None) for module in sys.modules.values()]
print(*[file for file in files if file and file.startswith(sys.prefix) and not pathlib.Path(file).exists()])
"""


@pytest.fixture
def start(docker: Engine, tmp_path: Path, provider: ProviderThread) -> Iterator[Start]:
    """Starts the container, ready, with more options of `docker run`; its volume goes with the test."""
    tmp_path.chmod(0o755)
    with ExitStack() as started:

        def begun(*options: str) -> Container:
            started.callback(docker.tried, "volume", "rm", "--force", "canary-data")
            started.callback(docker.tried, "rm", "--force", "--volumes", "canary")
            return Container(docker, tmp_path, provider.url, *options).ready()

        yield begun


def test_the_image_is_small_and_a_change_of_code_ships_little(folder: Path) -> None:
    sizes = json.loads((folder / SIZES).read_text())
    assert sizes["above"] < 400e6
    assert sizes["code"] < 30e6


def test_every_module_is_there_and_has_its_bytecode(docker: Engine) -> None:
    assert docker("run", "--rm", "--entrypoint=python", "canary", "-c", EVERYTHING_IMPORTED) == ""


def test_it_turns_healthy_answers_counts_and_takes_feedback(start: Start) -> None:
    container = start()
    container.becomes_healthy()
    with client() as http:
        answers = [chat(http, f"user-{number}") for number in range(20)]
        assert {answer.status_code for answer in answers} == {200}
        given = {"exchange_id": answers[0].headers["x-canary-exchange"], "metric": "csat", "value": 4}
        assert http.post(f"{container.traffic}/canary/feedback", json=given).status_code == 202

        def counted() -> bool:
            lines = http.get(f"{container.admin}/metrics").text.splitlines()
            ok = [line for line in lines if line.startswith("canary_requests_total{") and '"ok"' in line]
            told = [line for line in lines if line.startswith("canary_feedback_total{")]
            return sum(float(line.split()[-1]) for line in ok) == 20 and len(told) == 1

        eventually(counted)


def test_it_drains_on_stop_and_a_restart_keeps_its_data(start: Start, provider: ProviderThread) -> None:
    container = start()
    slow = Behaviour(pace_s=0.25, words=20)
    for model in ("gpt-4o", "gpt-4o-2024-08-06", "gpt-4o-2024-11-20"):
        provider.behave(model, slow)
    with client() as http:
        lines = streamed(http)
        begun = [next(lines)]
        stopping = threading.Thread(target=container.docker, args=("stop", "canary"))
        stopping.start()
        whole = begun + list(lines)
        stopping.join(240)
    assert whole[-1] == "data: [DONE]"
    assert (container.state()["Status"], container.state()["ExitCode"]) == ("exited", 0)

    container.docker("start", "canary")
    container.ready()
    (canary,) = json.loads(container.canary("status", "-o", "json"))["canaries"]
    assert canary["state"] == "running"
    rows = eventually(lambda: container.canary("records", "export").splitlines()[1:])
    assert len(rows) == 1


def test_a_config_and_a_token_that_were_replaced_by_rename_are_taken(start: Start, tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    token = tmp_path / "config" / "feedback_token"
    token.write_text("the first of two tokens")
    container = start("--env=CANARY_FEEDBACK_TOKEN_FILE=/etc/canary/feedback_token")
    replaced(token, "the second of two tokens")
    replaced(container.config, container.config.read_text().replace("support-nov", "support-dec"))
    given = {"unit": "user-1", "metric": "csat", "value": 4}
    with client() as http:

        def taken(words: str) -> int:
            headers = {"authorization": f"Bearer {words}"}
            return http.post(f"{container.traffic}/canary/feedback", json=given, headers=headers).status_code

        eventually(lambda: chat(http, "user-1").headers.get("x-canary-name") == "support-dec")
        eventually(lambda: taken("the second of two tokens") == 202)
        eventually(lambda: taken("the first of two tokens") == 401)


def test_a_tenth_of_a_core_is_enough_to_become_healthy_and_to_answer(start: Start) -> None:
    container = start("--cpus=0.1", "--env=CANARY_WORKERS=1")
    container.becomes_healthy()
    with client() as http:
        assert chat(http, "user-1").status_code == 200


def test_the_health_check_follows_addresses_and_roles_and_ipv6(docker: Engine, start: Start) -> None:
    container = start("--env=CANARY_TRAFFIC=[::]:8080", "--env=CANARY_ADMIN=[::]:8081")
    container.becomes_healthy()
    inside = "import urllib.request as r; print(r.urlopen('http://[::1]:8080/healthz').status)"
    assert docker("exec", "canary", "python", "-c", inside) == "200"


def test_many_streams_at_once_within_1024_descriptors(start: Start, provider: ProviderThread) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    start(f"--ulimit=nofile=1024:{hard}")
    for model in ("gpt-4o-2024-08-06", "gpt-4o-2024-11-20"):
        provider.behave(model, Behaviour(ttft_s=0.1, pace_s=0.5, words=20))
    assert asyncio.run(ends(MANY)) == {"[DONE]"}


def test_it_has_an_init_that_takes_signals_and_buries_the_dead(start: Start) -> None:
    container = start()
    orphan = "import os; os.fork() or (os.fork() or os._exit(0), os._exit(0))"
    container.docker("exec", "canary", "python", "-c", orphan)
    states = "cat /proc/[0-9]*/stat | cut -d' ' -f3 | sort -u"
    eventually(lambda: "Z" not in container.docker("exec", "canary", "sh", "-c", states))


def test_the_demo_runs_without_a_network(docker: Engine) -> None:
    hardened = ("--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges")
    docker("run", "--rm", "--init", "--network=none", *hardened, "canary", "demo", within_s=240)


MANY = 600


async def ends(count: int) -> set[str]:
    """How so many streams end that are open together: each one's last event."""
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx2.AsyncClient(timeout=120.0, limits=limits, trust_env=False) as http:
        return set(await asyncio.gather(*(last_event(http, f"user-{number}") for number in range(count))))


async def last_event(http: httpx2.AsyncClient, unit: str) -> str:
    body = {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": unit}]}
    url = f"{Container.traffic}/v1/chat/completions"
    async with http.stream("POST", url, json=body, headers={**KEY, "x-canary-unit": unit}) as answer:
        lines = [line async for line in answer.aiter_lines() if line]
    return lines[-1].removeprefix("data: ") if answer.status_code == 200 else str(answer.status_code)


def replaced(file: Path, text: str) -> None:
    """Write the file anew as `mv` does."""
    fresh = file.with_name("fresh")
    fresh.write_text(text)
    fresh.replace(file)
