"""TLS between a socket and a protocol that does not know of it. The protocol's transport is a CallerTls.

    stage         bytes that arrive              their end                     timeout
    handshake     go into the handshake          close                         10 s, 1 s in shutdown: close
    open          are decrypted for the protocol the protocol's eof_received   the protocol's
    after our end are dropped                    close                         the protocol's

asyncio's own TLS transport does not say what the socket still holds, cannot shut down only our sending side,
and does not let a caller do so. It also shows a connection only after its handshake, when it has long had a
descriptor. So OpenSSL works on memory here (`ssl.MemoryBIO`), and the socket's transport stays ours.
"""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any

import structlog
from uvicorn import Config
from uvicorn.server import ServerState

from proxy.network.server.caller_connection import LAST_IDLE_S
from proxy.network.server.request_head import refusal
from proxy.network.ticker import Ticker

log = structlog.get_logger()

HANDSHAKE_S = 10.0

_RECORD = 16 * 1024
"""The most bytes that TLS encrypts at once (RFC 8446 §5.1)."""

_NO_TLS = refusal(400, "This port speaks TLS: use https://.")


class CallerTls(asyncio.Transport):
    """One caller's connection: an asyncio.Protocol to the socket's transport, and a transport to the protocol
    above, which `protocol` makes once the handshake is complete.

    uvicorn calls this class, with the first three arguments bound, in the place of `protocol`. `context` is
    asked for each connection, so a new certificate serves the next one.
    """

    ending = False  # the server shuts down: no request after the next one

    def __init__(
        self,
        context: Callable[[], ssl.SSLContext],
        protocol: Callable[..., Any],
        ticker: Ticker,
        *,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__()
        self._context = context()
        self._received, self._to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = self._context.wrap_bio(self._received, self._to_send, server_side=True)
        self._make = partial(
            protocol, config=config, server_state=server_state, app_state=app_state, _loop=_loop
        )
        self._above: Any = None  # the protocol, once the handshake is complete
        self._server_state = server_state
        self._ticker = ticker
        self._shared = app_state.get("shared")
        self._paused = False
        self._shut = False  # the caller has shut down the sending side of its socket
        self._heard_end = False  # by close_notify, or it has shut that down
        self._said_end = False

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._socket = transport
        self.check_at = monotonic() + HANDSHAKE_S
        if self._shared is not None:  # before the handshake: it counts already
            self._shared.came(transport.get_extra_info("socket").fileno())
        self._server_state.connections.add(self)  # type: ignore[arg-type]
        self._ticker.watch(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        self._said_end = True
        above, self._above = self._above, None  # breaks the reference cycle
        if above is not None:
            above.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not (self._said_end or self._heard_end):
            self._received.write(data)
            self._advance()

    def eof_received(self) -> bool:
        """Return True: this class closes the socket."""
        self._shut = True
        if self._said_end:
            self._socket.close()
        else:
            self._advance()
        return True

    def pause_writing(self) -> None:
        if self._above is not None:
            self._above.pause_writing()

    def resume_writing(self) -> None:
        if self._above is not None:
            self._above.resume_writing()

    # Until the handshake is complete: called by uvicorn's Server and the ticker

    def shutdown(self) -> None:
        """Serve a caller whose handshake is on its way one request."""
        self.ending = True
        self.check_at = min(self.check_at, monotonic() + LAST_IDLE_S)

    def check(self, now: float) -> None:
        """The handshake took too long."""
        self._socket.abort()

    # Called by the listener's server, as of CallerConnection

    @property
    def waits_since(self) -> float | None:
        """Since when the caller owes its handshake; None once it is complete, or the connection ends."""
        return None if self._above is not None or self._socket.is_closing() else self.check_at - HANDSHAKE_S

    def shed(self) -> None:
        """Close at once: the descriptor is needed."""
        self._socket.abort()

    # asyncio.Transport, for the protocol above

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._context if name == "sslcontext" else self._socket.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        return self._socket.get_write_buffer_size()

    def is_closing(self) -> bool:
        return self._socket.is_closing()

    def pause_reading(self) -> None:
        self._paused = True
        self._socket.pause_reading()

    def resume_reading(self) -> None:
        self._paused = False
        self._socket.resume_reading()
        asyncio.get_running_loop().call_soon(self._advance)  # what was decrypted, or waits to be

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._said_end or self._socket.is_closing():
            return
        left = memoryview(data)
        while left:
            left = left[self._tls.write(left) :]
        self._flush()

    def write_eof(self) -> None:
        self._say_end()
        self._socket.write_eof()

    def close(self) -> None:
        if not self._socket.is_closing():
            self._say_end()
            self._socket.close()

    def abort(self) -> None:
        self._socket.abort()

    # Inside

    def _advance(self) -> None:
        """Do what the bytes that have arrived allow."""
        if self._above is not None or self._shake_hands():
            self._read()
        self._flush()

    def _shake_hands(self) -> bool:
        """Go on with the handshake; True once it is complete."""
        if self._socket.is_closing():
            return False
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            if self._shut:
                self._socket.close()
            return False
        except ssl.SSLError as problem:
            self._refuse(problem)
            return False
        self._forget()
        self._above = self._make()
        self._above.connection_made(self)
        if self.ending:
            self._above.shutdown()
        return True

    def _refuse(self, problem: ssl.SSLError) -> None:
        """Close after a handshake that failed."""
        log.debug("tls.refused", problem=problem.reason)
        if problem.reason == "HTTP_REQUEST":
            self._socket.write(_NO_TLS)
        self._flush()  # the alert
        self._socket.close()

    def _read(self) -> None:
        while not (self._paused or self._heard_end or self._said_end or self._socket.is_closing()):
            try:
                data = self._tls.read(_RECORD)
            except ssl.SSLWantReadError:
                if not self._shut:
                    return
                data = b""
            except ssl.SSLError as problem:
                log.debug("tls.broken", problem=problem.reason)
                self._socket.abort()
                return
            if data:
                self._above.data_received(data)
            else:
                self._hear_end()

    def _hear_end(self) -> None:
        self._heard_end = True
        if not self._above.eof_received():
            self.close()

    def _say_end(self) -> None:
        """Send the close_notify alert, after which nothing is sent and nothing more is read."""
        if not self._said_end:
            self._said_end = True
            with suppress(ssl.SSLError):  # the caller has not said its end, or we cannot read it
                self._tls.unwrap()
            self._flush()

    def _flush(self) -> None:
        if self._to_send.pending and not self._socket.is_closing():
            self._socket.write(self._to_send.read())

    def _forget(self) -> None:
        self._ticker.forget(self)
        self._server_state.connections.discard(self)
