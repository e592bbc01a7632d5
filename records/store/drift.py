"""What becomes of models under their names: the names in their answers, the probes, and the changes told."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import Connection, cast, func, insert, select, update

from records.store import Store, tables
from records.store.database import insert as added
from records.store.database import one_at_a_time
from routing.canary import ArmName

ChangeKind = Literal["model_changed", "model_drifted"]

_DAY_S = 86400
_ROUNDING = 1e-9
_LOCK = 7_016_000_032
"""PostgreSQL's advisory lock under which rounds are begun, so that two processes keep one budget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """A name in answers of `model` (`provider/model`): since a UTC second, until a day, so many times."""

    model: str
    served: str
    first_at: float
    last_day: int
    answered: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChange:
    """What became of `model` (`provider/model`) at a UTC second: another name, `now`, in its answers, or
    other answers than those of the reference of `before`. `document` has the evidence, and as `then` what
    came after it; of a name that had been there before, that it is there `again`."""

    model: str
    kind: ChangeKind
    before: str
    now: str
    at: float
    document: Mapping[str, Any] = field(default_factory=dict)

    @property
    def since(self) -> float:
        """When it changed, UTC seconds: a drift is found later, and dated to the day."""
        if self.kind != "model_drifted" or "since" not in self.document:
            return self.at
        return datetime.fromisoformat(self.document["since"]).replace(tzinfo=UTC).timestamp()


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswersOfDay:
    """The answers of a canary's arm on a UTC day in one category that were read, those among them that were
    refusals, cut off, or had any fault; and the tokens of the exchanges whose tokens are known."""

    day: int
    category: str
    finished: int
    refused: int
    cut_off: int
    answer_faults: int
    tokens_n: int
    tokens_sum: float


class ProbesSpent(Exception):
    """The day's budget has no room for a round."""


class DriftStore:
    """The models of one database. Every method may raise StoreDown."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def served(self) -> list[ServedModel]:
        """Every name that answers had, by the model that was asked, in the order in which they came."""
        table = tables.served_models.c
        first = func.min(table.first_at).label("first_at")
        query = (
            select(
                (table.provider + "/" + table.model).label("model"),
                table.served,
                first,
                func.max(table.day).label("last_day"),
                cast(func.sum(table.answered), table.answered.type).label("answered"),
            )
            .group_by(table.provider, table.model, table.served)
            .order_by(first, table.served)
        )
        return self._store.found(ServedModel, query)

    def note_change(self, change: ModelChange) -> bool:
        """Store a change; False if it is known, so that it is told once. A name that comes back keeps its
        earlier changes in its document."""
        if self._store.add_new(tables.model_changes, [change]):
            return True
        table = tables.model_changes
        key = (table.c.model == change.model) & (table.c.kind == change.kind) & (table.c.now == change.now)
        with self._store.writing() as connection:
            row = connection.execute(select(table).where(key)).one()
            if change.kind != "model_changed" or row.at >= change.at:
                return False
            before, earlier = dict(row.document), {"before": row.before, "at": row.at}
            kept = [*before.pop(_EARLIER, []), {**earlier, "document": before}]
            document = {**change.document, _EARLIER: kept}
            connection.execute(
                update(table).where(key).values(before=change.before, at=change.at, document=document)
            )
        return True

    def follow(self, change: ModelChange, then: Mapping[str, Any]) -> None:
        """Store what came after a change, in its document, as `then`."""
        table, document = tables.model_changes, {**change.document, "then": dict(then)}
        key = (table.c.model == change.model) & (table.c.kind == change.kind) & (table.c.now == change.now)
        with self._store.writing() as connection:
            connection.execute(update(table).where(key).values(document=document))

    def changes(self, model: str | None = None, *, since: float = 0.0) -> list[ModelChange]:
        """The changes of a model (None: of all) since a UTC second, the oldest first."""
        table = tables.model_changes.c
        query = select(tables.model_changes).where(table.at >= since).order_by(table.at, table.now)
        newest = self._store.found(ModelChange, query if model is None else query.where(table.model == model))
        found = [each for change in newest for each in _with_earlier(change) if each.at >= since]
        return sorted(found, key=lambda each: (each.at, each.now))

    def answers(self, canary: str, arm: ArmName, *, since: int) -> list[AnswersOfDay]:
        """The users' answers of an arm since a UTC day number, by day and category."""
        table, key = tables.unit_days.c, ("day", "category")
        counted = [name for name in AnswersOfDay.__dataclass_fields__ if name not in key]
        query = select(
            table.day,
            table.category,
            *(cast(func.sum(table[name]), table[name].type).label(name) for name in counted),
        ).group_by(table.day, table.category)
        wanted = (
            (table.canary == canary) & (table.arm == arm) & table.mirror.is_(False) & (table.day >= since)
        )
        return self._store.found(AnswersOfDay, query.where(wanted).order_by(table.day, table.category))

    def begin_round(self, model: str, now: float, *, reserve_usd: float, budget_usd: float) -> int:
        """Set aside the highest price of a round before its first call, and return its id. Raises
        ProbesSpent."""
        day = int(now // _DAY_S)
        row = {"model": model, "at": now, "day": day, "reserved_usd": reserve_usd}
        with self._store.writing() as connection:
            one_at_a_time(connection, _LOCK)
            if _spent(connection, day) + reserve_usd > budget_usd + _ROUNDING:
                raise ProbesSpent
            made = insert(tables.probe_rounds).values(**row).returning(tables.probe_rounds.c.id)
            return int(connection.execute(made).scalar_one())

    def end_round(
        self, round_id: int, answers: Mapping[str, Any], *, cost_usd: float | None, names: Sequence[str] = ()
    ) -> None:
        """Store a round's answers, its cost (None: the reserved), and what they call their model."""
        table = tables.probe_rounds
        changed = update(table).where(table.c.id == round_id).values(answers=dict(answers), cost_usd=cost_usd)
        with self._store.writing() as connection:
            row = connection.execute(changed.returning(table.c.model, table.c.at, table.c.day)).one()
            provider, _, model = row.model.partition("/")
            for name in names:
                about = {"provider": provider, "model": model, "served": name, "day": row.day}
                _see(connection, {**about, "first_at": row.at, "answered": 1})

    def rounds(self, model: str) -> Sequence[Mapping[str, Any] | None]:
        """A model's rounds as JSON types, the oldest first; None for one that is asked, or was lost."""
        table = tables.probe_rounds.c
        query = select(table.answers).where(table.model == model).order_by(table.at, table.id)
        with self._store.asking() as connection:
            return connection.execute(query).scalars().all()

    def probed(self) -> Sequence[str]:
        """The models that have rounds."""
        table = tables.probe_rounds.c
        with self._store.asking() as connection:
            return list(connection.execute(select(table.model).distinct().order_by(table.model)).scalars())

    def spent(self, now: float) -> float:
        """The dollars of this UTC day: costs, and what is set aside for rounds whose cost is not known."""
        with self._store.asking() as connection:
            return _spent(connection, int(now // _DAY_S))


_EARLIER = "earlier"


def _with_earlier(change: ModelChange) -> list[ModelChange]:
    """A change, and those to the same name before it."""
    document = dict(change.document)
    earlier = document.pop(_EARLIER, [])
    return [replace(change, document=document), *(replace(change, **each) for each in earlier)]


def _see(connection: Connection, row: Mapping[str, Any]) -> None:
    table = tables.served_models
    seen = added(connection, table).values(**row)
    one_more = {"answered": table.c.answered + 1}
    connection.execute(seen.on_conflict_do_update(index_elements=[*table.primary_key], set_=one_more))


def _spent(connection: Connection, day: int) -> float:
    table = tables.probe_rounds.c
    cost = func.coalesce(table.cost_usd, table.reserved_usd)
    return float(connection.execute(select(func.sum(cost)).where(table.day == day)).scalar() or 0.0)
