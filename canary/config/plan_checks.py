"""Checks of the verdict's plan: its days can hold the minimum days and the slowest metric."""

import math
from collections.abc import Mapping

from canary.config import build
from canary.config.errors import Path
from canary.config.salvage import Salvage
from canary.config.sections import CanarySection, FileSection
from records.metric import Metric
from report.plan import DAY_S


def check_retention(file: FileSection, found: Salvage) -> None:
    """Warn of records that are deleted while a plan and its extension still count their days."""
    metrics, days = build.declared_metrics(file), file.retention_s / DAY_S
    plans = [(2 * build.planned_days(canary, metrics), canary.name) for canary in file.canaries]
    longest, name = max(plans, default=(0, ""))
    if longest > days:
        found.warn(
            ("retention",),
            f"{days:g}d is shorter than the plan of {name} with its extension, and looks count days from the "
            f"records that are left; write at least {longest}d",
        )


WEEK_DAYS = 7


def check_plan(canary: CanarySection, metrics: Mapping[str, Metric], path: Path, found: Salvage) -> None:
    """Record planned days that end before the verdict may be to ship; warn of less than a week before it."""
    if canary.rubric and 0 < canary.minimum_days < WEEK_DAYS:
        found.warn(
            (*path, "minimum_days"),
            f"{canary.minimum_days:g} is less than a week, so a verdict to ship may rest on working days "
            f"alone, or on a weekend; write at least {WEEK_DAYS}",
        )
    planned, least = canary.planned_days, canary.minimum_days + build.days_to_mature(canary, metrics)
    if planned is None or planned >= least:
        return
    if planned == 0 and canary.minimum_days == 0:
        return
    enough = math.ceil(least)
    if planned == 0:
        said = f"0 is no plan, which needs `minimum_days: 0`; write that too, or at least {enough} here"
    else:
        matures = "" if least == canary.minimum_days else " and its slowest metric's `matures_after`"
        said = f"{planned} is less than `minimum_days`{matures}, {least:g} in all; write at least {enough}"
    found.complain((*path, "planned_days"), said)
