"""The config as its file changes, and on its way to the processes that use it."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import closing
from io import FileIO
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from canary.config import Config
from canary.programs.config_pipe import FollowedConfig, WatchedConfig
from common.whole_file import write_document
from routing.canary import definition
from routing.states import State, States
from tests.canary.handed import Hand

CONFIG = """\
providers: {openai: {api: openai, base_url: "http://127.0.0.1:1/v1"}}
canaries:
  - name: first
    match: {models: [one]}
    baseline: {provider: openai, model: a}
    candidate: {provider: openai, model: b}
    share: 5%
"""
SECOND = """\
  - name: second
    match: {models: [two]}
    baseline: {provider: openai, model: a}
    candidate: {provider: openai, model: b}
    share: 5%
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "canary.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def hand() -> Iterator[Hand]:
    hand = Hand(CONFIG)
    yield hand
    hand.close()


def names(config: Config) -> list[str]:
    return [*config.canaries]


def test_a_file_that_is_still_being_written_is_not_read(path: Path) -> None:
    watched = WatchedConfig(path)
    path.write_text(CONFIG + SECOND)
    assert not watched.check()
    path.write_text(CONFIG + SECOND + "retention: 30d\n")
    assert not watched.check()
    assert names(watched.reading.config) == ["first"]
    assert watched.check()
    assert names(watched.reading.config) == ["first", "second"]


def test_a_hangup_reads_it_at_once(path: Path) -> None:
    watched = WatchedConfig(path)
    path.write_text(CONFIG + SECOND)
    assert watched.check(force=True)
    assert names(watched.reading.config) == ["first", "second"]


def test_a_bad_file_keeps_the_last_good_config_and_is_told_of_once(path: Path) -> None:
    watched = WatchedConfig(path)
    path.write_text("providers: [this is no config")
    watched.check()
    with capture_logs() as logs:
        assert watched.check()
        assert not watched.check()
    assert [each["event"] for each in logs] == ["config.refused"]
    assert (names(watched.reading.config), "canary.yaml" in watched.reading.problem) == (["first"], True)
    path.write_text(CONFIG)
    watched.check()
    assert watched.check()
    assert watched.reading.problem == ""


def test_an_edit_of_a_canary_that_started_keeps_the_last_config_after_a_restart_too(path: Path) -> None:
    data = path.parent / "data"
    data.mkdir()
    watched = WatchedConfig(path, data)
    state = State(state="promoted", definition=definition(watched.reading.config.canaries["first"].canary))
    write_document(data / "plan.json", States(version=2, states={"first": state}))
    path.write_text(CONFIG.replace("[one]", "[one, more]") + SECOND)
    watched.check()
    assert watched.check()
    for each in (watched, WatchedConfig(path, data)):
        assert names(each.reading.config) == ["first"]
        assert "canary 'first' is not the one that started" in each.reading.problem
        assert "use a new name" in each.reading.problem
    path.write_text(CONFIG.replace("5%", "9%") + SECOND)
    watched.check()
    assert watched.check()
    assert (names(watched.reading.config), watched.reading.problem) == (["first", "second"], "")


def test_a_child_takes_each_config_that_it_is_handed(hand: Hand) -> None:
    taken: list[list[str]] = []

    async def on_change(config: Config) -> None:
        taken.append(names(config))

    hand.give(CONFIG + SECOND)  # both at once: a read may bring more than one message
    hand.give(CONFIG)
    hand.config.on_change(on_change)
    assert names(hand.config.current) == ["first"]
    asyncio.run(followed(hand))
    assert taken == [["first", "second"], ["first"]]


def test_a_child_is_told_of_a_bad_file_and_keeps_its_config(hand: Hand) -> None:
    async def on_change(config: Config) -> None:
        raise AssertionError("nothing has changed")

    hand.config.on_change(on_change)
    hand.give(CONFIG, "it is no YAML")
    asyncio.run(followed(hand))
    assert (names(hand.config.current), hand.config.problem) == (["first"], "it is no YAML")


@pytest.mark.parametrize("change", ["outcomes: elsewhere", "store: sqlite:///other.db"])
def test_a_change_that_needs_a_restart_is_said_until_it_is_taken_back(hand: Hand, change: str) -> None:
    asyncio.run(followed_with(hand, CONFIG + "retention: 30d\n"))
    assert hand.config.troubles() == []
    with closing(Hand(CONFIG)) as other:
        asyncio.run(followed_with(other, f"{CONFIG}{change}\n"))
        (said,) = other.config.troubles()
    assert said.startswith(f"{change.partition(':')[0]} changed in the config file: restart canary")
    with closing(Hand(CONFIG)) as back:
        back.give(f"{CONFIG}{change}\n")
        asyncio.run(followed_with(back, CONFIG))
        assert back.config.troubles() == []


def test_a_child_that_nobody_hands_a_config_does_not_start() -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, b"\0")
    os.close(write_end)
    with FileIO(read_end) as source, pytest.raises(EOFError, match="canary serve"):
        FollowedConfig(source)


async def followed_with(hand: Hand, text: str) -> None:
    hand.give(text)
    await followed(hand)


async def followed(hand: Hand) -> None:
    """Until the supervisor is gone."""
    hand.let_go()
    async with asyncio.timeout(10.0):
        await hand.config.follow()
