"""Finds what is stored of one session: its exchanges in order, how the canaries counted it, its feedback.

A canary that counted the session says when it was, so that few sources are read. A session that no canary
counted is looked for in the newest day.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import nlargest
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, or_, select

from records.facts.exchange_id import day_of, time_and_serial
from records.outcome import (
    AttemptRecord,
    ErrorType,
    Fault,
    Finish,
    Outcome,
    OutcomeName,
    ProviderError,
    blames_arm,
)
from records.store.segments.sources import sources
from records.store.store import Store, states_in
from records.store.tables import feedback as feedback_rows
from records.store.tables import sessions as session_rows
from routing.canary import ArmName
from routing.cohort import unit_hash

MOST_EXCHANGES = 500
SEARCHED_S = 86400.0
"""How far back a session is looked for that no canary counted."""
_BESIDE_S = 3600.0
"""How long before and after the counted exchanges of a session it may have others, which no canary counts."""
_SUBJECTS_AT_ONCE = 100
_TOKENS = ("input_tokens", "cached_input_tokens", "output_tokens")
_at, _last_at = attrgetter("at"), attrgetter("last_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedSession:
    """A session as one run of a canary counts it. Times are UTC seconds; `unit` is a hash."""

    canary: str
    run: int
    phase: int
    arm: ArmName
    unit: str
    first_at: float
    last_at: float
    exchanges: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionToolCall:
    """A tool that an answer calls. `before`: how many answers of the session called it with the same
    arguments."""

    name: str
    before: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionExchange:
    """One exchange of a session, without texts. `at`: UTC seconds at the request's last byte; what is not
    known is None. `attempts`, `provider_error`, `provider_request_id`: as in the Outcome; `provider` and
    `model` answered."""

    exchange_id: str
    at: float
    canary: str
    run: int
    phase: int
    arm: ArmName
    reason: str
    served_by: ArmName | None
    unit: str
    provider: str
    model: str
    operation: str
    category: str
    outcome: OutcomeName
    status: int | None
    error_type: ErrorType | None
    latency_s: float | None
    ttft_s: float | None
    cost_usd: float | None
    input_tokens: int | None
    cached_input_tokens: int | None
    output_tokens: int | None
    finish: Finish | None
    faults: tuple[Fault, ...]
    tool_calls: tuple[SessionToolCall, ...] = ()
    provider_request_id: str = ""
    attempts: tuple[AttemptRecord, ...] = ()
    provider_error: ProviderError | None = None

    @property
    def own(self) -> AttemptRecord | None:
        """The request to the assigned arm's provider; None if it was not asked."""
        return next((each for each in self.attempts[:1] if each.arm == self.arm), None)

    @property
    def failed(self) -> bool:
        """As of an outcome."""
        return self.outcome in ("error", "fallback") and blames_arm(self.error_type)

    @property
    def ended_at(self) -> float:
        """As of an outcome."""
        return self.at + (self.latency_s or 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFeedback:
    """One value about the session, or about the exchange with this id. `at` is UTC seconds."""

    metric: str
    value: float
    at: float
    exchange_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionMark:
    """What a judge says of the session, or of the exchange with this id. `mark` is from 1 to 5, `better` the
    arm of the better answer, or "tie"; `done`: the session's task was done."""

    judge: str
    exchange_id: str = ""
    mark: float | None = None
    better: str = ""
    done: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionTotals:
    """Sums over a session's exchanges. A cost or a number of tokens has the exchanges of which it is known;
    None where that is none. `priced`: of how many exchanges the cost is known."""

    exchanges: int
    length_s: float
    cost_usd: float | None
    priced: int
    input_tokens: int | None
    cached_input_tokens: int | None
    output_tokens: int | None
    tool_calls: int
    failed: int
    faulty: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSession:
    """What is stored of a session, oldest first. `session`: its hash, "" for an exchange without a session.

    `marks` are added by who knows the judge. `more`: only the newest `MOST_EXCHANGES` exchanges are here.
    `searched_since`: UTC second from which on a session was looked for that no canary counted; None where one
    counted it.
    """

    session: str
    counted: tuple[CountedSession, ...] = ()
    exchanges: tuple[SessionExchange, ...] = ()
    feedback: tuple[SessionFeedback, ...] = ()
    marks: tuple[SessionMark, ...] = ()
    more: bool = False
    searched_since: float | None = None

    @property
    def missing(self) -> int:
        """How many exchanges the canaries counted beyond those that are here: at least so many are not."""
        return max(0, sum(each.exchanges for each in self.counted) - len(self.exchanges))

    @property
    def runs(self) -> list[tuple[str, int]]:
        """(canary, run) of all canaries that the session was in."""
        counted = [(each.canary, each.run) for each in self.counted]
        here = [(each.canary, each.run) for each in self.exchanges if each.canary]
        return [*dict.fromkeys([*counted, *here])]

    @property
    def units(self) -> list[str]:
        """The hashes of all units that the session had."""
        counted, here = [each.unit for each in self.counted], [each.unit for each in self.exchanges]
        return [each for each in dict.fromkeys([*counted, *here]) if each]

    @property
    def totals(self) -> SessionTotals:
        """The sums over the exchanges that are here."""
        of = self.exchanges
        costs = [each.cost_usd for each in of if each.cost_usd is not None]
        first, last = min(map(_at, of), default=0.0), max((each.ended_at for each in of), default=0.0)
        return SessionTotals(
            exchanges=len(of),
            length_s=last - first,
            cost_usd=sum(costs) if costs else None,
            priced=len(costs),
            tool_calls=sum(len(each.tool_calls) for each in of),
            failed=sum(each.failed for each in of),
            faulty=sum(bool(each.faults) for each in of),
            **{name: _sum(getattr(each, name) for each in of) for name in _TOKENS},
        )


def _sum(counts: Iterable[int | None]) -> int | None:
    known = [each for each in counts if each is not None]
    return sum(known) if known else None


def session_of(store: Store, named: str, *, ids_keys: Sequence[bytes], now: float) -> StoredSession:
    """What is stored of the session that `named` names: an app's own id, the hash of one, or the id of an
    exchange in it. May raise StoreDown."""
    named = named.strip()
    with store.reading() as connection:
        exchange = exchange_of(connection, named)
        if exchange is not None and not exchange.session:
            return _told(connection, "", (), [exchange])
        names = (
            [unit_hash(key, named) for key in ids_keys] + [named] if exchange is None else [exchange.session]
        )
        if counted := _counted(connection, names):
            name = counted[0][0]
            rows = [row for session, row in counted if session == name]
            since, until = min(each.first_at for each in rows), max(each.last_at for each in rows)
            exchanges, more = _newest(connection, [name], since - _BESIDE_S, until + _BESIDE_S)
            return _told(connection, name, rows, exchanges, more=more)
        since = now - SEARCHED_S if exchange is None else exchange.at - _BESIDE_S
        exchanges, more = _newest(connection, names, since, now + _BESIDE_S)
        name = exchanges[0].session if exchanges else names[0]
        return _told(connection, name, (), exchanges, more=more, searched_since=since)


def exchange_of(connection: Connection, exchange_id: str) -> Outcome | None:
    """The stored exchange of this id, which has its time; None if it is no id, or of nothing stored."""
    of_time = time_and_serial(exchange_id)
    if of_time is None or day_of(exchange_id) is None:
        return None
    at = of_time[0] / 1e6
    for source in sources(connection, since=at - 1.0, until=at + 1.0):
        for found in source.outcomes_with("exchange_id", [exchange_id]):
            return found
    return None


def _counted(connection: Connection, names: Sequence[str]) -> list[tuple[str, CountedSession]]:
    """(hash, row) of the sessions with these hashes, oldest first, by the primary key of each run."""
    of = session_rows.c
    columns = [of[name] for name in CountedSession.__dataclass_fields__]
    found: list[tuple[str, CountedSession]] = []
    for canary, held in states_in(connection).items():
        runs = range(held.state.run + 1)
        wanted = select(of.session, *columns).where(
            of.canary == canary, of.run.in_(runs), of.session.in_(names)
        )
        for row in connection.execute(wanted).mappings():
            values: dict[str, Any] = {str(name): value for name, value in row.items()}
            found.append((values.pop("session"), CountedSession(**values)))
    return sorted(found, key=lambda each: each[1].first_at)


def _newest(
    connection: Connection, names: Collection[str], since: float, until: float
) -> tuple[list[Outcome], bool]:
    """The newest MOST_EXCHANGES exchanges of sessions with these hashes, oldest first, and whether there are
    more. Mirror copies are left out."""
    found: list[Outcome] = []
    for source in sorted(sources(connection, since=since, until=until), key=_last_at, reverse=True):
        if len(found) > MOST_EXCHANGES and source.last_at < found[-1].at:
            break
        found += [each for each in source.outcomes_with("session", names) if not each.mirror]
        found = nlargest(MOST_EXCHANGES + 1, found, key=_at)
    return found[MOST_EXCHANGES - 1 :: -1], len(found) > MOST_EXCHANGES


def _told(
    connection: Connection,
    session: str,
    counted: Sequence[CountedSession],
    outcomes: Sequence[Outcome],
    **told: Any,
) -> StoredSession:
    subjects = [each for each in (session, *(outcome.exchange_id for outcome in outcomes)) if each]
    return StoredSession(
        session=session,
        counted=tuple(counted),
        exchanges=tuple(_exchanges(outcomes)),
        feedback=tuple(sorted(_feedback(connection, subjects), key=attrgetter("at", "metric"))),
        **told,
    )


_SAME = [name for name in SessionExchange.__dataclass_fields__ if name not in (*_TOKENS, "tool_calls")]


def _exchanges(outcomes: Sequence[Outcome]) -> Iterator[SessionExchange]:
    seen: Counter[bytes] = Counter()
    for each in outcomes:
        same: Mapping[str, Any] = {name: getattr(each, name) for name in _SAME}
        tokens: Mapping[str, Any] = {name: getattr(each.usage, name) for name in _TOKENS}
        tools = tuple(SessionToolCall(name=call.name, before=seen[call.digest]) for call in each.tool_calls)
        seen.update({call.digest for call in each.tool_calls})
        yield SessionExchange(**same, **tokens, tool_calls=tools)


def _feedback(connection: Connection, subjects: Sequence[str]) -> Iterator[SessionFeedback]:
    """The values about these sessions and exchanges, whose keys begin with them."""
    of = feedback_rows.c
    columns = [of[name] for name in SessionFeedback.__dataclass_fields__]
    for first in range(0, len(subjects), _SUBJECTS_AT_ONCE):
        some = subjects[first : first + _SUBJECTS_AT_ONCE]
        begin = [(of.key >= f"{subject}/") & (of.key < f"{subject}0") for subject in some]
        for row in connection.execute(select(*columns).where(or_(*begin))).mappings():
            yield SessionFeedback(**{str(name): value for name, value in row.items()})
