"""What the process beside the spool keeps of sessions, and what replicas tell one another (a real Redis)."""

import asyncio
import os
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from control.feed.sessions import MOST_AT_ONCE, SessionsPublisher
from records.shared import states_channel, stream
from records.shared.session_arms import SessionArms, sessions_in
from records.shared.session_news import SessionNews, encoded, open_news
from records.shared.stream import SessionsStream
from records.store import Store
from routing.sessions import SessionArm
from tests.records.test_session_arms import FIRST, KEY, some
from tests.servers.redis import RedisServer

MANY = 5 * MOST_AT_ONCE


class Replica:
    """A worker and the process beside the spool."""

    def __init__(self, folder: Path, redis: RedisServer | None) -> None:
        folder.mkdir()
        self.folder, self.store = folder, Store.open("sqlite:///canary.db", folder)
        self._fd = open_news()
        self._client = None if redis is None else states_channel.connect(redis.url)
        self.stream = None if self._client is None else SessionsStream(self._client)
        self.worker = SessionArms(news=SessionNews(self._fd))
        self.publisher = SessionsPublisher(folder, self.store, SessionNews(self._fd), stream=self.stream)

    async def share(self) -> None:
        """Tell the other replicas what the worker has told."""
        assert self.stream is not None
        self.publisher.look()
        await self.publisher.share(self.stream)

    async def hear(self) -> int:
        """Take what others have told until there is no more; the number of times it was asked for."""
        assert self.stream is not None
        times = 0
        while messages := await self.stream.read():
            times += 1
            await self.publisher.hear(messages)
        return times

    async def close(self) -> None:
        self.store.close()
        os.close(self._fd)
        if self._client is not None:
            await self._client.aclose()


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    server = RedisServer()
    yield server
    server.kill()


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scene, 60))


def begun(replica: Replica, count: int) -> list[SessionArm]:
    """As many sessions, each by an exchange in the replica's worker."""
    arms = some(count)
    for each in arms:
        replica.worker.note(structs.replace(FIRST, session=each.session))
    return arms


def test_what_workers_tell_is_in_the_file_of_the_next_start(tmp_path: Path) -> None:
    async def scene() -> None:
        machine = Replica(tmp_path / "one", None)
        arms = begun(machine, 3)
        machine.publisher.look()
        await machine.publisher.write()
        assert sessions_in(machine.folder) == arms
        await machine.close()

    run(scene())


def test_another_replicas_worker_knows_a_session_before_its_next_request(
    tmp_path: Path, redis: RedisServer
) -> None:
    async def scene() -> None:
        one, other = Replica(tmp_path / "one", redis), Replica(tmp_path / "other", redis)
        one.worker.note(FIRST)
        await one.share()
        await other.hear()
        assert other.worker.find(*KEY) == one.worker.find(*KEY) is not None
        await one.close()
        await other.close()

    run(scene())


def test_a_new_replica_reads_all_that_is_kept_without_a_pause(tmp_path: Path, redis: RedisServer) -> None:
    async def scene() -> None:
        with redis.client() as client:
            for each in some(2_000):
                client.xadd(stream.SESSIONS_KEY, {b"d": encoded([each])})
        new = Replica(tmp_path / "new", redis)
        loops = asyncio.gather(*new.publisher.loops())
        while len(new.worker) < 2_000:
            new.worker.look()
            await asyncio.sleep(0)
        loops.cancel()
        await asyncio.gather(loops, return_exceptions=True)
        await new.close()

    run(scene())


def test_what_redis_does_not_take_is_told_once_it_is_back(tmp_path: Path) -> None:
    async def scene() -> None:
        redis = RedisServer()
        one, other = Replica(tmp_path / "one", redis), Replica(tmp_path / "other", redis)
        redis.kill()
        arms = begun(one, MANY)
        await one.share()
        redis.start()
        await one.share()
        await other.hear()
        assert [other.worker.find(each.canary, each.session) for each in arms] == arms
        await one.close()
        await other.close()
        redis.kill()

    run(scene())


def test_replicas_tell_one_another_each_thing_once(tmp_path: Path, redis: RedisServer) -> None:
    async def scene() -> None:
        one, other = Replica(tmp_path / "one", redis), Replica(tmp_path / "other", redis)
        begun(one, 3)
        for replica in (one, other, one, other):
            await replica.share()
            await replica.hear()
        with redis.client() as client:
            assert client.xlen(stream.SESSIONS_KEY) == 1
        await one.close()
        await other.close()

    run(scene())
