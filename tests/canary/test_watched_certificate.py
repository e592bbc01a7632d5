"""The certificate as its files change: a good pair takes the old one's place, a bad one does not."""

import asyncio
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from structlog.testing import capture_logs

from canary.programs.config_pipe import ConfigReading, WatchedConfig
from tests.canary.handed import Hand
from tests.certificates import TLS, write_pair

CONFIG = 'providers: {openai: {api: openai, base_url: "http://127.0.0.1:1/v1"}}\n'


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def watched(tmp_path: Path, authority: trustme.CA) -> WatchedConfig:
    (tmp_path / "canary.yaml").write_text(CONFIG + TLS)
    write_pair(tmp_path / "tls", authority)
    return WatchedConfig(tmp_path / "canary.yaml")


def chain(watched: WatchedConfig) -> bytes:
    assert watched.reading.certificate is not None
    return watched.reading.certificate.chain


def test_files_that_change_are_read_once_they_are_still(
    watched: WatchedConfig, tmp_path: Path, authority: trustme.CA
) -> None:
    first = chain(watched)
    assert not watched.check()
    write_pair(tmp_path / "tls", authority)
    assert not watched.check()
    assert watched.check()
    assert chain(watched) == (tmp_path / "tls" / "tls.crt").read_bytes() != first
    assert not watched.check()
    assert watched.reading.loads == 0  # the config itself has not changed


def test_a_link_that_leads_to_another_folder_is_followed(
    watched: WatchedConfig, tmp_path: Path, authority: trustme.CA
) -> None:
    """Kubernetes keeps `tls.crt → ..data/tls.crt` and replaces the link `..data` by a rename."""
    mounted = tmp_path / "tls"
    write_pair(mounted / "first", authority)
    (mounted / "..data").symlink_to("first")
    for name in ("tls.crt", "tls.key"):
        (mounted / name).unlink()
        (mounted / name).symlink_to(f"..data/{name}")
    assert [watched.check(), watched.check()] == [False, True]
    write_pair(mounted / "second", authority)
    (mounted / "..new").symlink_to("second")
    (mounted / "..new").replace(mounted / "..data")
    assert [watched.check(), watched.check()] == [False, True]
    assert chain(watched) == (mounted / "second" / "tls.crt").read_bytes()


def test_a_bad_pair_keeps_the_old_one_and_is_told_of_once_until_it_fits(
    watched: WatchedConfig, tmp_path: Path, authority: trustme.CA
) -> None:
    first = chain(watched)
    write_pair(tmp_path / "other", authority)
    (tmp_path / "other" / "tls.crt").replace(tmp_path / "tls" / "tls.crt")
    with capture_logs() as logs:
        assert [watched.check() for _ in range(4)] == [False, True, False, False]
    assert [each["event"] for each in logs] == ["certificate.refused"]
    assert chain(watched) == first
    assert "is not the key of the certificate" in watched.reading.certificate_problem
    (tmp_path / "other" / "tls.key").replace(tmp_path / "tls" / "tls.key")
    assert [watched.check(), watched.check()] == [False, True]
    assert (chain(watched) == first, watched.reading.certificate_problem) == (False, "")


def test_a_file_that_can_be_read_again_without_having_changed_is_taken(
    watched: WatchedConfig, tmp_path: Path, authority: trustme.CA
) -> None:
    write_pair(tmp_path / "tls", authority, starts_in_days=1 / 86400)
    watched.check()
    watched.check()
    deadline = time.monotonic() + 60
    while watched.reading.certificate_problem:
        assert time.monotonic() < deadline
        watched.check()
    assert chain(watched) == (tmp_path / "tls" / "tls.crt").read_bytes()


def test_a_bad_config_beside_it_does_not_keep_a_new_certificate_away(
    watched: WatchedConfig, tmp_path: Path, authority: trustme.CA
) -> None:
    (tmp_path / "canary.yaml").write_text("providers: [this is no config")
    write_pair(tmp_path / "tls", authority)
    watched.check()
    assert watched.check()
    assert watched.reading.problem
    assert chain(watched) == (tmp_path / "tls" / "tls.crt").read_bytes()


def troubles(*readings: ConfigReading) -> list[str]:
    """What a child says that has been handed these, one after the other."""

    async def follow(hand: Hand) -> list[str]:
        hand.let_go()
        async with asyncio.timeout(10.0):
            await hand.config.follow()
        return hand.config.troubles()

    with closing(Hand(CONFIG, readings[0])) as hand:
        for each in readings[1:]:
            hand.give_reading(each)
        return asyncio.run(follow(hand))


def test_a_child_says_what_is_wrong_with_the_certificate_and_what_needs_a_restart(
    watched: WatchedConfig, tmp_path: Path, authority: trustme.CA
) -> None:
    good = watched.reading
    plain = replace(good, config=replace(good.config, tls=None), certificate=None)
    assert troubles(good) == troubles(plain) == []
    bad = replace(good, certificate_problem="it is no key")
    assert troubles(good, bad) == ["the new certificate is bad, the old one stays: it is no key"]
    removed = replace(good, config=plain.config, loads=1)
    assert troubles(good, removed) == ["tls was removed from the config file: restart canary"]
    added = replace(good, certificate=None, loads=1)
    assert troubles(plain, added) == ["tls was added to the config file: restart canary"]
    write_pair(tmp_path / "tls", authority, ends_in_days=3.5)
    assert [watched.check(), watched.check()] == [False, True]
    assert troubles(good, watched.reading) == []  # it works; `check` and `doctor` warn
    assert good.certificate is not None
    ended = replace(good, certificate=replace(good.certificate, not_after=0.0))
    assert troubles(good, ended) == [
        "the certificate of the listeners expired on 1970-01-01; renew it: callers refuse to connect"
    ]


def test_a_new_certificate_alone_does_not_apply_the_config_again(
    watched: WatchedConfig, tmp_path: Path, authority: trustme.CA
) -> None:
    write_pair(tmp_path / "tls", authority)
    first = watched.reading
    assert [watched.check(), watched.check()] == [False, True]
    with capture_logs() as logs:
        troubles(first, watched.reading)
    assert [each["event"] for each in logs] == ["certificate.reloaded"]
