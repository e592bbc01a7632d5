"""Signatures of AWS, with the machine's credentials from AWS's own library."""

import logging
import time
from typing import Any
from urllib.parse import urlsplit

from proxy.credentials.credential import NoCredential, UnsignedRequest
from proxy.credentials.tokens import Token, TokenSource, until
from proxy.provider import Provider
from proxy.sigv4 import AwsKeys, AwsScope, signature
from proxy.upstream.request import Address

HELP = (
    "give this machine a role (of its instance, task or pod), set AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY or AWS_PROFILE, or set api_key to a key for Bedrock"
)
_REREAD_S = 600.0
"""Keys without an end are read again after this time: another program may write new ones into a file."""

_MANTLE = "bedrock-mantle"


def aws_keys() -> Token[AwsKeys]:
    """Fetch the machine's keys: from variables, a profile, SSO, a container or an instance. Blocks. Raises
    NoCredential.

    Every call begins anew, so changed files are read.
    """
    try:
        from botocore.exceptions import BotoCoreError
        from botocore.session import Session
    except ImportError as problem:
        raise NoCredential(
            "auth: aws needs a library: pip install 'WHEEL[aws]', or '.[aws]' in a checkout"
        ) from problem
    logging.getLogger("botocore").setLevel(logging.CRITICAL)
    try:
        credentials: Any = Session().get_credentials()  # the library has no types
        keys = credentials.get_frozen_credentials() if credentials is not None else None
    except BotoCoreError as problem:
        raise NoCredential(str(problem)) from problem
    if keys is None or not keys.access_key or not keys.secret_key:
        raise NoCredential("no AWS credentials were found on this machine")
    return Token(AwsKeys(keys.access_key, keys.secret_key, keys.token or ""), _end(credentials))


def _end(credentials: Any) -> float:
    """When the keys end, in CLOCK_MONOTONIC seconds. botocore shows no end of keys that it renews itself
    except by this attribute."""
    expires = getattr(credentials, "_expiry_time", None)
    return until(expires.timestamp()) if expires is not None else time.monotonic() + _REREAD_S


class AwsSignature:
    """Signs the requests to one entry."""

    def __init__(self, provider: Provider, source: TokenSource[AwsKeys]) -> None:
        self._source = source
        self._prefix = urlsplit(provider.base_url).path.rstrip("/").encode()
        self._scope = _scope(provider)

    def headers(self, request: UnsignedRequest) -> list[tuple[bytes, bytes]]:
        """The signature, for this moment. Raises NoCredential."""
        keys = self._source.value()
        if request.body is None:
            raise NoCredential("a body that is streamed cannot be signed")
        return signature(
            keys,
            self._scope,
            method=request.method,
            target=self._prefix + request.target,
            headers=request.headers,
            body=request.body,
            at=time.time(),
        )


def _scope(provider: Provider) -> AwsScope:
    address = Address(provider.base_url)
    return AwsScope(
        host=address.authority,
        region=provider.region,
        service=_MANTLE if address.host.startswith(f"{_MANTLE}.") else "bedrock",
    )
