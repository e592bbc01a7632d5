"""What the console shows by the statistics. They take two seconds to import, so most processes never do."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from control.orders import BadOrder
from control.settings import CanarySettings, ControlSettings
from records.store import Store
from records.unpriced import UnpricedArm


def report(settings: ControlSettings, canary: str, store: Store, form: str, *, quoting: bool) -> str:
    """One canary's report in this form, with the judge's reasons only if `quoting`."""
    from report.document import without_reasons
    from report.reports import rendered, report_of

    found = report_of(settings.reports, canary, store, now=time.time())
    return rendered(found if quoting else without_reasons(found), form)


def misses(settings: ControlSettings, canary: str, store: Store) -> tuple[list[Mapping[str, Any]], str]:
    """The misses that a decision to ship must name, as they stand (`report.misses`); and what it cannot
    outweigh, "" for nothing. Raises BadOrder (409)."""
    from report.misses import misses
    from report.reports import report_of

    try:
        found = report_of(settings.reports, canary, store, now=time.time())
    except (LookupError, ValueError) as problem:
        raise BadOrder(409, f"{canary} cannot be judged, so nothing is decided: {problem}") from problem
    split = "the split of the users does not match the share" if found.srm.blocked else ""
    return [asdict(miss) for miss, _ in misses(found.metrics, [*found.categories, *found.segments])], split


def compare(settings: ControlSettings, canaries: Sequence[str], store: Store, form: str) -> str:
    """The canaries' candidates beside each other in this form. Raises BadOrder (400, 404)."""
    from report.compare import compare_from_store
    from report.compare_forms import rendered
    from report.reports import NoSuchCanary

    try:
        found = compare_from_store(settings.reports, canaries, store, now=time.time())
    except NoSuchCanary as problem:
        raise BadOrder(404, str(problem)) from problem
    except ValueError as problem:
        raise BadOrder(400, str(problem)) from problem
    return rendered(found, form)


def releases(store: Store) -> Sequence[Mapping[str, Any]]:
    """Every release in short, newest first."""
    from report.release.forms import line
    from report.releases import all_releases

    return [line(each) for each in all_releases(store)]


def release(settings: ControlSettings, store: Store, which: str, form: str) -> str:
    """One release as "json" or "html". Raises BadOrder (404)."""
    from report.release.forms import html, to_json
    from report.releases import NoSuchRelease, release_of

    try:
        found = release_of(settings.reports, store, which, now=time.time())
    except NoSuchRelease as problem:
        raise BadOrder(404, str(problem)) from problem
    return html(found) if form == "html" else json.dumps(to_json(found))


def prospect(settings: CanarySettings, store: Store, unpriced: Sequence[UnpricedArm], lane: float) -> str:
    """The chance to ship in one line. `lane`: the part of its requests' users that the canary takes."""
    from report.planner.prospects import line_of

    arms = [each.arm for each in unpriced if each.canary == settings.canary.name]
    return line_of(store, settings.canary, settings.judged, arms, lane)
