"""Segments in an S3 server: rolled, read, expired, and what is said when it cannot be."""

import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow.compute as pc
import pytest

from records.errors import StoreDown
from records.shared import segment_folder
from records.shared.segment_folder import ObjectStore, SegmentFolder
from records.store import Store, segment_writer
from records.store.segments.sources import sources
from tests.records.samples import DAY, a_batch, an_outcome
from tests.records.stored import stored
from tests.servers.object_store import S3Server

NOW = 20_001 * DAY


@pytest.fixture
def store(s3: S3Server, tmp_path: Path) -> Iterator[Store]:
    """A store with ten outcomes of two hours, whose segments go to the server."""
    with closing(Store.open("sqlite:///canary.db", tmp_path, outcomes=s3.url())) as opened:
        opened.ship(a_batch(*(an_outcome(n, at=20_000 * DAY + n * 400) for n in range(10))))
        yield opened


def ids(store: Store) -> list[str]:
    return [row["exchange_id"] for row in stored(store)]


def said(outcomes: str) -> str:
    """What is said when a segment is written there."""
    with pytest.raises(StoreDown) as raised:
        SegmentFolder(outcomes).write("day=2024-10-04/hour=00/00.parquet", b"PAR1")
    return str(raised.value)


def test_outcomes_are_rolled_into_the_bucket_and_read_from_there(store: Store, s3: S3Server) -> None:
    before = ids(store)
    segment_writer.roll(store, NOW)
    keys = sorted(s3.objects())
    assert [key.rpartition("/")[0] for key in keys] == [
        "canary/day=2024-10-04/hour=00", "canary/day=2024-10-04/hour=01",
    ]  # fmt: skip
    assert all(key.endswith(".parquet") for key in keys)
    assert ids(store) == before == [f"exchange-{n}" for n in range(10)]
    with store.reading() as connection:
        (hour,) = sources(connection, until=20_000 * DAY + 1)
        early = hour.read(["latency_s"], pc.field("arm") == "candidate")
    assert early.column("latency_s").to_pylist() == [0.25] * 9


def test_what_expired_is_deleted_from_the_bucket(store: Store, s3: S3Server) -> None:
    segment_writer.roll(store, NOW)
    segment_writer.expire(store, 20_000 * DAY + 3600)
    assert [key.split("/")[2] for key in s3.objects() if key.endswith(".parquet")] == ["hour=01"]
    assert ids(store) == ["exchange-9"]


def test_while_the_server_is_down_outcomes_stay_fresh_and_it_goes_on_afterwards(
    store: Store, s3: S3Server
) -> None:
    s3.stop()
    with pytest.raises(StoreDown, match=rf"127\.0\.0\.1:{s3.port} does not answer"):
        segment_writer.roll(store, NOW)
    assert len(ids(store)) == 10
    store.ship(a_batch(an_outcome(10, at=20_000 * DAY + 4000)))
    s3.start()
    segment_writer.roll(store, NOW)
    assert len(set(ids(store))) == 11
    assert len([key for key in s3.objects() if key.endswith(".parquet")]) == 2


def test_a_segment_that_cannot_be_read_is_no_empty_one(store: Store, s3: S3Server) -> None:
    segment_writer.roll(store, NOW)
    key = next(iter(s3.objects()))
    s3.client().delete_object(Bucket=s3.bucket, Key=key)
    with pytest.raises(StoreDown, match=f"{key.removeprefix('canary/')} is missing in s3://{s3.bucket}"):
        ids(store)
    s3.stop()
    with pytest.raises(StoreDown, match="does not answer"):
        ids(store)


def test_a_bucket_that_is_not_there_is_named_with_what_would_be_right(s3: S3Server) -> None:
    assert "there is no bucket elsewhere: create it, or correct `outcomes`" in said(
        s3.url(bucket="elsewhere")
    )


def test_credentials_that_may_not_write_are_said_to_be_so_and_not_shown(
    checked_s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = said(checked_s3.url())
    assert f"may not read, write and delete in the bucket {checked_s3.bucket}" in message
    assert "INVALID_ACCESS_KEY_ID" in message and "use AWS_ACCESS_KEY_ID and" in message
    assert "a-secret-of-someone" not in message


def test_a_server_that_says_nothing_is_given_up_in_bounded_time(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment_folder, "SILENCE_S", 1.0)
    monkeypatch.setattr(segment_folder, "ATTEMPTS", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        began = time.monotonic()
        assert f"127.0.0.1:{port} does not answer" in said(
            f"s3://b/p?endpoint_override=127.0.0.1:{port}&scheme=http"
        )
    assert time.monotonic() - began < 60


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3://", "s3:// needs a bucket: write s3://BUCKET/PREFIX"),
        ("s3://key:secret@bucket/p", "credentials do not belong in a URL: use AWS_ACCESS_KEY_ID and"),
        ("s3://bucket/p?secret_key=abc", "credentials do not belong in a URL"),
        (
            "s3://bucket/p?zone=eu",
            '"zone" is no parameter of s3://; there are: endpoint_override, region, scheme',
        ),
        ("gs://someone@bucket/p", "credentials do not belong in a URL: use GOOGLE_APPLICATION_CREDENTIALS"),
        ("az://container/p", "az:// needs its account: write az://container/p?account=NAME"),
    ],
)
def test_a_url_that_names_no_place_says_what_would(url: str, words: str) -> None:
    with pytest.raises(ValueError, match="^" + words.replace("?", r"\?")) as raised:
        SegmentFolder(url)
    assert "abc" not in str(raised.value) and "key:secret" not in str(raised.value)


def test_what_an_object_store_says_is_said_without_a_signed_query() -> None:
    place = ObjectStore.at("az://container/p?account=ours")
    problem = OSError("UploadFrom failed for 'https://ours/container/p/x?sig=verysecret'. Something new.")
    assert place.explained(problem) == "UploadFrom failed for 'https://ours/container/p/x'. Something new."
