"""The exchanges of a canary's match that no run took: before its start, or with no canary at all."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa

from report.arm_sums import GATE
from report.plan import DAY_S
from report.planner.traffic import MOST, Found, Moments, SeenTraffic, has
from report.run_window import MEASURED, measured
from report.statistics.types import Bools, Floats, Ints
from report.stored_exchanges import newest
from routing.canary import Canary

_OF_MATCH = ("at", "canary", "model_requested", "mirror", "arm", "reason", *MEASURED)
_VALUES = ("unit", "usage_estimated", "cost_usd", "input_tokens", "output_tokens", "category", "tags")


class UntakenTraffic:
    """The newest of these exchanges. `lane`: the part of the users of its requests that the canary takes.
    `reaching`, once read: the part of these users that it would have had."""

    def __init__(self, canary: Canary, since_day: int, lane: float = 1.0) -> None:
        self.canary, self.since_day, self.reaching = canary.name, since_day, 1.0
        self._lane = lane
        self._models = sorted(canary.match.models)
        self._table: Any = None

    def read(self, connection: sa.Connection, measures: Collection[str]) -> Found:
        table = newest(
            connection,
            (*_OF_MATCH, *_VALUES),
            self._condition,
            since=self.since_day * DAY_S,
            until=math.inf,
            most=MOST,
        )
        if table.num_rows == 0:
            return None, {}
        self._table = table
        self.reaching = reaching(table, self.canary, self._lane)
        nobodys = table["unit"].to_numpy() == ""
        group = _groups(table, nobodys)
        found = {name: _value(table, name) for name in ("errors", "cost", "tokens") if name in measures}
        return _seen(table, group, nobodys), {name: _moments(value, group) for name, value in found.items()}

    def parts(self, _connection: sa.Connection, names: Sequence[str]) -> Mapping[str, float]:
        """As RunTraffic's, of what was read."""
        kinds = self._table.group_by(["unit", "category", "tags"]).aggregate([]).to_pylist()
        users = {name: set[str]() for name in ("", *names)}
        for kind in kinds:
            users[""].add(kind["unit"])
            for name in names:
                if has(name, kind["category"] or "", kind["tags"] or ""):
                    users[name].add(kind["unit"])
        every = len(users[""] - {""})
        found = {name: len(users[name] - {""}) / every for name in names}
        return {name: share for name, share in found.items() if share > 0}

    def _condition(self) -> Any:
        from pyarrow.compute import field

        from records.store.segments.arrow import moment

        nobodys = (field("canary") == "") & field("model_requested").isin(self._models)
        of_match = (
            (field("canary") == self.canary) | nobodys if self._models else field("canary") == self.canary
        )
        untaken = ~field("mirror") & (field("arm") == "baseline") & (field("reason") != "pinned")
        return of_match & (field("at") >= moment(self.since_day * DAY_S)) & untaken & measured()


def reaching(table: Any, canary: str, lane: float) -> float:
    """The part of a table's users that reach the canary: those that did, and its lane's part of the rest."""
    units = table["unit"].to_numpy()
    own = np.unique(units[(units != "") & (table["canary"].to_numpy() == canary)])
    users = np.unique(units[units != ""])
    return (len(own) + lane * (len(users) - len(own))) / len(users) if len(users) else lane


def _groups(table: Any, nobodys: Bools) -> Ints:
    """The number of each exchange's user, (n,). An exchange of nobody is a group of its own."""
    users, group = np.unique(table["unit"].to_numpy(), return_inverse=True)
    group[nobodys] = len(users) + np.arange(np.count_nonzero(nobodys))
    return group


def _seen(table: Any, group: Ints, nobodys: Bools) -> SeenTraffic:
    """Users where there are enough of them, else exchanges."""
    from records.store.segments.arrow import micros

    at, users = micros(table["at"]) / 1e6, len(np.unique(group[~nobodys]))
    days = float(at.max() - at.min()) / DAY_S
    if users >= GATE:
        return SeenTraffic(groups=users, users=users, exchanges=int(np.sum(~nobodys)), days=days)
    return SeenTraffic(groups=len(group), users=0, exchanges=len(group), days=days)


def _value(table: Any, name: str) -> Floats:
    """A measure's value of each exchange, (n,); NaN without one."""
    if name == "errors":
        return np.where(table["outcome"].to_numpy() == "ok", 0.0, 1.0)
    if name == "tokens":
        return _floats(table["input_tokens"]) + _floats(table["output_tokens"])
    return np.where(table["usage_estimated"].to_numpy(), np.nan, _floats(table["cost_usd"]))


def _floats(column: Any) -> Floats:
    floats: Floats = column.cast("float64").to_numpy()
    return floats


def _moments(value: Floats, group: Ints) -> Moments:
    """Over the groups, of which some may have no value."""
    known = ~np.isnan(value)
    return Moments.over(np.bincount(group, known), np.bincount(group, np.where(known, value, 0.0)))
