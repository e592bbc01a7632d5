"""What a machine's processes tell one another of sessions at once."""

import os
from collections.abc import Iterator

import pytest
from msgspec import structs

from records.shared.session_arms import SessionArms
from records.shared.session_news import KEPT, PIECE, SessionNews, encoded, open_news
from routing.sessions import SessionArm
from tests.records.test_session_arms import FIRST, KEY, some


@pytest.fixture
def fd() -> Iterator[int]:
    opened = open_news()
    yield opened
    os.close(opened)


def test_a_session_is_known_to_another_worker_before_its_next_request(fd: int) -> None:
    ours, theirs = SessionArms(news=SessionNews(fd)), SessionArms(news=SessionNews(fd))
    assert theirs.find(*KEY) is None
    ours.note(FIRST)
    assert theirs.find(*KEY) == ours.find(*KEY) is not None


def test_who_begins_later_knows_what_is_kept(fd: int) -> None:
    arms = some(3)
    SessionNews(fd).tell(arms)
    assert SessionNews(fd).read() == arms


def test_each_line_is_read_once_whoever_wrote_it(fd: int) -> None:
    one, other = SessionNews(fd), SessionNews(fd)
    arms = some(4)
    one.tell(arms[:2])
    other.tell(arms[2:])
    assert one.read() == other.read() == arms
    assert one.read() == other.read() == []


def test_a_line_that_is_under_way_is_read_when_it_is_whole(fd: int) -> None:
    reader, (one, other) = SessionNews(fd), some(2)
    lines = encoded([one, other])
    os.write(fd, lines[:-9])
    assert reader.read() == [one]
    os.write(fd, lines[-9:])
    assert reader.read() == [other]


def test_memory_is_bounded_and_who_is_far_behind_reads_the_newest(fd: int) -> None:
    writer, slow, quick = SessionNews(fd), SessionNews(fd), SessionArms(news=SessionNews(fd))
    arms = some(1_000)
    rounds = 2 * (KEPT + 2 * PIECE) // len(encoded(arms)) + 1
    for number in range(rounds):
        writer.tell([structs.replace(each, at=100.0 + number) for each in arms])
        quick.look()
    assert os.fstat(fd).st_blocks * 512 <= KEPT + 2 * PIECE
    assert [each.at for each in quick.lines()] == [99.0 + rounds] * len(arms)
    found = slow.read()
    assert len(found) > len(arms) and found[-1].at == 99.0 + rounds
    assert set(map(type, found)) == {SessionArm}
