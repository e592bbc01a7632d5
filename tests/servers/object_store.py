"""moto's S3 server on a free port of the loopback, which a test may stop and start again. Its objects are
in this process's memory and outlast a stop."""

import logging
from collections.abc import Iterator, Mapping
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import pytest

from tests.servers.ports import free_port

if TYPE_CHECKING:  # moto takes half a second, in every process of the tests
    from moto.server import ThreadedMotoServer

REGION = "eu-central-1"


class S3Server:
    """One server with one bucket, empty at first."""

    def __init__(self, *, running: bool = True) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.port, self.bucket = free_port(), f"outcomes-{token_hex(4)}"
        self._server: ThreadedMotoServer | None = None
        if running:
            self.start()
            self.client().create_bucket(
                Bucket=self.bucket, CreateBucketConfiguration={"LocationConstraint": REGION}
            )

    def url(self, prefix: str = "canary", bucket: str | None = None) -> str:
        """The URL of a prefix, as `outcomes` in canary.yaml takes it."""
        where = f"endpoint_override=127.0.0.1:{self.port}&scheme=http&region={REGION}"
        return f"s3://{bucket or self.bucket}/{prefix}?{where}"

    def client(self, service: str = "s3") -> Any:
        """AWS's own client, for the test's own looks."""
        import boto3

        return boto3.client(service, endpoint_url=f"http://127.0.0.1:{self.port}", region_name=REGION)

    def objects(self) -> Mapping[str, int]:
        """The bytes of every object, by its key."""
        found = self.client().list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return {each["Key"]: each["Size"] for each in found}

    def start(self) -> None:
        """Start, and return when it listens."""
        from moto.server import ThreadedMotoServer

        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self._server.start()

    def stop(self) -> None:
        """Stop listening: connections are refused."""
        if self._server is not None:
            self._server.stop()
            self._server = None


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """This test's own server, with credentials for it in the environment and no others."""
    environment = {
        "AWS_ACCESS_KEY_ID": "someone", "AWS_SECRET_ACCESS_KEY": "a-secret-of-someone",
        "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }  # fmt: skip
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    server = S3Server()
    yield server
    server.stop()


@pytest.fixture
def checked_s3(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The same, which checks credentials and what they may do, as AWS does; someone's are unknown there."""
    from moto import settings

    monkeypatch.setattr(settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0)
    return s3
