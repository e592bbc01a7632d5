"""A prospect for people: one sentence, and the whole plan as text; for programs: its document."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from common.numbers import count, rough_percent, set_percent
from judge.figures import NEEDED_LABELS
from pages.document import BulletList, Column, Document, Row, Section, Table, columns
from pages.words.figures import amount, joined, label
from pages.words.status import span
from pages.writers import text
from records.facts.metric import JUDGED, JUDGED_PREFERENCE, Metric
from routing.canary import Step
from verdict.planner.assumptions import (
    SESSIONS,
    RampLength,
    asked_for,
    believed,
    is_share,
)
from verdict.planner.power import SURE, PartChance, Power, labels_to_ship
from verdict.planner.prospect import (
    Lever,
    LookBoundary,
    PlannedChance,
    Prospect,
    levers,
    look_boundaries,
    one_in,
    table,
)
from verdict.rows.comparison import GATE
from verdict.terms.judged_canary import JudgedCanary
from verdict.terms.measures import Unit, per_session, quantile_level, unit_of
from verdict.terms.plan import DAY_S
from verdict.terms.rubric import Criterion

# The assumptions, one by one, each with its value and where it comes from.


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumption:
    """One assumption: its name (`users`, `csat.sd`), value (shares as fractions), source and words. The value
    is None where no value would do."""

    name: str
    value: float | None
    source: str
    words: str

    @property
    def sentence(self) -> str:
        return f"{self.words} ({self.source})"


def assumed(prospect: Prospect) -> list[Assumption]:
    """Everything that the chances rest on."""
    return [
        *_of_traffic(prospect),
        *_of_critical_parts(prospect),
        *(each for row in prospect.judged.criteria for each in _of_row(prospect, row)),
    ]


def _of_traffic(prospect: Prospect) -> Iterator[Assumption]:
    expected = prospect.expected
    yield Assumption(
        name="users",
        value=float(prospect.users),
        source=expected.users_from,
        words=f"{count(prospect.users, 'user')} in {prospect.days} days, evenly: {prospect.users_a_day}",
    )
    yield Assumption(
        name="requests",
        value=expected.requests,
        source=expected.requests_from,
        words=f"{expected.requests:.3g} requests a user, 1 + Poisson",
    )
    if prospect.judged.by_session:
        yield Assumption(
            name="units",
            value=None,
            source="from the config",
            words="a unit is a session; where one person is several, wrong verdicts are likelier than told",
        )
    metrics = prospect.judged.metrics
    if any(per_session(row.metric, metrics) for row in prospect.judged.criteria):
        sessions = prospect.assumptions.sessions or SESSIONS
        yield Assumption(
            name="sessions",
            value=sessions,
            source=prospect.assumptions.sources.get("sessions", "assumed"),
            words=f"{sessions:.3g} session{'' if sessions == 1 else 's'} a user, 1 + Poisson",
        )
    steps = " → ".join(set_percent(step.share) for step in prospect.steps)
    yield Assumption(
        name="share", value=prospect.share, source=prospect.shares_from, words=f"a share of {steps}"
    )
    alike = prospect.assumptions.alike
    yield Assumption(
        name="alike",
        value=alike,
        source="assumed",
        words=f"{set_percent(alike)} of the variance of requests lies between users",
    )


def _of_critical_parts(prospect: Prospect) -> Iterator[Assumption]:
    given, day = prospect.assumptions, prospect.days
    for part in prospect.parts(day):
        yield Assumption(
            name=part.name,
            value=part.share,
            source=given.sources.get(part.name, "assumed"),
            words=f"{part.words}: {set_percent(part.share)} of the users are in it; "
            f"{needed(part)} by day {day}",
        )


def needed(part: PartChance) -> str:
    """What a critical part has of the users that it needs, in words."""
    if part.settled < part.enough:
        return (
            f"its users must rule out that {label(part.doubtful)} misses its bound by twice its room there, "
            "else the verdict is extend (a smaller miss may ship), and it gets about "
            f"{part.units:.0f} of each arm"
        )
    return (
        f"it needs {GATE} users of each arm with a value of {label(part.metric)}, or the verdict is extend, "
        f"and gets about {part.units:.0f}"
    )


def _of_row(prospect: Prospect, row: Criterion) -> Iterator[Assumption]:
    assumptions, metrics = prospect.assumptions, prospect.judged.metrics
    truth, name, unit = believed(row, assumptions, metrics), row.metric, _unit(row, metrics)

    def one(part: str, value: float, words: str, usual: str = "assumed") -> Assumption:
        key = f"{name}.{part}" if part else name
        source = assumptions.sources.get(key, usual)
        return Assumption(name=key, value=value, source=source, words=f"{label(name)}: {words}")

    if row.acceptable.relative or name in assumptions.baselines:
        yield one("", truth.baseline, f"the baseline has {amount(truth.baseline, unit)}")
    yield one(
        "candidate",
        truth.value,
        f"the candidate truly has {amount(truth.value, unit)}",
        "halfway between acceptable and ideal",
    )
    if not is_share(name, metrics):
        yield one("sd", truth.sd, _spread(name, truth.sd, unit, metrics))
    if asked_for(name, metrics) or name in assumptions.responses:
        yield one("rated", truth.response, f"{one_in(truth.response)} has a value")


def _silence(power: Power) -> Iterator[Assumption]:
    """What nobody will see of who gives no opinion."""
    for each in power.criteria:
        if each.unseen is not None:
            silent = (
                f"if {rough_percent(each.unseen)} of the candidate's ratings are missing, it may not show"
            )
            yield Assumption(
                name=f"{each.metric}.silent",
                value=round(each.unseen, 4),
                source="by the users above",
                words=f"{label(each.metric)}: {silent}",
            )


def _spread(name: str, sd: float, unit: Unit, metrics: Mapping[str, Metric]) -> str:
    if quantile_level(name) is not None:
        return f"over n requests its standard error is {amount(sd, unit)} / √n"
    if name in metrics and metrics[name].cost_per:
        return f"over n users its standard error is {amount(sd, unit)} / √n"
    return f"one value has a standard deviation of {amount(sd, unit)}"


def _unit(row: Criterion, metrics: Mapping[str, Metric]) -> Unit:
    if row.metric in metrics and metrics[row.metric].cost_per:
        return "usd"
    return "share" if is_share(row.metric, metrics) else unit_of(row.metric, row.acceptable.text)


_LEAST_JUDGED = 100
"""Users with a judged pair from which a row on a judge can be decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOutlook:
    """A prospect's chances, worked out: of the rubric, its rows, the table, the levers, the boundaries."""

    prospect: Prospect
    power: Power
    table: Sequence[PlannedChance]
    levers: Sequence[Lever]
    boundaries: Sequence[LookBoundary]
    assumptions: Sequence[Assumption]


def outlook(prospect: Prospect) -> PlanOutlook:
    """Work out the chances."""
    power = prospect.power()
    return PlanOutlook(
        prospect=prospect,
        power=power,
        table=table(prospect),
        levers=levers(prospect, power),
        boundaries=look_boundaries(prospect),
        assumptions=[*assumed(prospect), *_silence(power)],
    )


def outlook_document(found: PlanOutlook) -> dict[str, object]:
    """JSON types only; chances and shares as fractions. `ship` is null while `unpriced` rows wait for a
    price, and with a row on a judge; table and levers are then what holds with prices, for the other rows."""
    return {
        "ship": _ship(found.prospect, found.power),
        "unpriced": list(found.prospect.without_price),
        "rows": _row_documents(found.prospect, found.power),
        "parts": _part_documents(found.power),
        "table": [
            {"days": cell.days, "share": cell.share, "ship": round(cell.ship, 4)} for cell in found.table
        ],
        "levers": [{"change": lever.change, "ship": round(lever.ship, 4)} for lever in found.levers],
        "boundaries": [{"day": look.day, "boundary": round(look.boundary, 4)} for look in found.boundaries],
        "assumptions": [
            {"name": each.name, "value": each.value, "source": each.source, "sentence": each.sentence}
            for each in found.assumptions
        ],
    }


def brief_document(prospect: Prospect) -> dict[str, object]:
    """The line and its figures as JSON types."""
    power = prospect.power()
    best = _headline(levers(prospect, power))
    return {
        "ship": _ship(prospect, power),
        "unpriced": list(prospect.without_price),
        "rows": _row_documents(prospect, power),
        "parts": _part_documents(power),
        "days": prospect.days,
        "sentence": _line(prospect, power, best),
    }


def ramp_document(ramp: RampLength | None) -> dict[str, object] | None:
    """How long a ramp takes that waits for users, as JSON types; null for another one. `days` is null where
    the traffic is not known."""
    if ramp is None:
        return None
    return {
        "days": None if ramp.days is None else round(ramp.days, 2),
        "users_per_day": None if ramp.users_per_day is None else round(ramp.users_per_day, 2),
        "users_from": ramp.users_from,
        "steps": [
            {"share": step.share, "for_s": step.for_s, "users": step.users, "days": _whole_or_none(days)}
            for step, days in zip(ramp.steps, [*ramp.each, None], strict=True)
        ],
        "sentence": ramp_sentence(ramp),
    }


def _whole_or_none(days: float | None) -> float | None:
    return None if days is None or math.isinf(days) else round(days, 2)


def ramp_sentence(ramp: RampLength) -> str:
    """How long the ramp takes, and each step of it."""
    told = [
        f"{set_percent(step.share)} until {_ends_by(step)}{'' if days is None else f' ({_about(days)})'}"
        for step, days in zip(ramp.steps, ramp.each, strict=False)
    ]
    steps = "; ".join([*told, f"then {set_percent(ramp.steps[-1].share)}"])
    if ramp.users_per_day is None:
        return f"How long the ramp takes is not known, since {ramp.users_from}: {steps}."
    whole = "never ends" if ramp.days is None else f"takes {_about(ramp.days)}"
    daily = f"{ramp.users_per_day:,.0f}" if ramp.users_per_day >= 10 else f"{ramp.users_per_day:.2g}"
    return f"The ramp {whole} at {daily} users a day ({ramp.users_from}): {steps}."


def _ends_by(step: Step) -> str:
    """300 users; 3 d and 2,000 users."""
    lasts = [span(step.for_s)] if step.for_s is not None else []
    waits = [count(step.users, "user")] if step.users is not None else []
    return joined([*lasts, *waits])


def _about(days: float) -> str:
    return "no end" if math.isinf(days) else f"about {span(days * DAY_S)}"


def power_document(prospect: Prospect, requests: Sequence[float]) -> dict[str, object]:
    """The chances by requests per user, as JSON types; null as in `brief_document`."""
    open_ = prospect.without_price
    told = not (open_ or prospect.waiting)
    expected = ((each, replace(prospect.expected, requests=each)) for each in requests)
    found = [(each, replace(prospect, expected=changed).power()) for each, changed in expected]
    return {
        "users": prospect.users,
        "share": prospect.share,
        "at": [
            {
                "requests_per_user": each,
                "ship": round(power.ship, 3) if told else None,
                "criteria": {
                    row.metric: None if row.metric in open_ else round(row.power, 3) for row in power.criteria
                },
            }
            for each, power in found
        ],
    }


def _ship(prospect: Prospect, power: Power) -> float | None:
    return None if prospect.without_price or prospect.waiting else round(power.ship, 4)


def _row_documents(prospect: Prospect, power: Power) -> list[dict[str, object]]:
    open_ = prospect.without_price
    return [
        {"metric": row.metric, "ship": None if row.metric in open_ else round(row.power, 4)}
        for row in power.criteria
    ]


def _part_documents(power: Power) -> list[dict[str, object]]:
    """Each critical part with its share of the users, and its chance to have enough of them."""
    return [
        {"part": part.name, "share": part.share, "users": int(part.units), "ship": round(part.chance, 4)}
        for part in power.parts
    ]


def _headline(found: Sequence[Lever]) -> Lever | None:
    """The best lever that keeps the rubric as it is."""
    return next((lever for lever in found if not lever.loosens), None)


def prospect_line(prospect: Prospect) -> str:
    """The chance to ship in one line, with the weakest row and the best lever."""
    power = prospect.power()
    return _line(prospect, power, _headline(levers(prospect, power)))


def outlook_text(found: PlanOutlook) -> str:
    """The whole plan for a terminal."""
    prospect, power = found.prospect, found.power
    what = "Chance that the other rows pass" if prospect.waiting else "Chance to ship"
    page = Document(
        title="",
        about="",
        tone="",
        head=[],
        sections=[
            Section(
                f"{what} with {prospect.users_a_day}, by planned days and share, in %", [_table(found.table)]
            ),
            Section("Each row’s chance to pass", [_rows(prospect, power)]),
            Section("Each critical part’s chance to have enough users", [_parts(power)]),
            Section("What would help", [_levers(found.levers)]),
            Section("What this rests on", [BulletList([each.sentence for each in found.assumptions])]),
        ],
    )
    return f"{_line(prospect, power, _headline(found.levers))}{text(page).rstrip()}"


def _line(prospect: Prospect, power: Power, best: Lever | None) -> str:
    expected = prospect.expected
    truth = "with the given values" if prospect.assumptions.values else "halfway between acceptable and ideal"
    line = (
        f"{prospect.judged.name}: {_no_price(prospect)}{_passes(prospect, truth)} with a chance of "
        f"{rough_percent(power.ship)} in {count(prospect.days, 'day')} at a share of "
        f"{set_percent(prospect.share)}, with {count(prospect.users, 'user')} ({expected.users_from}) who "
        f"send {expected.requests:.3g} requests each."
    )
    if weakest := _weakest(prospect, power):
        line += weakest
        line += f" With {best.change} the chance is {rough_percent(best.ship)}." if best is not None else ""
    if not prospect.judged.planned_days:
        line += " The config has no `planned_days`, so any day may bring the verdict."
    if prospect.waiting:
        line += f" {_why_left_out(prospect.waiting, prospect.judged.risk)}, so this is no chance to ship."
    return line


def _weakest(prospect: Prospect, power: Power) -> str:
    """What least likely works out, a critical part's users or a row; "" where all is sure enough."""
    part, row = power.scarcest, power.weakest
    if part is not None and part.chance < row.power:
        source = prospect.assumptions.sources.get(part.name, "assumed")
        return (
            f" Least likely is that critical {part.words} has enough users ({rough_percent(part.chance)}): "
            f"{needed(part)}, if {set_percent(part.share)} of the users are in it ({source})."
        )
    if row.power >= SURE:
        return ""
    return f" The row least likely to pass is {label(row.metric)} ({rough_percent(row.power)})."


def unplanned(judged: JudgedCanary) -> str:
    """What a rubric on a judge only needs, which has no chance that could be told; "" for any other."""
    rows = tuple(judged.criteria)
    if not rows or not JUDGED.keys() >= {row.metric for row in rows}:
        return ""
    if by_labels(judged):
        return f"{judged.name}: people's labels decide it, not traffic: {_why_left_out(rows, judged.risk)}."
    return (
        f"{judged.name}: all rows of the rubric are on a judge, and such a row cannot be planned: "
        f"{_why_left_out(rows, judged.risk)}. A row on users' feedback, errors, times or costs can be "
        "planned."
    )


def by_labels(judged: JudgedCanary) -> bool:
    """True if people's preference alone decides."""
    return {row.metric for row in judged.criteria} == {JUDGED_PREFERENCE}


def _passes(prospect: Prospect, truth: str) -> str:
    if not prospect.waiting:
        return f"a candidate {truth} ships"
    return f"the other rows of a candidate {truth} pass"


def _why_left_out(rows: Sequence[Criterion], risk: float) -> str:
    """What rows on a judge need besides traffic."""
    return "; ".join(
        f"{row.metric} needs {_LEAST_JUDGED} users with a judged pair and labels besides, "
        f"{_labels(row, risk)}"
        if row.metric == JUDGED_PREFERENCE
        else f"{row.metric} is never decided"
        for row in rows
    )


def _labels(row: Criterion, risk: float) -> str:
    """How many labels four of five such candidates need."""
    halfway = (0.5 + row.acceptable.value) / 2
    equal, nearer = (labels_to_ship(row, prefers, risk=risk) for prefers in (0.5, halfway))
    if equal is None or nearer is None:
        return f"{NEEDED_LABELS} or more"
    return (
        f"about {max(equal, NEEDED_LABELS):,} if people like both models alike and "
        f"{max(nearer, NEEDED_LABELS):,} if they prefer the candidate in {rough_percent(halfway)}"
    )


def _no_price(prospect: Prospect) -> str:
    """Why nothing ships as things are; "" with prices."""
    if not prospect.without_price:
        return ""
    arms, rows = joined(sorted(prospect.unpriced)), joined([*prospect.without_price])
    return (
        f"nothing ships while the price of the {arms} is unknown, because {rows} stays open whatever the "
        "users. With prices, "
    )


def _table(cells: Sequence[PlannedChance]) -> Table:
    shares = list(dict.fromkeys(cell.share for cell in cells))
    found = {(cell.days, cell.share): cell.ship for cell in cells}
    head = [Column(name, figure=True) for name in ("days", *map(set_percent, shares))]
    days = dict.fromkeys(cell.days for cell in cells)
    return Table(head, [[f"{day}", *(f"{100 * found[day, share]:.0f}" for share in shares)] for day in days])


def _rows(prospect: Prospect, power: Power) -> Table:
    rows: list[Row] = []
    for row in power.criteria:
        if row.metric in prospect.without_price:
            rows.append([row.metric, "–", "no price: set `prices:` or `price_as:`", ""])
        else:
            weakest = row is power.weakest and row.power < SURE
            mark = f"weakest: {label(row.metric)}" if weakest else ""
            rows.append(
                [row.metric, rough_percent(row.power), count(row.units, "candidate user"), mark],
            )
    return Table([Column("metric"), Column("chance", figure=True), *columns("with a value", "")], rows)


def _parts(power: Power) -> Table:
    rows = [[part.words, rough_percent(part.chance), needed(part)] for part in power.parts]
    return Table([Column("part"), Column("chance", figure=True), Column("users")], rows)


def _levers(found: Sequence[Lever]) -> Table:
    return Table(
        [Column("chance", figure=True), Column("with")],
        [[rough_percent(lever.ship), lever.change] for lever in found],
    )
