"""The tests' own PostgreSQL: what other tests rely on."""

import psycopg
import pytest

from tests.servers.postgres import Postgres


def test_every_test_gets_a_database_of_its_own(postgres: Postgres) -> None:
    first, second = postgres.fresh(), postgres.fresh()
    assert first != second
    with psycopg.connect(first) as one, psycopg.connect(second) as other:
        one.execute("CREATE TABLE mine (n int)")
        assert other.execute("SELECT to_regclass('mine')").fetchone() == (None,)


def test_what_was_committed_outlives_a_kill(durable_postgres: Postgres) -> None:
    with psycopg.connect(durable_postgres.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
    durable_postgres.kill()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(durable_postgres.url)
    durable_postgres.start()
    with psycopg.connect(durable_postgres.url) as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (7,)


def test_a_frozen_server_answers_once_it_thaws(durable_postgres: Postgres) -> None:
    durable_postgres.freeze()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(durable_postgres.url, connect_timeout=2)
    durable_postgres.thaw()
    with psycopg.connect(durable_postgres.url, connect_timeout=20) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
