"""The Compose file is valid and hardened, its files fit together, and what its containers run works."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import redis
import trustme
import yaml
from redis.backoff import NoBackoff
from redis.retry import Retry

from canary.config import parse
from tests.certificates import TLS, write_pair
from tests.effort import in_more
from tests.servers.ports import free_port
from tests.serving import ProviderThread, Running, eventually

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "compose"
FILE = FOLDER / "compose.yaml"
TEXT = FILE.read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
EXAMPLE = dict(
    line.split("=", 1) for line in (FOLDER / "env.example").read_text().splitlines() if "=" in line
)

SERVER = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
"""


def run(*command: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


def test_it_is_valid_compose() -> None:
    checker = str(Path(sys.executable).with_name("check-jsonschema"))
    done = run(checker, "--builtin-schema", "vendor.compose-spec", str(FILE))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_no_rights_and_says_whether_it_is_well(name: str) -> None:
    service = SERVICES[name]
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "healthcheck" in service or service["image"].startswith("canary:"), "the image has its own"


@pytest.mark.parametrize("name", ["traffic", "admin", "watch", "sample"])
def test_canarys_containers_have_an_init_and_a_bound_on_processes(name: str) -> None:
    assert SERVICES[name]["init"] is True
    assert SERVICES[name]["pids_limit"] >= 1024, "threads count too, and numpy starts one a core"


def test_only_the_traffic_listener_can_be_opened_to_the_outside() -> None:
    published = {name: service.get("ports", []) for name, service in SERVICES.items()}
    assert published.pop("traffic") == ["${CANARY_TRAFFIC_ADDRESS:-127.0.0.1}:8080:8080"]
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
    assert EXAMPLE["CANARY_TRAFFIC_ADDRESS"] == "127.0.0.1"
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    assert {name for name in SERVICES if SERVICES[name]["networks"] == ["inside"]} == {"postgres", "redis"}


def test_streams_of_ten_minutes_may_end() -> None:
    assert int(SERVICES["traffic"]["stop_grace_period"].removesuffix("s")) >= 600 + 2 + 20


def test_every_variable_has_a_default_or_a_place_in_the_example() -> None:
    lines = [line for line in TEXT.splitlines() if not line.strip().startswith("#")]
    used = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", "\n".join(lines)))
    assert used == set(EXAMPLE)
    assert not [line for line in TEXT.splitlines() if re.search(r"(PASSWORD|TOKEN|SECRET): *['\"]?\w", line)]


def mounts(name: str) -> dict[str, str]:
    """What a service mounts: the source of each place in the container."""
    pairs = [volume.split(":") for volume in SERVICES[name].get("volumes", [])]
    return {place: source for source, place, *_ in pairs}


def test_grafana_finds_its_dashboards_where_its_provisioning_looks() -> None:
    (provider,) = yaml.safe_load((ROOT / "grafana/provisioning/dashboards/canary.yaml").read_text())[
        "providers"
    ]
    mounted = mounts("grafana")
    assert mounted[provider["options"]["path"]] == "../../grafana/dashboards"
    assert mounted["/etc/grafana/provisioning"] == "../../grafana/provisioning"


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    folder = tmp_path / "compose"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns(".env", "secrets"))
    return folder


def secrets_in(folder: Path) -> dict[str, str]:
    files = [path for path in (folder / "secrets").rglob("*") if path.is_file()]
    return {str(path.relative_to(folder / "secrets")): path.read_text() for path in files}


def test_setting_up_makes_every_secret_once_and_shows_none(copied: Path) -> None:
    done = run("./setup.sh", folder=copied)
    assert done.returncode == 0, done.stderr
    made = secrets_in(copied)
    named = [each["file"].removeprefix("./secrets/") for each in COMPOSE["secrets"].values()]
    named += [file.removeprefix("/run/secrets/") for file in named_files()]
    assert {*made} == {*named}
    passwords = dict(line.split("=", 1) for line in (copied / ".env").read_text().splitlines() if "=" in line)
    fresh = [*made.values(), passwords["POSTGRES_PASSWORD"], passwords["REDIS_PASSWORD"]]
    assert len({*fresh}) == len(fresh)
    assert all(re.fullmatch(r"[0-9a-f]{64}", value) for value in fresh)
    assert not [value for value in fresh if value in done.stdout + done.stderr]
    modes = [stat.S_IMODE((copied / name).stat().st_mode) for name in (".env", "secrets", "secrets/canary")]
    assert modes == [0o600, 0o700, 0o755]

    assert run("./setup.sh", folder=copied).returncode == 0
    assert secrets_in(copied) == made


def named_files() -> list[str]:
    """The files that canary's environment names."""
    return [value for name, value in SERVICES["admin"]["environment"].items() if name.endswith("_FILE")]


def test_everything_mounted_is_there_once_it_is_set_up(copied: Path) -> None:
    assert run("./setup.sh", folder=copied).returncode == 0
    for name in SERVICES:
        for source in mounts(name).values():
            here = (copied if source.startswith("./") else FOLDER) / source
            assert here.exists() if source.startswith(".") else source in COMPOSE["volumes"], (
                f"{name}: {source}"
            )


def test_what_changes_while_canary_runs_is_mounted_as_a_folder(copied: Path) -> None:
    assert run("./setup.sh", folder=copied).returncode == 0
    for name in ("traffic", "admin"):
        assert "secrets" not in SERVICES[name], "Compose mounts each of them as a file"
        for file in [*named_files(), "/etc/canary/canary.yaml"]:
            folder, _, base = file.rpartition("/")
            assert (copied / mounts(name)[folder] / base).is_file()


def test_the_config_is_accepted_and_every_name_in_it_is_set() -> None:
    given = SERVICES["admin"]["environment"].items()
    environment = {name: re.sub(r"\$\{POSTGRES_PASSWORD[^}]*\}", "a-password", text) for name, text in given}
    config = parse((FOLDER / "config" / "canary.yaml").read_text(), "canary.yaml", environment)
    assert config.warnings == ()
    assert config.store.startswith("postgresql://canary:")
    assert config.shared.startswith("redis://:")


def test_prometheus_takes_its_config_with_the_rules(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("x")
    text = (FOLDER / "prometheus.yml").read_text()
    assert "/etc/prometheus/rules/" in text
    text = text.replace("/etc/prometheus/rules", str(ROOT / "deploy" / "prometheus"))
    (tmp_path / "prometheus.yml").write_text(text.replace("/run/secrets/metrics/token", str(token)))
    done = run("promtool", "check", "config", str(tmp_path / "prometheus.yml"))
    assert done.returncode == 0, done.stderr
    assert "1 rule files found" in done.stdout


def test_alertmanager_takes_its_config() -> None:
    done = run("amtool", "check-config", str(FOLDER / "alertmanager.yml"))
    assert done.returncode == 0, done.stderr


@pytest.fixture
def composed_redis(tmp_path: Path) -> Iterator[int]:
    """The port of a redis-server that the Compose file's command has started, with the password `wonder`."""
    port = free_port()
    shell, flag, script = SERVICES["redis"]["command"]
    script = script.replace("$$", "$").replace("requirepass", f"port {port}\nbind 127.0.0.1\nrequirepass")
    # Redis' allocator hangs under libfaketime.
    environment = {**os.environ, "REDIS_PASSWORD": "wonder", "LD_PRELOAD": ""}
    process = subprocess.Popen(
        [shell, flag, script], env=environment, cwd=tmp_path, stdout=subprocess.DEVNULL
    )
    try:
        yield port
    finally:
        process.terminate()
        assert process.wait(10) == 0, "the signal reaches Redis itself"


def test_redis_starts_with_its_password_and_shows_it_in_no_list_of_processes(composed_redis: int) -> None:
    def answered(password: str | None) -> bool | str | None:
        with redis.Redis(port=composed_redis, password=password, retry=Retry(NoBackoff(), 0)) as client:
            try:
                return bool(client.ping())
            except redis.AuthenticationError as error:
                return str(error)
            except redis.ConnectionError:
                return None

    assert eventually(lambda: answered("wonder")) is True
    assert "authenticat" in str(answered(None)).lower()
    with redis.Redis(port=composed_redis, password="wonder") as client:
        assert "268435456" in str(client.config_get("maxmemory"))
        pid = client.info("server")["process_id"]
    assert b"wonder" not in Path(f"/proc/{pid}/cmdline").read_bytes()


def passes(data: Path) -> bool:
    """Whether the image's health check passes, with the server's data in this folder."""
    (check,) = re.findall(r"HEALTHCHECK .*?CMD (\[.*?\])$", dockerfile(), re.MULTILINE)
    program, *arguments = json.loads(check)
    assert program == "python"
    environment = os.environ | {"CANARY_DATA": str(data), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *arguments], env=environment, timeout=120, cwd=data.parent)
    return done.returncode == 0


class Refusing(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(401)

    def log_message(self, format: str, *args: object) -> None:
        pass


def at(folder: Path, **addresses: str) -> Path:
    """A data folder whose server listens there."""
    folder.mkdir()
    (folder / "server.json").write_text(json.dumps(addresses))
    return folder


@pytest.mark.parametrize("tls", [in_more(""), TLS.replace("tls/", "../tls/")], ids=["plain", "tls"])
def test_the_health_check_tells_a_server_that_answers_from_one_that_does_not(
    provider: ProviderThread, tmp_path: Path, serve: Callable[..., Running], tls: str
) -> None:
    write_pair(tmp_path / "tls", trustme.CA())
    running = serve(SERVER.format(url=provider.url) + tls, workers=1)
    assert running.traffic.startswith("https://" if tls else "http://")
    assert passes(running.data)
    assert passes(at(tmp_path / "admin-only", admin=running.admin))
    assert not passes(at(tmp_path / "gone", traffic=f"http://127.0.0.1:{free_port()}", admin=running.admin))
    assert not passes(tmp_path / "nowhere")


def test_an_admin_listener_that_asks_for_the_metrics_token_is_well(tmp_path: Path) -> None:
    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        answering = threading.Thread(target=server.handle_request)
        answering.start()
        assert passes(at(tmp_path / "data", admin=f"http://127.0.0.1:{server.server_address[1]}"))
        answering.join()


def dockerfile() -> str:
    """The Dockerfile, its continued lines joined."""
    return (ROOT / "Dockerfile").read_text().replace("\\\n", "")
