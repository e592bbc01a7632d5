"""Releases in the store: a candidate against a baseline, with its runs and notes, and how past canaries
ended.

Models are `provider/model`; a variant of the model that users have is a release of its own, with its request
in words (`openai/assistant-3 · low effort`). A release never changes what it held; only an unknown baseline
becomes known.
"""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Literal

from sqlalchemy import Connection, delete, func, select, update

from records.facts.retirement import LastDay
from records.store import Act, AuditEntry, Store
from records.store.database import insert_new
from records.store.store import became
from records.store.tables import audit, pages, release_notes, releases, retirements, runs
from routing.states import State, StateName


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One candidate against one baseline ("" while unknown). Times are UTC seconds; `noticed_at` is when the
    watcher found the candidate, None if it did not."""

    id: str
    candidate: str
    baseline: str
    made_at: float
    noticed_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a canary: the release that it tried, and the fingerprint of its candidate. `at` is its
    start, UTC seconds."""

    canary: str
    run: int
    release: str
    at: float
    fingerprint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseNote:
    """A person's note on a release. `at` is UTC seconds, `minutes` the time that the person spent, in which
    `stage`."""

    at: float
    release: str
    who: str
    text: str
    minutes: float | None = None
    stage: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentPage:
    """What was told of a canary's incident: its event, and the title that receivers got. `at` is UTC seconds,
    `key` names the message."""

    key: str
    at: float
    canary: str
    event: str
    title: str


class Releases:
    """The releases of one database. Every method may raise StoreDown."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def notice(self, candidate: str, *, at: float) -> Release:
        """The release of a model that the watcher found; it is made unless the model has one."""
        with self._store.writing() as connection:
            found = _of(connection, candidate)
            return found[0] if found else _make(connection, candidate, "", at=at, noticed_at=at)

    def enter_run(
        self, canary: str, run: int, candidate: str, baseline: str, *, at: float, fingerprint: str = ""
    ) -> None:
        """Store which release a run tries. A run that is stored stays as it was."""
        with self._store.writing() as connection:
            release = entered(connection, candidate, baseline, at=at)
            new = Run(canary=canary, run=run, release=release.id, at=at, fingerprint=fingerprint)
            insert_new(connection, runs, [asdict(new)])

    def all(self) -> Sequence[Release]:
        """Every release, newest first."""
        return self._store.found(Release, select(releases).order_by(releases.c.made_at.desc(), releases.c.id))

    def runs(self, *of: str) -> Sequence[Run]:
        """The runs of these releases, or of all, in the order of their start."""
        query = select(runs).order_by(runs.c.at, runs.c.canary, runs.c.run)
        return self._store.found(Run, query.where(runs.c.release.in_(of)) if of else query)

    def of_run(self, canary: str, run: int) -> Release | None:
        """The release that a run tried; None if the run is not stored."""
        of_run = (runs.c.release == releases.c.id) & (runs.c.canary == canary) & (runs.c.run == run)
        return next(iter(self._store.found(Release, select(releases).where(of_run))), None)

    def of_model(self, text: str) -> Sequence[Release]:
        """The releases of MODEL, PROVIDER/MODEL, a variant's shown name (`low effort`), or with this id,
        newest first."""
        return [each for each in self.all() if text in (each.id, *_names(each.candidate))]

    def variants_of(self, model: str) -> Sequence[Release]:
        """The releases of MODEL or PROVIDER/MODEL with a request or texts of its own, newest first."""
        return [each for each in self.all() if model in _names(each.candidate.partition(VARIANT)[0])]

    def acts(self, *canaries: str) -> Sequence[AuditEntry]:
        """Everything that the audit log has of these canaries, oldest first."""
        return self._store.acts(audit.c.canary.in_(canaries))

    def paged(self, sent: Sequence[SentPage]) -> None:
        """Store what people were told, each message once."""
        self._store.add_new(pages, sent)

    def pages(self, canary: str, *, since: float, until: float) -> Sequence[SentPage]:
        """What people were told of a canary from `since` to `until`, oldest first."""
        within = (pages.c.canary == canary) & (pages.c.at >= since) & (pages.c.at <= until)
        return self._store.found(SentPage, select(pages).where(within).order_by(pages.c.at, pages.c.key))

    def note(self, note: ReleaseNote) -> None:
        """Add a note."""
        self._store.add(release_notes, note)

    def notes(self, *of: str) -> Sequence[ReleaseNote]:
        """The notes on these releases, oldest first."""
        query = select(release_notes).where(release_notes.c.release.in_(of)).order_by(release_notes.c.id)
        return self._store.found(ReleaseNote, query)


def open_pages(connection: Connection) -> Mapping[str, SentPage]:
    """What was told last of each canary whose incident is not resolved."""
    last = select(pages.c.canary, func.max(pages.c.at).label("at")).group_by(pages.c.canary).subquery()
    newest = (pages.c.canary == last.c.canary) & (pages.c.at == last.c.at)
    found = connection.execute(select(pages).join(last, newest).order_by(pages.c.key)).mappings()
    told = {row["canary"]: SentPage(**row) for row in found}
    return {name: each for name, each in told.items() if each.event != "resolved"}


class ListedRetirements:
    """When models retire by their providers' lists, as the watcher found it last, by `provider/model`. Both
    methods may raise StoreDown."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def replace(self, models: Mapping[str, LastDay]) -> None:
        """Store these in place of what was there."""
        rows = [
            {"model": name, "last_day": str(each.on), "successor": each.successor}
            for name, each in models.items()
        ]
        with self._store.writing() as connection:
            connection.execute(delete(retirements))
            if rows:
                connection.execute(retirements.insert(), rows)

    def all(self) -> Mapping[str, LastDay]:
        """What is stored."""
        with self._store.asking() as connection:
            found = connection.execute(select(retirements)).all()
        return {
            row.model: LastDay(on=date.fromisoformat(row.last_day), successor=row.successor) for row in found
        }


def model_of(name: str) -> str:
    """The model of `provider/model`."""
    return name.partition("/")[2]


VARIANT = " · "
"""Between a model's name and that by which a variant differs (`routing.canary.arm_names`)."""


def is_variant(candidate: str, baseline: str) -> bool:
    """True if both are one model, and their requests alone differ."""
    return candidate.partition(VARIANT)[0] == baseline.partition(VARIANT)[0]


def _names(candidate: str) -> set[str]:
    """What a candidate may be asked for by: provider/model · words, model · words, words."""
    return {candidate, model_of(candidate), candidate.partition(VARIANT)[2]} - {""}


_DAY = re.compile(r"@\d{4}-\d\d-\d\d")


def is_drift(candidate: str, baseline: str) -> bool:
    """True if the candidate is what the baseline has become under its name: MODEL@2026-11-30."""
    day = candidate.removeprefix(baseline)
    return day != candidate and _DAY.fullmatch(day) is not None


def entered(connection: Connection, candidate: str, baseline: str, *, at: float) -> Release:
    """The release of these two models, made if there is none, in the transaction of a benchmark or a run.

    A release without a baseline takes this one.
    """
    found = {release.baseline: release for release in _of(connection, candidate)}
    if baseline in found:
        return found[baseline]
    if "" not in found:
        noticed = next((each.noticed_at for each in found.values() if each.noticed_at is not None), None)
        return _make(connection, candidate, baseline, at=at, noticed_at=noticed)
    here = (releases.c.id == found[""].id) & (releases.c.baseline == "")
    connection.execute(update(releases).where(here).values(baseline=baseline))
    return {release.baseline: release for release in _of(connection, candidate)}[baseline]


def _of(connection: Connection, candidate: str) -> Sequence[Release]:
    query = select(releases).where(releases.c.candidate == candidate).order_by(releases.c.made_at)
    return [Release(**row._mapping) for row in connection.execute(query)]


def _make(
    connection: Connection, candidate: str, baseline: str, *, at: float, noticed_at: float | None = None
) -> Release:
    """Two processes that make the same release at once get the same one."""
    new = Release(
        id=secrets.token_hex(6), candidate=candidate, baseline=baseline, made_at=at, noticed_at=noticed_at
    )
    insert_new(connection, releases, [asdict(new)])
    return {release.baseline: release for release in _of(connection, candidate)}[baseline]


Ending = Literal["rolled_back", "promoted", "ended"]

_ENDED_BY: Mapping[Ending, str] = {"rolled_back": "rollback", "promoted": "promote", "ended": "end"}
"""The action in the audit log that brought each ending."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PastCanary:
    """One canary that has left the config.

    `by` is who brought the ending of the last run, when and why; None if the audit log does not know.
    `was` is the canary's last state before it ended, at this share of the units. `left_at` (UTC seconds) is
    when it ended, None while it has not. `release` is what its last run tried; None if unknown.
    `rolled_back` are the runs that were rolled back.
    """

    name: str
    run: int
    ending: Ending
    by: Act | None
    was: StateName
    share: float
    left_at: float | None
    release: Release | None = None
    rolled_back: Sequence[int] = field(default=())


def past_canaries(store: Store, states: Mapping[str, State]) -> list[PastCanary]:
    """How the canaries with these states ended, in the same order. May raise StoreDown."""
    logged: dict[str, list[AuditEntry]] = {name: [] for name in states}
    for entry in store.acts(audit.c.canary.in_(list(states)), audit.c.action.in_(_ENDED_BY.values())):
        logged[entry.canary].append(entry)
    tried = _releases(store, states)
    return [past_of(name, state, logged[name], tried.get(name)) for name, state in states.items()]


def past_of(
    name: str, state: State, logged: Sequence[AuditEntry], release: Release | None = None
) -> PastCanary:
    """How a canary ended, by its present state and its entries in the audit log, oldest first."""
    end = next((entry for entry in reversed(logged) if entry.act.action == "end"), None)
    last = end.before if end is not None and end.before is not None and state.state == "ended" else state
    known, _ = became(entry for entry in logged if entry.after.run == last.run)
    found = known if known == "rolled_back" else last.state
    ending: Ending = found if found in ("rolled_back", "promoted") else "ended"
    brought = (entry for entry in logged if entry.act.action == _ENDED_BY[ending])
    runs = [entry.after.run for entry in logged if entry.act.action == "rollback"]
    return PastCanary(
        name=name,
        run=last.run,
        ending=ending,
        by=next((entry.act for entry in brought if entry.after.run == last.run), None),
        was=last.state,
        share=last.effective_share,
        left_at=state.changed_at if state.state == "ended" else None,
        release=release,
        rolled_back=tuple(dict.fromkeys(runs)),
    )


def _releases(store: Store, states: Mapping[str, State]) -> dict[str, Release]:
    """The release of each canary's present run, where it is known."""
    kept = Releases(store)
    releases = {release.id: release for release in kept.all()}
    return {
        run.canary: releases[run.release]
        for run in kept.runs()
        if run.canary in states and run.run == states[run.canary].run
    }
