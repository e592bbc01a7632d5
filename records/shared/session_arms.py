"""The sessions that a process knows, and the file that keeps them over a restart (`plan.sessions`).

A worker knows at once what it has served itself, and tells the machine's other processes (`session_news`).
The process beside the spool writes the file, a line a session; replicas pass their lines on through Redis
(`stream`). A session that is not known, or forgotten because there are too many, has the arm of its unit.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from common.whole_file import read_unnoted, write_whole
from records.outcome import Outcome
from records.shared.session_news import SessionNews, decoded, encoded
from routing.sessions import BEGIN, BY, MOST_CHANGES, SessionArm, merged

NAME = "plan.sessions"
MOST_KNOWN = 20_000
"""Sessions that are known."""

AGAIN_EVERY_S = 10.0
"""A session that is active has another line in each of these."""

_Key = tuple[str, str]


class SessionArms:
    """The sessions that one process knows, those heard of last."""

    def __init__(self, most: int = MOST_KNOWN, *, news: SessionNews | None = None) -> None:
        """`news`: by which the machine's processes tell one another; None for a process alone."""
        self._most, self._news = most, news
        self._known: dict[_Key, SessionArm] = {}

    def __len__(self) -> int:
        return len(self._known)

    def find(self, canary: str, session: str) -> SessionArm | None:
        """What is known of this session, by its hash. Before it is unknown, what others tell is read."""
        key = canary, session
        known = self._known.get(key)
        if known is None and self.look():
            known = self._known.get(key)
        return known

    def look(self) -> Sequence[SessionArm]:
        """Learn what the machine's other processes have told. Returns what of it was not known."""
        return () if self._news is None else self.hear(self._news.read())

    def of_user(self, known: SessionArm, user: str) -> SessionArm | None:
        """A known session as one that this user, by the hash, goes on with; None where too many do."""
        after = known.with_user(user)
        if after is not known:
            self._known[known.canary, known.session] = after
            self._tell([after])
        return after if after.changes <= MOST_CHANGES else None

    def note(self, outcome: Outcome) -> Sequence[SessionArm]:
        """Learn of an exchange that has ended, and tell others what they should know, which is returned."""
        if not outcome.session or not outcome.canary or outcome.mirror:
            return ()
        seen = _seen(outcome, self._known.get((outcome.canary, outcome.session)))
        news = () if seen is None else self.hear([seen])
        self._tell(news)
        return news

    def hear(self, arms: Iterable[SessionArm]) -> Sequence[SessionArm]:
        """Learn what another process knows. Returns what of it others should know, as it is known now."""
        return [news for each in arms if (news := self._add(each)) is not None]

    def lines(self) -> Iterable[SessionArm]:
        """All of them, that heard of longest ago first."""
        return self._known.values()

    def _tell(self, arms: Sequence[SessionArm]) -> None:
        if arms and self._news is not None:
            self._news.tell(arms)

    def _add(self, seen: SessionArm) -> SessionArm | None:
        key = seen.canary, seen.session
        before = self._known.pop(key, None)  # it goes to the end
        after = seen if before is None else merged(before, seen)
        self._known[key] = after
        if len(self._known) > self._most:
            del self._known[next(iter(self._known))]
        return after if is_news(before, after) else None


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
    if before is None or after.at // AGAIN_EVERY_S != before.at // AGAIN_EVERY_S:
        return True
    return msgspec.structs.replace(before, at=after.at) != after


def sessions_in(folder: Path) -> list[SessionArm]:
    """The sessions in the file of this data folder; none without one."""
    try:
        return decoded(read_unnoted(folder / NAME))
    except OSError:
        return []


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
