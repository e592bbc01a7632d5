"""Issuers of AWS's temporary keys on loopback: a container's endpoint, and an instance's metadata."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ROLE = "canary-role"


class AwsIssuer:
    """Issues new keys with each request; `secrets` and `tokens` are those issued, by access key.

    `life_s`: how long keys live. `fails`: while True there are none.
    """

    def __init__(self, life_s: float) -> None:
        self.life_s = life_s
        self.fails = False
        self.secrets: dict[str, str] = {}
        self.tokens: dict[str, str] = {}
        self.url = ""

    def issue(self) -> dict[str, str]:
        """The document of new keys."""
        number = len(self.secrets) + 1
        key, secret, token = f"ASIAISSUED{number}", f"secret {number}", f"session {number}"
        self.secrets[key], self.tokens[key] = secret, token
        ends = datetime.now(UTC) + timedelta(seconds=self.life_s)
        return {
            "Code": "Success",
            "AccessKeyId": key,
            "SecretAccessKey": secret,
            "Token": token,
            "Expiration": ends.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }

    @property
    def container(self) -> dict[str, str]:
        """The variables of a container whose role has these keys."""
        return {**NOWHERE, "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{self.url}/container"}

    @property
    def instance(self) -> dict[str, str]:
        """The variables by which an instance's metadata are found here."""
        return {
            **NOWHERE,
            "AWS_EC2_METADATA_DISABLED": "false",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"{self.url}/",
        }


NOWHERE = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
    "AWS_CONFIG_FILE": "/nowhere",
}
"""Variables of a machine without AWS credentials."""


@contextmanager
def aws_issuer(life_s: float = 3600.0) -> Iterator[AwsIssuer]:
    """An issuer, up."""
    issuer = AwsIssuer(life_s)

    class Handler(_Handler):
        of = issuer

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        issuer.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, name="aws-issuer")
        thread.start()
        try:
            yield issuer
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    of: AwsIssuer

    def do_GET(self) -> None:
        if self.of.fails:
            return self._say(500, "no keys at the moment")
        if self.path == "/latest/meta-data/iam/security-credentials/":
            return self._say(200, ROLE)
        if self.path in ("/container", f"/latest/meta-data/iam/security-credentials/{ROLE}"):
            return self._say(200, json.dumps(self.of.issue()))
        return self._say(404, "")

    def do_PUT(self) -> None:
        self._say(200, "metadata-session")

    def _say(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
