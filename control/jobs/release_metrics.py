"""The releases for Prometheus: read from the store after a scrape, at most once a minute."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector
from sqlalchemy import func, select

from records.exports.prometheus import after_scrapes, gauge
from records.store import Store, tables
from records.store.releases import Releases

log = structlog.get_logger()

if TYPE_CHECKING:
    from verdict.archive.releases import Dossier

MOST = 50
VERDICTS = ("ship_now", "ship", "ship_with_caveats", "dont_ship", "extend")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseFigures:
    """One release. `model` is `provider/model`, `fingerprint` that of the arm that ran last, "" if none did.
    `scores` are by layer, from 0 to 100.

    `ratios` are candidate over current model in the newest benchmark, by dataset, then `completion`, `cost`
    and `latency`. Unknown figures are left out.
    """

    release: str
    model: str
    fingerprint: str
    verdict: str | None
    scores: Mapping[str, float]
    ratios: Mapping[str, Mapping[str, float]]


class ReleaseMetrics(Collector):
    """The newest releases. Nothing is read until somebody scrapes; only the leader reads and shows them.

    Belongs to the event loop's thread; the store is read in another.
    """

    def __init__(self, store: Store, leads: Callable[[], bool]) -> None:
        self._store, self._leads = store, leads
        self._scraped = asyncio.Event()
        self._figures: Sequence[ReleaseFigures] = ()
        self._looks: Mapping[str, int] = {}
        self._known: tuple[int, ...] | None = None

    def collect(self) -> Iterator[Family]:
        """Every family, for prometheus-client, as of the last reading."""
        self._scraped.set()
        if self._leads():
            yield from families(self._figures, self._looks)

    async def run(self) -> None:
        """Read after a scrape, at most once a minute, without end."""
        await after_scrapes(self._scraped, self._leads, self._read, "releases.not_read")

    async def _read(self) -> None:
        state = await asyncio.to_thread(stored_state, self._store)
        if state != self._known:
            self._figures = await asyncio.to_thread(read, self._store, state)
            self._looks = await asyncio.to_thread(look_days, self._store)
            self._known = state


def stored_state(store: Store) -> tuple[int, ...]:
    """What changes whenever a release's figures may: how many releases, evaluations, daily reports and looks
    are stored, and the newest benchmark and entry of the audit log. May raise StoreDown."""
    counted, growing = (
        (tables.releases, tables.evaluations, tables.reports, tables.looks),
        (tables.benchmarks, tables.audit),
    )
    counts = [select(func.count()).select_from(table).scalar_subquery() for table in counted]
    newest = [select(func.coalesce(func.max(table.c.id), 0)).scalar_subquery() for table in growing]
    with store.asking() as connection:
        return tuple(connection.execute(select(*counts, *newest)).one())


def read(store: Store, state: tuple[int, ...]) -> list[ReleaseFigures]:
    """The newest releases in this stored state. May raise StoreDown."""
    if not any(state[1:5]):  # neither evaluations, reports, looks nor benchmarks
        known = {each.release: each.fingerprint for each in Releases(store).runs()}
        return [
            ReleaseFigures(
                release=each.id,
                model=each.candidate,
                fingerprint=known.get(each.id, ""),
                verdict=None,
                scores={},
                ratios={},
            )
            for each in Releases(store).all()[:MOST]
        ]
    from verdict.archive.releases import all_releases  # statistics take two seconds to import

    return [figures_of(each) for each in all_releases(store, most=MOST)]


def look_days(store: Store) -> dict[str, int]:
    """The day of the newest look by canary, of its newest run that has one. May raise StoreDown."""
    looks = tables.looks.c
    newest = func.max(looks.day).label("newest")
    of_runs = select(looks.canary, newest).group_by(looks.canary, looks.run)
    with store.asking() as connection:
        found = connection.execute(of_runs.order_by(looks.run)).all()
    return {each.canary: each.newest for each in found}


def figures_of(found: "Dossier") -> ReleaseFigures:
    """A release's figures; the ratios are those of its newest benchmark."""
    layers = found.benchmark["layers"] if found.benchmark is not None else ()
    datasets = [dataset for layer in layers for dataset in layer["datasets"]]
    scores = {name: layer.score for name, layer in found.layers.items()}
    return ReleaseFigures(
        release=found.release.id,
        model=found.release.candidate,
        fingerprint=found.runs[-1].fingerprint if found.runs else "",
        verdict=found.verdict,
        scores={name: score for name, score in scores.items() if score is not None},
        ratios={each["dataset"]: _ratios(each) for each in datasets},
    )


def _ratios(dataset: Mapping[str, Any]) -> dict[str, float]:
    found = {
        "completion": _completion(dataset["candidate"], dataset["baseline"]),
        "cost": _estimate(dataset.get("cost_ratio")),
        "latency": _estimate(dataset.get("latency_ratio")),
    }
    return {what: value for what, value in found.items() if value is not None}


def _completion(candidate: Mapping[str, Any] | None, baseline: Mapping[str, Any]) -> float | None:
    """None without a share of right answers for both, or when the baseline has none right."""
    got = candidate["completion"] if candidate is not None else None
    of = baseline["completion"]
    return got / of if got is not None and of else None


def _estimate(interval: Mapping[str, float] | None) -> float | None:
    return None if interval is None else interval["estimate"]


def families(figures: Sequence[ReleaseFigures], looks: Mapping[str, int]) -> Iterator[Family]:
    """The families of these releases, and of canaries' days of looks. An unknown figure has no sample."""
    days = (((canary,), day) for canary, day in looks.items())
    yield gauge("canary_look_day", "The day of the newest look", days, ("canary",))
    of = ("release",)
    named = (((each.release, each.model, each.fingerprint), 1.0) for each in figures)
    yield gauge("canary_release_info", "1; the release's candidate", named, (*of, "model", "fingerprint"))
    scores = (((each.release, layer), value) for each in figures for layer, value in each.scores.items())
    yield gauge("canary_release_score", "A layer's score, 0 to 100", scores, (*of, "layer"))
    verdicts = (
        ((each.release, name), float(name == each.verdict))
        for each in figures
        if each.verdict is not None
        for name in VERDICTS
    )
    yield gauge("canary_release_verdict", "1 for the present verdict", verdicts, (*of, "verdict"))
    for what, says in _RATIOS.items():
        ratios = (
            ((each.release, dataset), found[what])
            for each in figures
            for dataset, found in each.ratios.items()
            if what in found
        )
        yield gauge(f"canary_bench_{what}_ratio", says, ratios, (*of, "dataset"))


_RATIOS = {
    "completion": "The candidate's share of right answers over the current model's",
    "cost": "The candidate's mean cost per request over the current model's",
    "latency": "The candidate's p95 latency over the current model's",
}
