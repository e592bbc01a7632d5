"""Who may have a process's last descriptors. Without any, an accepted caller would be dropped without a byte.

A new descriptor has the lowest number that is free (POSIX), so its number tells how many are open:

    number                     a connection to a provider    a caller's connection
    below the reserve          kept                          kept
    the reserve's first half   refused                       ends with its next answer
    its second half            refused                       the last one: the others wait to be accepted

What is left of the reserve is for files: the spool, the plan, the config.
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


class Descriptors:
    """One process's, `limit` at most."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._reserve = limit - min(MOST_RESERVED, limit // 4)
        self._last = (self._reserve + limit) // 2
        self._told_at = float("-inf")

    @classmethod
    def of_this_process(cls) -> "Descriptors":
        """With the limit that holds now."""
        return cls(resource.getrlimit(resource.RLIMIT_NOFILE)[0])

    def in_reserve(self, number: int) -> bool:
        """True for one that is not to be kept. Logged, once in a while."""
        if number < self._reserve:
            return False
        self.tell()
        return True

    def is_last(self, number: int) -> bool:
        """True where nobody is to be accepted any more."""
        return number >= self._last

    def next(self) -> int:
        """The number that the next one would have."""
        try:
            number = os.open("/", os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return self.limit
        os.close(number)
        return number

    def explain(self, problem: Exception) -> bool:
        """True where a connection failed for lack of them. A name server's answer does not say so itself."""
        number = getattr(problem, "errno", None)
        unsaid = number is None or isinstance(problem, gaierror)
        if number not in _NONE_LEFT and not (unsaid and self.next() >= self._reserve):
            return False
        self.tell()
        return True

    def tell(self) -> None:
        """Say that they are short, not once for each connection."""
        if monotonic() - self._told_at >= TELL_EVERY_S:
            self._told_at = monotonic()
            log.warning("descriptors.short", limit=self.limit, effect="503 to whoever needs a new connection")


def raise_limit() -> int:
    """Raise the soft limit of this process and its children to the hard one; what holds now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):  # the system may forbid it: the soft one stays
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
