"""The sessions that every worker knows, in a file beside the states (`plan.sessions`). One writer.

A worker knows at once what it has served itself. The process that reads the spool appends what has changed to
the file, a line a session, which all workers of the machine follow; replicas pass their lines on through
Redis (`stream`). A session whose line is lost, or forgotten because there are too many, has the arm
of its unit.
"""

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from common.text import UNREADABLE
from common.whole_file import write_whole
from records.outcome import Outcome
from routing.sessions import BEGIN, BY, SessionArm, merged

NAME = "plan.sessions"
MOST_KNOWN = 20_000
"""Sessions that are known."""

MOST_CHANGES = 16
"""So often may one session go from one user to another. A text that is the session of many users, such as an
app's name, is no session: from then on each of them has an arm of their own."""

AGAIN_AFTER_S = 10.0
"""How much later than its line says a session is active before there is another line."""

READ_AT_ONCE = 32 << 10
"""Bytes of lines that a worker takes at once: some milliseconds."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(SessionArm).decode
_Key = tuple[str, str]


class SessionArms:
    """The sessions that one process knows, those heard of last."""

    def __init__(self, most: int = MOST_KNOWN) -> None:
        self._most = most
        self._known: dict[_Key, SessionArm] = {}
        self._users: dict[_Key, tuple[str, int]] = {}

    def __len__(self) -> int:
        return len(self._known)

    def find(self, canary: str, session: str) -> SessionArm | None:
        """What is known of this session, by its hash."""
        return self._known.get((canary, session))

    def of_user(self, canary: str, session: str, user: str) -> SessionArm | None:
        """The session as one that this user, by its hash, goes on with; None where too many do."""
        known = self._known.get((canary, session))
        if known is None or (known.unit == user and not self._users):
            return known
        key = canary, session
        last, changes = self._users.get(key, (known.unit, 0))
        if last != user:
            changes += 1
            self._users[key] = user, changes
            _forget_first(self._users, self._most)
        return known if changes <= MOST_CHANGES else None

    def note(self, outcome: Outcome) -> SessionArm | None:
        """Learn of an exchange that has ended. Returns what is known of its session now; None for nothing."""
        if not outcome.session or not outcome.canary or outcome.mirror:
            return None
        before = self._known.get((outcome.canary, outcome.session))
        seen = _seen(outcome, before)
        return None if seen is None else self._add(seen, before)

    def hear(self, arms: Iterable[SessionArm]) -> None:
        """Learn what another process knows."""
        for each in arms:
            self._add(each, self._known.get((each.canary, each.session)))

    def lines(self) -> Iterable[SessionArm]:
        """All of them, that heard of longest ago first."""
        return self._known.values()

    def _add(self, seen: SessionArm, before: SessionArm | None) -> SessionArm:
        key = seen.canary, seen.session
        after = seen if before is None else merged(before, seen)
        if before is not None:
            del self._known[key]  # it goes to the end
        self._known[key] = after
        _forget_first(self._known, self._most)
        return after


def _forget_first(known: dict[_Key, SessionArm] | dict[_Key, tuple[str, int]], most: int) -> None:
    if len(known) > most:
        del known[next(iter(known))]


def _seen(outcome: Outcome, before: SessionArm | None) -> SessionArm | None:
    """What one exchange says of its session."""
    answered = BY[outcome.served_by] if outcome.served_by is not None and _has_answer(outcome) else 0
    if outcome.reason in BEGIN and outcome.unit:
        return SessionArm(
            outcome.canary,
            outcome.session,
            outcome.unit,
            outcome.place,
            outcome.arm,
            outcome.reason,
            outcome.run,
            outcome.phase,
            outcome.share,
            outcome.at,
            outcome.ended_at,
            answered,
        )
    if before is None:
        return None
    at = max(before.at, outcome.ended_at)
    return msgspec.structs.replace(before, at=at, answered=before.answered | answered)


def _has_answer(outcome: Outcome) -> bool:
    """True where a model's answer, or its beginning, has gone to the caller. A socket's has no status."""
    if outcome.outcome == "aborted":
        return outcome.status is not None and outcome.status < 300
    return outcome.outcome in ("ok", "fallback") and (outcome.status or 200) < 300


def is_news(before: SessionArm | None, after: SessionArm) -> bool:
    """True when other processes should know: of the session, of its arm, or that it is active still."""
    if before is None or after.at - before.at > AGAIN_AFTER_S:
        return True
    return msgspec.structs.replace(before, at=after.at) != after


def encoded(arms: Iterable[SessionArm]) -> bytes:
    """A line for each."""
    return b"".join([_encode(each) + b"\n" for each in arms])


def decoded(lines: bytes) -> list[SessionArm]:
    """The sessions again, without lines of another version or cut in two."""
    found = []
    for line in lines.split(b"\n"):
        try:
            found.append(_decode(line))
        except UNREADABLE:
            continue
    return found


class SessionsFile:
    """The file's only writer. `write` may raise OSError."""

    def __init__(self, path: Path, most: int = MOST_KNOWN) -> None:
        self._path, self._most = path, most
        self._lines = self._bytes = 0

    def write(self, fresh: Iterable[SessionArm], known: SessionArms) -> None:
        """Append what is new; write the file anew where most of it is old, or another process wrote it."""
        lines = [*fresh]
        data = encoded(lines)
        size = self._path.stat().st_size if self._path.exists() else -1
        if size != self._bytes or self._lines + len(lines) > 2 * self._most:
            data = encoded([*known.lines()])
            write_whole(self._path, data, durable=False)
            self._lines, self._bytes = len(known), len(data)
            return
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            self._bytes += os.write(fd, data)
        finally:
            os.close(fd)
        self._lines += len(lines)


class SessionsWatch:
    """One reader of the file, which learns what has been appended."""

    def __init__(self, path: Path, known: SessionArms) -> None:
        self._path, self._known = path, known
        self._inode = self._at = 0
        """The file, and how many of its bytes have been read."""

    def poll(self) -> bool:
        """Learn what is new, READ_AT_ONCE. False when that was nothing, which costs one stat()."""
        try:
            about = self._path.stat()
            if about.st_ino == self._inode and about.st_size <= self._at:
                return False
            with os.fdopen(os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOATIME), "rb") as file:
                if (inode := os.fstat(file.fileno()).st_ino) != self._inode:
                    self._inode, self._at = inode, 0
                file.seek(self._at)
                data = file.read(READ_AT_ONCE)
        except OSError:
            return False
        whole = data.rfind(b"\n") + 1  # the last line may be under way
        self._known.hear(decoded(data[:whole]))
        self._at += whole
        return whole > 0
