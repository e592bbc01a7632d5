"""The commands find the admin token wherever the server may have it from."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from canary.cli import app
from canary.commands.client import AdminClient, ServerAddress, ServerNotReached
from tests.e2e.stage import Stage, on_stage
from tests.serving import Running

TRIAL = """
canaries:
  - name: trial
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: a}}
    candidate: {{provider: openai, model: b}}
    share: 5%
"""

NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME")
NAMELESS = """
import pwd
from canary.commands.shell import user
def unknown(uid):
    raise KeyError(uid)
pwd.getpwuid = unknown  # as in a container that runs under a number without an entry
print(user())
"""

CONFIG = 'providers: {{openai: {{api: openai, base_url: "{url}/v1"}}}}' + TRIAL


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with on_stage(tmp_path_factory.mktemp("client"), CONFIG) as up:
        yield up


def canaries(running: Running, elsewhere: Path, environment: Mapping[str, str]) -> list[str]:
    """Whom the server names to a client that does not see its data folder."""
    client = AdminClient(admin=running.admin, data=elsewhere, environment=environment)
    return [each["name"] for each in client.get("/api/status")["canaries"]]


def test_the_token_comes_from_the_variable_or_from_the_file_that_it_names(
    tmp_path: Path, stage: Stage
) -> None:
    running = stage.server
    file = tmp_path / "token"
    file.write_text(running.token + "\n")
    elsewhere, without_token = tmp_path / "elsewhere", tmp_path / "data"
    without_token.mkdir()
    (without_token / "server.json").write_text((running.data / "server.json").read_text())
    assert canaries(running, elsewhere, {"CANARY_ADMIN_TOKEN": running.token}) == ["trial"]
    assert canaries(running, elsewhere, {"CANARY_ADMIN_TOKEN_FILE": str(file)}) == ["trial"]
    with pytest.raises(ServerNotReached, match="refuses requests without a token; set CANARY_ADMIN_TOKEN"):
        canaries(running, elsewhere, {})
    with pytest.raises(ServerNotReached, match="refuses this token; set CANARY_ADMIN_TOKEN"):
        canaries(running, elsewhere, {"CANARY_ADMIN_TOKEN": "another"})
    with pytest.raises(ServerNotReached, match="or name the server's data folder with --data"):
        canaries(running, elsewhere, {"CANARY_ADMIN_TOKEN": "another"})
    with pytest.raises(ServerNotReached, match=r"token, which it got from its environment: \S+ holds none$"):
        canaries(running, without_token, {"CANARY_ADMIN_TOKEN": "another"})
    with pytest.raises(ServerNotReached, match=r"/api/status answered 404; is it a canary listener\?"):
        AdminClient(admin=stage.provider.url, data=running.data, environment={}).get("/api/status")
    with pytest.raises(ServerNotReached, match="is not a canary admin listener"):
        AdminClient(admin=running.admin, data=elsewhere, environment={}).get("/healthz")


def test_an_order_is_told_in_words_or_as_json_and_takes_any_reason_that_can_be_typed(
    stage: Stage,
) -> None:
    running = stage.server

    def order(name: str, *options: str) -> Result:
        asked = [name, "trial", *options, "--admin", running.admin, "--data", str(running.data)]
        return CliRunner().invoke(app, asked)

    paused = order("pause", "-o", "json")
    assert json.loads(paused.stdout).items() >= {"canary": "trial", "state": "paused", "share": 0.05}.items()
    resumed = order("resume", "--reason", "campaign over")
    assert (resumed.exit_code, resumed.stdout) == (0, "")
    *warned, last = resumed.stderr.splitlines()
    assert last.startswith("trial: running, share 5%, confirmed by ")
    assert len(warned) == 1
    assert "no known price" in warned[0]
    garbled = order("rollback", "--reason", os.fsdecode(b"a\xffb"))
    assert (garbled.exit_code, "must be text that can be stored" in garbled.stderr) == (1, True)
    assert order("pause").exit_code == 0  # it runs as before


@pytest.mark.parametrize("text", ["", '{"traffic": 1', "[]", "{}", "7"])
def test_a_folder_that_tells_no_listener_is_named_with_what_to_give(tmp_path: Path, text: str) -> None:
    (tmp_path / "server.json").write_text(text)
    with pytest.raises(
        ServerNotReached, match=r"server\.json names no admin listener; give its address with --admin"
    ):
        AdminClient(admin=None, data=tmp_path, environment={})


@pytest.mark.parametrize("token", ["line\nbreak", "ünvalid"])
def test_a_token_that_no_header_can_carry_is_refused_and_not_shown(tmp_path: Path, token: str) -> None:
    with pytest.raises(ServerNotReached) as caught:
        AdminClient(admin="127.0.0.1:9", data=tmp_path, environment={"CANARY_ADMIN_TOKEN": token})
    assert str(caught.value) == "CANARY_ADMIN_TOKEN is not a token: it must be one line of ASCII characters"


@pytest.mark.parametrize("listener", ["admin", "traffic"])
def test_a_port_alone_is_a_listener_of_this_machine(tmp_path: Path, listener: str) -> None:
    assert ServerAddress.of(listener, "18181", tmp_path).url == "http://127.0.0.1:18181"
    assert ServerAddress.of(listener, "localhost:18181", tmp_path).url == "http://localhost:18181"


def test_an_address_that_is_none_is_told_from_a_server_that_is_down(tmp_path: Path) -> None:
    for address in ("ftp://127.0.0.1", ":", "localhost", "99999"):
        with pytest.raises(ServerNotReached, match="is not an address; write HOST:PORT, or a URL"):
            AdminClient(admin=address, data=tmp_path, environment={}).get("/api/status")


def test_a_data_folder_of_another_user_is_told_from_one_where_no_server_has_run(tmp_path: Path) -> None:
    (tmp_path / "server.json").mkdir()  # to root, no file is another's: a folder cannot be read either
    with pytest.raises(
        ServerNotReached, match=r"server\.json cannot be read: .*give its address with --admin"
    ):
        AdminClient(admin=None, data=tmp_path, environment={})
    (tmp_path / "admin.token").mkdir()
    with pytest.raises(ServerNotReached, match=r"admin\.token cannot be read: .*or set CANARY_ADMIN_TOKEN"):
        AdminClient(admin="127.0.0.1:9", data=tmp_path, environment={})


def test_who_gives_an_order_has_a_number_where_the_system_knows_no_name() -> None:
    nameless = {name: value for name, value in os.environ.items() if name not in NAMES}
    done = subprocess.run(
        [sys.executable, "-c", NAMELESS],
        env=nameless,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout == f"uid {os.getuid()}\n"


def test_a_token_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(ServerNotReached, match=f"CANARY_ADMIN_TOKEN_FILE: cannot read {missing}"):
        AdminClient(admin="127.0.0.1:9", data=tmp_path, environment={"CANARY_ADMIN_TOKEN_FILE": str(missing)})
