"""Secrets: where they come from, and that every process ends up with the same one."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from canary.secrets import BadSecret, Secret, SecretKeys, admin_token


def test_the_environment_comes_first(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from a file")
    environment = {"NAME": "from the environment", "NAME_FILE": str(tmp_path / "token")}
    assert Secret("NAME", environment).value() == "from the environment"


def test_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("old\n")
    secret = Secret("NAME", {"NAME_FILE": str(path)})
    assert secret.value() == "old"
    path.write_text("a newer one\n")
    assert secret.value() == "a newer one"


def test_a_file_that_goes_away_keeps_the_last_value_and_one_that_never_was_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("kept")
    secret = Secret("NAME", {"NAME_FILE": str(path)})
    assert secret.value() == "kept"
    path.unlink()
    assert secret.value() == "kept"
    with pytest.raises(BadSecret, match="NAME_FILE"):
        Secret("NAME", {"NAME_FILE": str(tmp_path / "missing")}).value()


def test_a_file_that_is_emptied_keeps_the_last_value_and_one_that_never_held_any_is_refused(
    tmp_path: Path,
) -> None:
    path = tmp_path / "token"
    path.write_text("kept")
    secret = Secret("NAME", {"NAME_FILE": str(path)})
    assert secret.value() == "kept"
    path.write_text("\n")
    assert secret.value() == "kept"  # what it guards must not stand open meanwhile
    with pytest.raises(BadSecret, match=r"NAME_FILE: .*token is empty"):
        Secret("NAME", {"NAME_FILE": str(path)}).value()
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BadSecret, match="it is not text"):
        Secret("NAME", {"NAME_FILE": str(path)}).value()


def test_many_that_generate_at_once_read_one_value(tmp_path: Path) -> None:
    path = tmp_path / "secret"

    def generated(_: int) -> str | None:
        return Secret("NAME", {}, generated=path).value()

    with ThreadPoolExecutor(16) as threads:
        assert len(set(threads.map(generated, range(64)))) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_keys_differ_by_purpose_and_the_previous_secret_only_verifies(tmp_path: Path) -> None:
    new, old = "n" * 32, "o" * 32
    keys = SecretKeys({"CANARY_SECRET": new, "CANARY_SECRET_PREVIOUS": old}, tmp_path)
    before = SecretKeys({"CANARY_SECRET": old}, tmp_path)
    assert keys.assignment != keys.ids
    assert keys.verifying == [keys.ids, before.ids]


def test_keys_follow_their_file_and_stay_where_it_is_no_good(tmp_path: Path) -> None:
    file, before = tmp_path / "secret", SecretKeys({"CANARY_SECRET": "o" * 32}, tmp_path)
    file.write_text("o" * 32)
    keys = SecretKeys({"CANARY_SECRET_FILE": str(file)}, tmp_path)
    assert (keys.look(), keys.assignment) == (False, before.assignment)
    file.write_text("short")
    assert (keys.look(), keys.ids) == (False, before.ids)
    file.write_text("n" * 32)
    assert keys.look()
    after = SecretKeys({"CANARY_SECRET": "n" * 32}, tmp_path)
    assert (keys.assignment, keys.verifying) == (after.assignment, [after.ids])


def test_a_short_secret_is_refused_with_a_way_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(BadSecret, match="openssl rand"):
        SecretKeys({"CANARY_SECRET": "short"}, tmp_path)


def test_an_admin_token_is_generated_on_loopback_and_demanded_elsewhere(tmp_path: Path) -> None:
    assert admin_token({}, tmp_path, loopback=True).value()
    with pytest.raises(BadSecret, match="CANARY_ADMIN_TOKEN"):
        admin_token({}, tmp_path / "elsewhere", loopback=False)
    assert admin_token({"CANARY_ADMIN_TOKEN": "t"}, tmp_path, loopback=False).value() == "t"


def test_viewers_get_a_token_of_their_own(tmp_path: Path) -> None:
    both = {"CANARY_ADMIN_TOKEN": "t", "CANARY_VIEWER_TOKEN": "v"}
    assert admin_token(both, tmp_path, loopback=False).value() == "t"
    with pytest.raises(BadSecret, match="CANARY_VIEWER_TOKEN is the admin token"):
        admin_token({**both, "CANARY_VIEWER_TOKEN": "t"}, tmp_path, loopback=False)
