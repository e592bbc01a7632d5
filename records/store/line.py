"""A database connection's socket, which a timer can shut down safely while a thread waits on it."""

import os
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg


class Line:
    """A psycopg connection's socket, which another thread may shut down until `let_go`.

    The socket is a duplicate: when the timer fires, the driver may have closed its own descriptor, and the
    number may belong to another file. After `let_go` a late timer has no effect. `late`: the socket was shut.
    """

    def __init__(self, driver: "psycopg.Connection[Any]") -> None:
        import psycopg

        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self.late = False
        with suppress(OSError, psycopg.Error):  # the connection has ended, which its waiting thread will see
            self._socket = socket.socket(fileno=os.dup(driver.pgconn.socket))

    def shut(self) -> None:
        """Shut the socket down, which ends every wait on it."""
        with self._lock:
            if self._socket is not None:
                self.late = True
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def let_go(self) -> None:
        """Close the duplicate when no thread waits any more."""
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None
