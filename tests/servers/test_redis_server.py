"""The tests' own Redis: what other tests rely on."""

import pytest
import redis

from tests.servers.redis import RedisServer


def test_it_forgets_by_flush_and_by_restart(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.set("kept", "yes")
        redis_server.flush()
        assert client.get("kept") is None
        client.set("kept", "yes")
    redis_server.restart()
    with redis_server.client() as client:
        assert client.get("kept") is None


def test_a_killed_one_refuses_and_comes_back_on_its_port(redis_server: RedisServer) -> None:
    address = redis_server.url
    redis_server.kill()
    with redis_server.client() as client, pytest.raises(redis.ConnectionError):
        client.ping()
    redis_server.start()
    assert redis_server.url == address
    with redis_server.client() as client:
        assert client.ping()


def test_a_frozen_one_answers_once_it_thaws(redis_server: RedisServer) -> None:
    redis_server.freeze()
    with (
        redis.Redis.from_url(redis_server.url, socket_timeout=0.2) as client,
        pytest.raises(redis.TimeoutError),
    ):
        client.ping()
    redis_server.thaw()
    with redis_server.client() as client:
        assert client.ping()
