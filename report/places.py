"""Finds rows of a sample: by key, or by unit and time."""

import numpy as np

from report.cells import Cells
from report.keys import RowKeys
from report.statistics.types import Floats, Ints


class Places:
    """An index over the cells."""

    def __init__(self, cells: Cells) -> None:
        self.cells = cells
        joined = cells.keys.joined(cells.names)
        self._order = np.argsort(joined, kind="stable")
        self._joined = joined[self._order]
        self._by_unit = np.argsort(cells.keys.unit, kind="stable")
        self._first = np.searchsorted(cells.keys.unit[self._by_unit], np.arange(len(cells.names.units) + 1))

    def find(self, keys: RowKeys) -> Ints:
        """The row with each key, (m,); −1 without one."""
        wanted = keys.joined(self.cells.names)
        if len(self._joined) == 0:
            return np.full(len(wanted), -1, dtype=np.int64)
        place = np.minimum(np.searchsorted(self._joined, wanted), len(self._joined) - 1)
        return np.where(self._joined[place] == wanted, self._order[place], -1)

    def latest(self, unit: Ints, at: Floats) -> Ints:
        """The row in which each unit (−1: unknown) was last seen at or before `at`, (m,); −1 without one.

        A row has only its first and last time, so of two overlapping rows the later-started one is taken.
        Phase and arm are right, because a unit's phases do not overlap.
        """
        found = np.full(len(unit), -1, dtype=np.int64)
        known = np.flatnonzero(unit >= 0)
        begin, end = self._first[unit[known]], self._first[unit[known] + 1]
        query = np.repeat(np.arange(len(known)), end - begin)
        within = np.arange(len(query)) - np.repeat(np.cumsum(end - begin) - (end - begin), end - begin)
        row = self._by_unit[begin[query] + within]
        moment = at[known][query]
        before = self.cells.first_at[row] <= moment
        query, row, moment = query[before], row[before], moment[before]
        seen_at = np.minimum(self.cells.last_at[row], moment)
        # The last assignment wins: the latest seen, and of those the last in the sample.
        best = np.lexsort((row, seen_at))
        found[known[query[best]]] = row[best]
        return found
