"""What the console shows by the statistics, as values. They take two seconds to import: most processes never
do."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from control.operator.orders import BadOrder
from control.settings import CanarySettings, ControlSettings
from records.facts.prices import UnpricedArm
from records.store import Store

if TYPE_CHECKING:
    from verdict.archive.releases import Dossier
    from verdict.compare import SideBySide
    from verdict.decision.document import Report
    from verdict.planner.prospect import Prospect


def report(settings: ControlSettings, canary: str, store: Store, *, quoting: bool) -> "Report":
    """One canary's report, with the judge's reasons only if `quoting`."""
    from verdict.decision.document import without_reasons
    from verdict.decision.reports import report_of

    found = report_of(settings.reports, canary, store, now=time.time())
    return found if quoting else without_reasons(found)


def misses(settings: ControlSettings, canary: str, store: Store) -> tuple[list[Mapping[str, Any]], str]:
    """The misses that a decision to ship must name, as they stand (`verdict.decision.decide`); and what it
    cannot outweigh, "" for nothing. Raises BadOrder (409)."""
    from verdict.decision.decide import misses
    from verdict.decision.reports import report_of

    try:
        found = report_of(settings.reports, canary, store, now=time.time())
    except (LookupError, ValueError) as problem:
        raise BadOrder(409, f"{canary} cannot be judged, so nothing is decided: {problem}") from problem
    split = "the split of the users does not match the share" if found.srm.blocked else ""
    return [asdict(miss) for miss, _ in misses(found.metrics, [*found.categories, *found.segments])], split


def compare(settings: ControlSettings, canaries: Sequence[str], store: Store) -> "SideBySide":
    """The canaries' candidates beside each other. Raises BadOrder (400, 404)."""
    from verdict.compare import compare_from_store
    from verdict.decision.reports import NoSuchCanary

    try:
        return compare_from_store(settings.reports, canaries, store, now=time.time())
    except NoSuchCanary as problem:
        raise BadOrder(404, str(problem)) from problem
    except ValueError as problem:
        raise BadOrder(400, str(problem)) from problem


def releases(store: Store) -> "Sequence[Dossier]":
    """Every release, newest first, each by the last kept report of its runs."""
    from verdict.archive.releases import all_releases

    return all_releases(store)


def release(settings: ControlSettings, store: Store, which: str) -> "Dossier":
    """One release. Raises BadOrder (404)."""
    from verdict.archive.releases import NoSuchRelease, release_of

    try:
        return release_of(settings.reports, store, which, now=time.time())
    except NoSuchRelease as problem:
        raise BadOrder(404, str(problem)) from problem


def prospect(
    settings: CanarySettings, store: Store, unpriced: Sequence[UnpricedArm], lane: float
) -> "Prospect | None":
    """The canary's prospect. `lane`: the part of its requests' users that the canary takes."""
    from verdict.planner.prospects import prospect_from_store

    arms = [each.arm for each in unpriced if each.canary == settings.canary.name]
    return prospect_from_store(store, settings.canary, settings.judged, arms, lane)
