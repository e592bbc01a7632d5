"""The changes of a run's share by a person: by an order, or in the config."""

from sqlalchemy import select

from records.store import Audited, Store, tables
from records.store.store import audited
from report.plan import ShareChange

RAMP = "ramp"
"""Who steps a ramp by its clock, in the audit log; as an action, also a person's order."""

_ACTIONS = (RAMP, "configure")


def share_changes(store: Store, canary: str, run: int) -> list[ShareChange]:
    """Return the run's changes by hand, oldest first. May raise StoreDown."""
    table = tables.audit
    query = (
        select(table)
        .where(table.c.canary == canary, table.c.action.in_(_ACTIONS), table.c.who != RAMP)
        .order_by(table.c.id)
    )
    with store.asking() as connection:
        entries = [audited(row) for row in connection.execute(query)]
    return [change for entry in entries if (change := _change(entry, run)) is not None]


def _change(entry: Audited, run: int) -> ShareChange | None:
    before, after = entry.before, entry.after
    if before is None or after.run != run or before.effective_share == after.effective_share:
        return None
    return ShareChange(
        at=entry.act.at, who=entry.act.who, before=before.effective_share, after=after.effective_share
    )
