"""What became of known issues in the store: which model had one, and when. Written once, never changed."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from sqlalchemy import insert, select

from records import tables
from records.store import Store

IssueState = Literal["still_there", "gone", "unknown"]
"""Whether a model has an issue. `unknown`: not asked, no answer, or no mark."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueCheck:
    """One model asked for one issue. `at` is UTC seconds, `model` is `provider/model`, `issue` is the hash of
    the issue's example."""

    at: float
    model: str
    issue: str
    state: IssueState


class IssueChecks:
    """The checks of one database. Every method may raise StoreDown."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, checks: Sequence[IssueCheck]) -> None:
        """Store the checks of one model."""
        if not checks:
            return
        with self._store.writing() as connection:
            connection.execute(insert(tables.issue_checks), [asdict(check) for check in checks])

    def all(self, model: str | None = None) -> list[IssueCheck]:
        """Return all checks, or those of one model, oldest first."""
        table = tables.issue_checks
        query = select(table).order_by(table.c.at, table.c.id)
        if model is not None:
            query = query.where(table.c.model == model)
        with self._store.reading() as connection:
            found = connection.execute(query).mappings()
            return [IssueCheck(**{name: row[name] for name in _FIELDS}) for row in found]


_FIELDS = tuple(IssueCheck.__dataclass_fields__)


def newest_of_each_model(checks: Sequence[IssueCheck]) -> Mapping[str, list[IssueCheck]]:
    """By issue, each model's newest check, the newest last; from checks that are oldest first."""
    found: dict[str, dict[str, IssueCheck]] = {}
    for check in checks:
        of_issue = found.setdefault(check.issue, {})
        of_issue.pop(check.model, None)
        of_issue[check.model] = check
    return {issue: list(models.values()) for issue, models in found.items()}
