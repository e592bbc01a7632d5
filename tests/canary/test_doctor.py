"""`canary doctor` says what is wrong and what to do, with the server up or down, and never hangs."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest

from canary.commands.doctor import document, run
from canary.commands.doctor_machine import (
    Diagnosis,
    descriptors,
    fine,
    folder,
    outcomes,
    packages,
    secrets,
    signing,
    skew,
    spool,
    store,
    valid,
)
from canary.commands.doctor_network import _astray, connect, shared, unused, with_version
from canary.config import parse
from canary.python_path import ROOT
from control.monitor.traffic import AstrayKind, AstrayTraffic
from records.outcome import Feedback
from records.spool.writer import SpoolWriter
from records.store import Store
from records.store.segment_writer import roll
from tests.records.samples import a_batch, an_outcome
from tests.servers.object_store import S3Server
from tests.servers.postgres import Postgres
from tests.servers.redis import RedisServer
from tests.serving import ProviderThread, Running, eventually

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
notify: [{{webhook: "{url}/a-secret-path"}}, {{apprise: "mailto://me:a-secret-path@mail.example.com/{{owner}}"}}]
"""
LOCAL = "http://127.0.0.1:11434"
SQLITE = "sqlite:///canary.db"
NOBODY = "http://127.0.0.1:9"


def doctor(config: Path, data: Path) -> tuple[int, list[Diagnosis]]:
    """The command's exit code and findings."""
    command = [sys.executable, "-m", "canary", "doctor", "-o", "json"]
    command += ["--config", str(config), "--data", str(data)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    found = json.loads(done.stdout)
    assert found["ok"] == (done.returncode == 0)
    return done.returncode, [Diagnosis(**each) for each in found["findings"]]


def of(findings: list[Diagnosis], check: str) -> list[Diagnosis]:
    return [each for each in findings if each.check == check]


def test_all_is_well_with_a_running_server(provider: ProviderThread, serve: Callable[..., Running]) -> None:
    running = serve(CONFIG.format(url=provider.url), workers=1)

    def well() -> list[Diagnosis] | None:
        code, found = doctor(running.config, running.data)
        return None if code else found  # a busy machine does not answer it within its six seconds

    found = eventually(well)
    assert next(each.says for each in of(found, "server")) == "says: ready"
    assert [each.state for each in found if each.check.startswith(("provider", "notify"))] == ["ok"] * 3
    assert "a-secret-path" not in str(found)
    assert provider.log.entries == []


def test_with_the_server_down_it_names_what_is_broken_and_what_to_do(tmp_path: Path) -> None:
    config = tmp_path / "canary.yaml"
    config.write_text(CONFIG.format(url=NOBODY))
    code, found = doctor(config, tmp_path / "data")
    assert code == 1
    (openai,) = of(found, "provider openai")
    assert (openai.state, openai.says) == ("broken", "127.0.0.1:9: Connection refused")
    assert openai.do
    assert [each.state for each in of(found, "server")] == ["warning"]
    assert [each.state for each in of(found, "data folder")] == ["ok"]
    assert not (tmp_path / "data").exists()


def test_a_standing_canary_is_named() -> None:
    entry = "{name: support, standing: true, match: {models: [m]}, share: 5%,"
    entry += " baseline: {provider: openai, model: m}, candidate: {provider: openai}}"
    read = parse(f"{CONFIG.format(url=NOBODY)}canaries: [{entry}]", "canary.yaml", {})
    assert valid(Path("canary.yaml"), read)[0].says == "canary.yaml is valid; canaries: support (standing)"


def test_a_bad_config_is_a_finding_and_the_folder_is_looked_at_all_the_same(tmp_path: Path) -> None:
    config = tmp_path / "canary.yaml"
    config.write_text("providers: 3")
    code, found = doctor(config, tmp_path)
    assert code == 1
    assert [each.state for each in of(found, "config")] == ["broken"]
    assert of(found, "data folder")


def test_a_check_that_hangs_or_breaks_is_a_finding_after_its_time() -> None:
    def breaks() -> list[Diagnosis]:
        raise LookupError("a defect")

    go_on = threading.Event()

    def hangs() -> list[Diagnosis]:
        go_on.wait()
        return []

    began = time.monotonic()
    found = run({"hangs": hangs, "breaks": breaks, "fine": lambda: [fine("so")]}, within_s=0.2)
    go_on.set()
    assert time.monotonic() - began < 10.0
    assert [(each.check, each.state) for each in found] == [
        ("hangs", "broken"),
        ("breaks", "broken"),
        ("fine", "ok"),
    ]
    assert not document(found)["ok"]


@pytest.mark.parametrize(("hard", "state"), [(65536, "ok"), (1024, "warning")])
def test_the_limit_of_open_files_is_told_with_what_it_is_good_for(hard: int, state: str) -> None:
    (found,) = descriptors(512, hard)
    assert found.state == state
    assert f"raises the limit of open files from 512 to {hard}" in found.says


def test_a_package_that_comes_before_a_room_of_ours_is_named(tmp_path: Path) -> None:
    (tmp_path / "bench.py").touch()
    (tmp_path / "proxy").mkdir()
    (tmp_path / "proxy" / "__init__.py").touch()
    (tmp_path / "theirs-1.0.dist-info").mkdir()
    (tmp_path / "theirs-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\n")
    (tmp_path / "theirs-1.0.dist-info" / "RECORD").write_text("bench.py,,\n")
    command = [sys.executable, "-m", "canary", "doctor", "-o", "json", "--data", str(tmp_path / "data")]
    config = tmp_path / "canary.yaml"
    config.write_text(CONFIG.format(url=NOBODY))
    done = subprocess.run(
        [*command, "--config", str(config)],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        timeout=120,
    )
    found = [each for each in json.loads(done.stdout)["findings"] if each["check"] == "packages"]
    assert {each["state"] for each in found} == {"warning"}
    says = " ".join(each["says"] for each in found)
    assert f"another `bench` (of theirs) in {tmp_path} comes first" in says
    assert f"another `proxy` in {tmp_path} comes first" in says


def test_rooms_that_come_first_are_fine(tmp_path: Path) -> None:
    (tmp_path / "bench.py").touch()
    (found,) = packages([ROOT, str(tmp_path)])
    assert found.state == "ok"


def test_a_folder_that_others_may_read_is_a_warning(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (found,) = folder(tmp_path)
    assert (found.state, found.do) == ("warning", f"chmod 700 {tmp_path}")


def test_records_that_wait_are_counted_with_the_server_down(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path / "spool", worker=0)
    for number in range(3):
        record = Feedback(key=f"f{number}", metric="thumbs", value=1.0, at=time.time(), mono=1.0)
        assert writer.append(record)
    writer.close()
    (found,) = spool(tmp_path, SQLITE)
    assert found.says.startswith("3 records wait for the store")


def test_the_store_is_looked_into_and_left_as_it_was(tmp_path: Path, postgres: Postgres) -> None:
    for url in (SQLITE, postgres.fresh()):
        before = store(url, tmp_path)
        assert all(each.state != "broken" for each in before)
        assert "this version (" not in str(before)
        Store.open(url, tmp_path).close()
        assert "has the schema of this version" in store(url, tmp_path)[0].says


def test_a_database_that_is_gone_is_broken_where_a_server_has_run(tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    assert [each.state for each in store(SQLITE, tmp_path)] == ["broken"]
    with closing(Store.open(SQLITE, tmp_path)) as opened:
        assert not opened.is_gone()
        (tmp_path / "canary.db").unlink()
        assert opened.is_gone()


def test_a_store_that_cannot_be_used_is_broken(tmp_path: Path) -> None:
    (tmp_path / "canary.db").write_bytes(b"this is no database, but it is a file of some length" * 100)
    assert [each.state for each in store(SQLITE, tmp_path)] == ["broken"]
    assert [each.state for each in store("postgresql://nobody@127.0.0.1:9/x", tmp_path)] == ["broken"]


def place_of(tmp_path: Path, more: str = "") -> list[Diagnosis]:
    return outcomes(parse(CONFIG.format(url=NOBODY) + more, "canary.yaml", {}), tmp_path)


def test_the_place_of_outcomes_is_looked_into(tmp_path: Path) -> None:
    assert [each.says for each in place_of(tmp_path, "outcomes: store\n")] == ["the database keeps them"]
    (found,) = place_of(tmp_path)
    says = "does not exist yet; the first file creates it, and"
    assert (found.state, found.says) == ("ok", f"{tmp_path}/outcomes {says} {tmp_path} can be written")
    (tmp_path / "outcomes").mkdir()
    (found,) = place_of(tmp_path)
    assert found.says == f"{tmp_path}/outcomes can be written, and no file is to be there yet"
    assert list(tmp_path.rglob(".*")) == []
    with closing(Store.open(SQLITE, tmp_path)) as opened:
        opened.ship(a_batch(an_outcome(1), an_outcome(2, at=0.0)))
        roll(opened, 0.0, all_of_it=True)
    (found,) = place_of(tmp_path)
    assert (found.state, found.says) == (
        "ok",
        f"{tmp_path}/outcomes can be written, and has all 2 files that the database knows",
    )


def rolled(tmp_path: Path, count: int, place: str = "outcomes") -> list[Path]:
    """The files of so many hours."""
    with closing(Store.open(SQLITE, tmp_path, outcomes=place)) as opened:
        opened.ship(a_batch(*(an_outcome(n, at=n * 3600.0) for n in range(count))))
        roll(opened, 0.0, all_of_it=True)
    return sorted((tmp_path / place).rglob("*.parquet"))


def test_a_folder_of_outcomes_that_is_gone_is_broken(tmp_path: Path) -> None:
    first, _ = rolled(tmp_path, 2)
    shutil.rmtree(tmp_path / "outcomes")
    (found,) = place_of(tmp_path)
    assert found.state == "broken"
    name = first.relative_to(tmp_path / "outcomes")
    assert found.says == (
        f"2 files are missing in {tmp_path}/outcomes, the first {name}; what reads these hours fails"
    )
    assert found.do == "restore them from a backup, or name the place that has them as `outcomes`"


def test_files_in_another_size_than_was_written_are_broken(tmp_path: Path) -> None:
    first, second = rolled(tmp_path, 2)
    os.truncate(second, 100)
    (found,) = place_of(tmp_path)
    assert found.state == "broken"
    says = f"1 file in {tmp_path}/outcomes does not have the size that was written: "
    assert found.says.startswith(f"{says}{second.relative_to(tmp_path / 'outcomes')};")
    os.truncate(first, 0)
    (found,) = place_of(tmp_path)
    assert found.says.startswith(f"2 files in {tmp_path}/outcomes do not have the size that was written")


def test_files_of_a_folder_are_missed_when_the_database_is_named(tmp_path: Path) -> None:
    rolled(tmp_path, 1)
    (found,) = place_of(tmp_path, "outcomes: store\n")
    assert found.state == "broken" and found.says.startswith("1 file of outcomes lies in a folder")


def test_segments_that_the_database_keeps_are_missed_in_no_folder(tmp_path: Path) -> None:
    rolled(tmp_path, 1, "store")
    assert [each.state for each in place_of(tmp_path)] == ["ok"]


def test_a_folder_that_can_never_be_created_is_broken(tmp_path: Path) -> None:
    (found,) = place_of(tmp_path, "outcomes: /proc/nope/out\n")
    assert found.state == "broken"
    assert found.says.startswith("/proc/nope/out cannot be written: no folder can be made in /proc: ")


def test_an_object_store_that_is_down_is_not_one_that_refuses(tmp_path: Path, s3: S3Server) -> None:
    (found,) = place_of(tmp_path, f"outcomes: {s3.url()}\n")
    assert found.state == "ok" and "canary/canary-doctor" not in s3.objects()
    s3.stop()
    (down,) = place_of(tmp_path, f"outcomes: {s3.url()}\n")
    assert down.state == "broken" and "segment" not in down.says and "does not answer" in down.says
    assert down.do.startswith("start it, open the network to it, or correct `outcomes`")


def test_files_that_are_missing_or_unknown_are_said(tmp_path: Path) -> None:
    with closing(Store.open(SQLITE, tmp_path)) as opened:
        opened.ship(a_batch(an_outcome(1, at=0.0)))
        roll(opened, 0.0, all_of_it=True)
    (file,) = (tmp_path / "outcomes").rglob("*.parquet")
    file.rename(file.with_name("another.parquet"))
    missing, unknown = place_of(tmp_path)
    assert missing.state == "broken"
    assert missing.says.startswith(f"1 file is missing in {tmp_path}/outcomes: day=1970-01-01/hour=00/")
    assert unknown.state == "warning"
    name = "day=1970-01-01/hour=00/another.parquet"
    assert unknown.says == f"the database does not know 1 file in {tmp_path}/outcomes: {name}"


def test_a_place_that_cannot_be_written_is_broken(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (found,) = place_of(tmp_path, f"outcomes: {tmp_path}/file\n")
    assert found.state == "broken" and found.says.startswith(f"{tmp_path}/file cannot be written: ")


def test_redis_is_asked_for_the_time(redis_server: RedisServer) -> None:
    assert [each.state for each in shared(redis_server.url)] == ["ok", "ok"]
    redis_server.kill()
    assert [each.state for each in shared(redis_server.url)] == ["broken"]


def test_another_machines_clock_is_compared() -> None:
    assert skew(time.time())[0].state == "ok"
    (late,) = skew(time.time() - 3600.0)
    assert (late.state, late.says) == ("broken", "its clock differs by -3600 s from this machine's")


def test_a_receiver_that_does_not_run_on_this_machine_yet_is_a_warning(provider: ProviderThread) -> None:
    found = connect(NOBODY, receives=True)
    assert (found.state, found.says) == (
        "warning",
        "127.0.0.1:9: Connection refused; events wait on disk for a day",
    )
    assert "the address of a sample config" in found.do
    assert connect(NOBODY).state == "broken"
    for wrong in (provider.url.replace("http:", "https:"), "https://no-such-host.invalid"):
        assert connect(wrong, receives=True).state == "broken"


def test_a_port_that_does_not_speak_tls_is_told_from_one_that_refuses(provider: ProviderThread) -> None:
    assert "does not speak TLS" in connect(provider.url.replace("http:", "https:")).says
    assert "cannot be resolved" in connect("https://no-such-host.invalid").says
    assert connect(provider.url).state == "ok"


def test_a_caller_is_missed_when_it_could_have_called_for_a_day() -> None:
    unseen = [
        {"name": "old", "since": "2026-11-26T08:00:00.000Z"},
        {"name": "new", "since": "2026-11-26T08:00:02.000Z"},
    ]
    now = datetime(2026, 11, 27, 8, 0, 1, tzinfo=UTC).timestamp()
    assert [each["name"] for each in unused(unseen, now)] == ["old"]


def test_an_open_admin_listener_needs_its_token(tmp_path: Path) -> None:
    found = secrets({"CANARY_SECRET": "short"}, tmp_path, "0.0.0.0")
    assert [each.state for each in found[:2]] == ["broken", "broken"]
    given = {"CANARY_SECRET": "x" * 32, "CANARY_ADMIN_TOKEN": "y" * 32}
    assert [each.state for each in secrets(given, tmp_path, "0.0.0.0")] == ["ok"] * 4
    assert "x" * 32 not in str(secrets(given, tmp_path, "0.0.0.0"))


def test_arms_of_a_flag_system_need_the_token_that_signs_them() -> None:
    (missed,) = signing({}, ["support-nov"])
    assert missed.state == "warning" and "support-nov" in missed.says and "CANARY_PIN_TOKEN" in missed.says
    assert signing({"CANARY_PIN_TOKEN": "t"}, ["support-nov"]) == signing({}, []) == []


@pytest.mark.parametrize(
    ("entry", "right"),
    [
        (f'{{api: openai, base_url: "{LOCAL}"}}', f"{LOCAL}/v1"),
        (f'{{api: openai, base_url: "{LOCAL}/gateway"}}', f"{LOCAL}/gateway/v1"),
        (f'{{api: openai, base_url: "{LOCAL}/v1"}}', ""),
        (f'{{api: openai, base_url: "{LOCAL}/v1beta/openai"}}', ""),
        (f'{{api: anthropic, base_url: "{LOCAL}/v1"}}', LOCAL),
        (f'{{api: gemini, base_url: "{LOCAL}/v1beta"}}', LOCAL),
        (f'{{api: anthropic, base_url: "{LOCAL}"}}', ""),
        ('{api: openai, kind: azure, base_url: "https://r.openai.azure.com", api_key: k}', ""),
    ],
)
def test_a_base_url_that_gets_404_is_written_with_the_version_that_its_api_wants(
    entry: str, right: str
) -> None:
    provider = parse(f"providers: {{it: {entry}}}\n", "canary.yaml", {}).providers["it"]
    assert with_version(provider) == right


@pytest.mark.parametrize("kind", get_args(AstrayKind))
def test_doctor_helps_against_each_trouble_by_what_causes_it(kind: AstrayKind) -> None:
    config = parse(f'providers: {{it: {{api: openai, base_url: "{LOCAL}"}}}}\n', "canary.yaml", {})
    found = AstrayTraffic(kind=kind, canary="trial", requests=20, of=20, sentence="s")
    status = {"traffic": [], "canaries": [{"traffic": [found.document]}]}
    (diagnosis,) = _astray(status, config)
    assert ("`match`" in diagnosis.do) == (kind == "unmatched")
    assert ("`per: user` or `per: session`" in diagnosis.do) == (kind == "one_sided")
