"""The line to a database while somebody waits on it. A timer may shut it, and nothing else by mistake."""

import os
import socket
import threading
from contextlib import suppress
from typing import Any

import psycopg


class Line:
    """A psycopg connection's socket, to be shut from another thread until it is let go of.

    It is a descriptor of its own: the driver's may be closed, and its number another file's, when the timer
    comes. And it is let go of before the connection is another's: a timer that comes later finds nothing.
    `late` says that the timer came in time.
    """

    def __init__(self, driver: "psycopg.Connection[Any]") -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self.late = False
        with suppress(OSError, psycopg.Error):  # it has ended by itself, and what waits on it will see that
            self._socket = socket.socket(fileno=os.dup(driver.pgconn.socket))

    def shut(self) -> None:
        """End whatever waits on the line."""
        with self._lock:
            if self._socket is not None:
                self.late = True
                with suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def let_go(self) -> None:
        """Nobody waits any more."""
        with self._lock:
            if self._socket is not None:
                self._socket.close()
                self._socket = None
