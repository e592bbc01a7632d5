"""Brings a canary's samples, its rubric and the report room together, for the command line and the admin."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from canary.config import CanaryConfig, Config
from canary.judging.benchmarked import benchmarks_of
from canary.judging.kept_terms import past_arms, past_rollout
from records.benchmarks import Benchmarks
from records.decisions import Decision, Decisions
from records.store import FixedRubric, Store, Versioned
from report import render
from report.cohort import mirrored, to_judge
from report.document import Decided, Report
from report.log import from_csv
from report.rollout import Rollout
from report.rubric import Criterion
from report.verdict import build
from routing.canary import Arm


class NoSuchCanary(LookupError):
    """A name that neither the config nor the records have; the message lists those there are."""


def report_from_store(
    config: Config, name: str | None, data: Path, *, now: float, retro: Sequence[Criterion] | None = None
) -> Report:
    """Judge by the server's own records, also a canary that has left the config; the server may be down.

    `retro` is another rubric to judge by, after the fact.
    """
    store = Store.open(config.store, data)
    try:
        return report_of(config, name or _only(config), store, now=now, retro=retro)
    finally:
        store.close()


def report_of(
    config: Config,
    name: str,
    store: Store,
    *,
    now: float,
    run: int | None = None,
    retro: Sequence[Criterion] | None = None,
) -> Report:
    """Judge one run of a canary (None: the current one) by an open store."""
    states, fixed = store.states(), store.rubric(name)
    rollout = _rollout_of(config, name, fixed, states)
    known = states.get(name)
    current = known.state.run if known is not None else None
    asked = current if run is None else run
    decision = Decisions(store).latest(name, asked)
    rollout = replace(
        rollout if retro is None else _under(rollout, retro, config),
        rolled_back=known is not None and (asked != current or known.state.state == "rolled_back"),
        rubric_sha256=fixed.sha256 if fixed is not None else None,
        compensating_factor=_compensating(decision),
    )
    with store.reading() as connection:
        sample = to_judge(connection, rollout, asked)
        mirror = mirrored(connection, name, asked)
    report = build(sample, rollout, now=now)
    measured = benchmarks_of(Benchmarks(store), _candidate(config, name, fixed))
    return replace(
        report,
        mirror=mirror,
        decision=_decided(decision),
        details=replace(report.details, benchmarks=measured),
    )


def report_from_csv(
    config: Config, name: str | None, path: Path, *, now: float, retro: Sequence[Criterion] | None = None
) -> Report:
    """Judge a log from elsewhere under this config's rubric, or under `retro`."""
    wanted = config.canaries.get(name or _only(config))
    if wanted is None:
        raise _unknown(config.canaries, name)
    sample = from_csv(path, config.metrics)
    shares = {phase: step.share for phase, step in enumerate(wanted.canary.steps)}
    rollout = replace(_wanted_rollout(config, wanted), shares=shares)
    return build(sample, rollout if retro is None else _under(rollout, retro, config), now=now)


def rendered(report: Report, form: str, *, width: int = 110) -> str:
    """The report as "text" of at most `width` columns, "json", "markdown" or "html". ValueError for another
    word."""
    forms: dict[str, Callable[[Report], str]] = {
        "text": partial(render.terminal, width=width),
        "json": render.json_text,
        "markdown": render.markdown,
        "html": render.html,
    }
    if form not in forms:
        raise ValueError(f"there is no form {form!r}: choose {', '.join(forms)}")
    return forms[form](report)


def _only(config: Config) -> str:
    if len(config.canaries) != 1:
        raise _unknown(config.canaries)
    return next(iter(config.canaries))


def _unknown(there_are: Mapping[str, object], name: str | None = None) -> NoSuchCanary:
    wrong = "say which canary" if name is None else f"no canary {name!r}"
    return NoSuchCanary(f"{wrong}; there are: {', '.join(there_are) or 'none'}")


def _candidate(config: Config, name: str, fixed: FixedRubric | None) -> Arm | None:
    wanted = config.canaries.get(name)
    return wanted.canary.candidate if wanted is not None else past_arms(fixed)[1]


def _rollout_of(
    config: Config, name: str, fixed: FixedRubric | None, states: Mapping[str, Versioned]
) -> Rollout:
    """By the config, or by what was kept of a canary that has left it."""
    wanted = config.canaries.get(name)
    if wanted is not None:
        return _wanted_rollout(config, wanted)
    if fixed is not None:
        return past_rollout(name, fixed)
    if name in states:
        return Rollout(canary=name, criteria=(), metrics=config.metrics)
    raise _unknown({**config.canaries, **states}, name)


def _wanted_rollout(config: Config, wanted: CanaryConfig) -> Rollout:
    return Rollout(
        canary=wanted.canary.name,
        criteria=wanted.rubric,
        minimum_days=wanted.minimum_days,
        planned_units=wanted.planned_units,
        segments=wanted.segments,
        critical_categories=frozenset(wanted.critical_categories),
        critical_segments=frozenset(wanted.critical_segments),
        metrics=config.metrics,
    )


def _under(rollout: Rollout, retro: Sequence[Criterion], config: Config) -> Rollout:
    return replace(rollout, criteria=retro, retro=True, metrics={**rollout.metrics, **config.metrics})


def _compensating(decision: Decision | None) -> str | None:
    """A factor outweighs a miss as long as the newest decision is to ship because of it."""
    return decision.compensating if decision is not None and decision.decision == "ship" else None


def _decided(decision: Decision | None) -> Decided | None:
    if decision is None:
        return None
    return Decided(
        decision=decision.decision,
        by=decision.who,
        reason=decision.reason,
        at=decision.at,
        compensating=decision.compensating,
    )
