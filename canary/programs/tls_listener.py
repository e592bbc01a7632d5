"""Puts TLS below the protocol of a listener, with the newest certificate for each new connection."""

import asyncio
import ssl
from collections.abc import Callable
from typing import cast

from canary.config.certificate import Certificate, server_context
from canary.programs.config_pipe import FollowedConfig
from proxy.network.server.tls import TlsProtocol
from proxy.network.ticker import Ticker


def spoken(config: FollowedConfig, protocol: type[asyncio.Protocol]) -> type[asyncio.Protocol]:
    """What uvicorn calls for each connection: the protocol, or with a certificate TLS that has it above."""
    if config.certificate is None:
        return protocol
    context = NewestContext(lambda: config.certificate)
    tls = TlsProtocol(context, protocol, Ticker(asyncio.get_running_loop()))
    return cast(type[asyncio.Protocol], tls)


class NewestContext:
    """The TLS context of the newest certificate, for each new connection."""

    def __init__(self, certificate: Callable[[], Certificate | None]) -> None:
        """`certificate` never returns None while connections are made."""
        self._certificate = certificate
        self._of: Certificate | None = None
        self._context: ssl.SSLContext | None = None

    def __call__(self) -> ssl.SSLContext:
        certificate = self._certificate()
        if self._context is None or certificate is not self._of:
            assert certificate is not None  # noqa: S101 - the listener began with one
            self._of, self._context = certificate, server_context(certificate.chain, certificate.key)
        return self._context
