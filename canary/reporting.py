"""Brings a canary's samples, its rubric and the report room together, for the command line and the admin."""

from dataclasses import replace
from pathlib import Path

from canary.config import CanaryConfig, Config
from records.store import Store
from report import render
from report.cohort import from_store, mirrored
from report.document import Report
from report.log import from_csv
from report.rollout import Rollout
from report.verdict import build


class NoSuchCanary(Exception):
    """A name that the config does not have; the message lists those it has."""


def report_from_store(config: Config, name: str | None, data: Path, *, now: float) -> Report:
    """Judge by the server's own records; the server may be down."""
    store = Store.open(config.store, data)
    try:
        return report_of(config, _wanted(config, name), store, now=now)
    finally:
        store.close()


def report_of(config: Config, wanted: CanaryConfig, store: Store, *, now: float) -> Report:
    """Judge one canary's current run by an open store."""
    name = wanted.canary.name
    known = store.states().get(name)
    fixed = store.rubric(name)
    run = known.state.run if known is not None else None
    with store.reading() as connection:
        metrics = [criterion.metric for criterion in wanted.rubric]
        sample = from_store(connection, name, run, metrics=metrics, segments=wanted.segments)
        mirror = mirrored(connection, name, run)
    rollout = _rollout(
        config,
        wanted,
        rolled_back=known is not None and known.state.state == "rolled_back",
        rubric_sha256=fixed.sha256 if fixed is not None else None,
    )
    return replace(build(sample, rollout, now=now), mirror=mirror)


def report_from_csv(config: Config, name: str | None, path: Path, *, now: float) -> Report:
    """Judge a log from elsewhere under this config's rubric."""
    wanted = _wanted(config, name)
    sample = from_csv(path, config.metrics)
    rollout = _rollout(config, wanted, rolled_back=False, rubric_sha256=None)
    shares = {phase: step.share for phase, step in enumerate(wanted.canary.steps)}
    return build(sample, replace(rollout, shares=shares), now=now)


def rendered(report: Report, form: str) -> str:
    """The report as "text", "json", "markdown" or "html". ValueError for another word."""
    forms = {
        "text": render.terminal,
        "json": render.json_text,
        "markdown": render.markdown,
        "html": render.html,
    }
    if form not in forms:
        raise ValueError(f"there is no form {form!r}: choose {', '.join(forms)}")
    return forms[form](report)


def _wanted(config: Config, name: str | None) -> CanaryConfig:
    if name is None and len(config.canaries) == 1:
        return next(iter(config.canaries.values()))
    if name is None or name not in config.canaries:
        have = ", ".join(config.canaries) or "none"
        raise NoSuchCanary(f"say which canary; the config has: {have}")
    return config.canaries[name]


def _rollout(
    config: Config, wanted: CanaryConfig, *, rolled_back: bool, rubric_sha256: str | None
) -> Rollout:
    return Rollout(
        canary=wanted.canary.name,
        criteria=wanted.rubric,
        minimum_days=wanted.minimum_days,
        planned_units=wanted.planned_units,
        segments=wanted.segments,
        critical_categories=frozenset(wanted.critical_categories),
        rolled_back=rolled_back,
        rubric_sha256=rubric_sha256,
        metrics=config.metrics,
    )
