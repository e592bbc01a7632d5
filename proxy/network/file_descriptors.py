"""Reserves a process's last file descriptors, without which accepted callers would be dropped unanswered.

A new descriptor gets the lowest free number (POSIX), so its number tells how many are open:

    number                     connection to a provider      connection of a caller
    below the reserve          allowed                       allowed
    first half of the reserve  refused                       closed after its next answer
    second half                refused                       no further ones are accepted

The rest of the reserve is for files: the spool, the plan, the config.
"""

import errno
import os
import resource
from contextlib import suppress
from socket import gaierror
from time import monotonic

import structlog

log = structlog.get_logger()

MOST_RESERVED = 64
TELL_EVERY_S = 600.0
_NONE_LEFT = frozenset({errno.EMFILE, errno.ENFILE})


class FileDescriptors:
    """The descriptors of one process, at most `limit`."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._reserve = limit - min(MOST_RESERVED, limit // 4)
        self._last = (self._reserve + limit) // 2
        self._told_at = float("-inf")

    @classmethod
    def of_this_process(cls) -> "FileDescriptors":
        """Create it with this process's current limit."""
        return cls(resource.getrlimit(resource.RLIMIT_NOFILE)[0])

    def in_reserve(self, number: int) -> bool:
        """True for a descriptor in the reserve, which must be closed soon. Logs at intervals."""
        if number < self._reserve:
            return False
        self.tell()
        return True

    def is_last(self, number: int) -> bool:
        """True when no further caller may be accepted."""
        return number >= self._last

    def next(self) -> int:
        """Return the number that the next descriptor would get."""
        try:
            number = os.open("/", os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return self.limit
        os.close(number)
        return number

    def explain(self, problem: Exception) -> bool:
        """True when a connection failed for lack of descriptors. A resolver's error does not say so."""
        number = getattr(problem, "errno", None)
        unsaid = number is None or isinstance(problem, gaierror)
        if number not in _NONE_LEFT and not (unsaid and self.next() >= self._reserve):
            return False
        self.tell()
        return True

    def tell(self) -> None:
        """Log the shortage, at most every 10 minutes."""
        if monotonic() - self._told_at >= TELL_EVERY_S:
            self._told_at = monotonic()
            effect = "requests that need a new connection to a provider get a 503"
            log.warning("descriptors.short", limit=self.limit, effect=effect)


def raise_limit() -> int:
    """Raise the soft limit of this process and its children to the hard limit; return the limit in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):  # the system may forbid it, and the soft limit stays
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
