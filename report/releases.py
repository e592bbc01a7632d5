"""Releases from the store: all of them in short, or one with the present report of what is under way."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from records.store import Store
from records.store.releases import Release, Releases, Run
from report.attempts import attempt
from report.document import Report
from report.judged_canary import ReportSettings
from report.release.dossier import Dossier, MissingReport, dossier
from report.release.history import ReleaseHistory, histories
from report.reports import GATHERING, report_of


class NoSuchRelease(LookupError):
    """A model without a release; the message names those that have one."""


def all_releases(store: Store, *, most: int | None = None) -> list[Dossier]:
    """The newest releases, newest first, each by the last kept report of its runs. May raise StoreDown."""
    found = Releases(store).all()
    return [dossier(each) for each in histories(store, found[:most])]


def release_of(settings: ReportSettings, store: Store, which: str, *, now: float) -> Dossier:
    """The release of MODEL or PROVIDER/MODEL, or the one with this id: of several the one that users have
    tried last, else the newest.

    Runs that are under way are judged as of `now`, UTC seconds. Raises NoSuchRelease and StoreDown.
    """
    return judged(settings, store, history_of(store, which), now=now)


def history_of(store: Store, which: str) -> ReleaseHistory:
    """The release that `release_of` takes. Raises NoSuchRelease and StoreDown."""
    found = Releases(store).of_model(which)
    if not found:
        known = ", ".join(dict.fromkeys(each.candidate for each in Releases(store).all()))
        raise NoSuchRelease(f"there is no release of {which!r}; there are: {known or 'none'}")
    return max(histories(store, found), key=_tried_last)


def _tried_last(history: ReleaseHistory) -> tuple[float, float]:
    return max((each.run.at for each in history.runs), default=0.0), history.release.made_at


def measured(settings: ReportSettings, store: Store, document: Mapping[str, Any], *, now: float) -> Dossier:
    """The release of a benchmark that was just made, stored or not. May raise StoreDown."""
    models = document["candidate"], document["baseline"]
    found = [each for each in Releases(store).all() if (each.candidate, each.baseline) == models]
    if not found:
        return of_benchmark(document, now=now)
    (history,) = histories(store, found)
    made_at = history.benchmarked_at or now
    return judged(settings, store, replace(history, benchmark=document, benchmarked_at=made_at), now=now)


def of_benchmark(document: Mapping[str, Any], *, now: float) -> Dossier:
    """A release of which only a benchmark is known, which is not stored."""
    release = Release(
        id="(not stored)", candidate=document["candidate"], baseline=document["baseline"], made_at=now
    )
    history = ReleaseHistory(release=release, runs=(), notes=(), benchmark=document, benchmarked_at=now)
    return dossier(history)


def judged(settings: ReportSettings, store: Store, history: ReleaseHistory, *, now: float) -> Dossier:
    """The release, with the reports of its open runs as of `now`. Where a report cannot be made, the newest
    that was kept stands for the run."""
    live, missed = dict[tuple[str, int], Report](), list[MissingReport]()
    for each in history.newest_runs:
        if each.state not in GATHERING:
            continue
        run = each.run

        def made(run: Run = run) -> Report | None:
            return report_of(settings, run.canary, store, now=now, run=run.run)

        def missing(why: str, run: Run = run, kept: Report | None = each.report) -> None:
            missed.append(MissingReport(canary=run.canary, kept=kept is not None, why=why))

        report = attempt(f"the report of {run.canary}", made, missing)
        if report is not None and report.units.candidate:
            live[run.canary, run.run] = report
    return dossier(history, live, missed)
