"""Which row of a sample something belongs to: by what it is about, or by a unit and a moment."""

import numpy as np

from report.cells import Cells
from report.keys import RowKeys
from report.statistics.types import Floats, Ints


class Places:
    """The cells, ready to be looked up."""

    def __init__(self, cells: Cells) -> None:
        self.cells = cells
        joined = cells.keys.joined(cells.names)
        self._order = np.argsort(joined, kind="stable")
        self._joined = joined[self._order]
        self._by_unit = np.argsort(cells.keys.unit, kind="stable")
        self._first = np.searchsorted(cells.keys.unit[self._by_unit], np.arange(len(cells.names.units) + 1))

    def find(self, keys: RowKeys) -> Ints:
        """The row that is about the same, (m,); −1 where there is none."""
        wanted = keys.joined(self.cells.names)
        if len(self._joined) == 0:
            return np.full(len(wanted), -1, dtype=np.int64)
        place = np.minimum(np.searchsorted(self._joined, wanted), len(self._joined) - 1)
        return np.where(self._joined[place] == wanted, self._order[place], -1)

    def latest(self, unit: Ints, at: Floats) -> Ints:
        """The row in which each unit (−1: unknown) was last seen at or before `at`, (m,); −1 without any.

        A row knows its first and its last moment only, so of two that both go on, the one begun later is
        taken: phase and arm are right, since a unit's phases follow each other.
        """
        found = np.full(len(unit), -1, dtype=np.int64)
        asked = np.flatnonzero(unit >= 0)
        begin, end = self._first[unit[asked]], self._first[unit[asked] + 1]
        who = np.repeat(np.arange(len(asked)), end - begin)
        within = np.arange(len(who)) - np.repeat(np.cumsum(end - begin) - (end - begin), end - begin)
        row = self._by_unit[begin[who] + within]
        moment = at[asked][who]
        before = self.cells.first_at[row] <= moment
        who, row, moment = who[before], row[before], moment[before]
        seen = np.minimum(self.cells.last_at[row], moment)
        # The last one assigned stays: the latest seen and, of those, the one that comes last in the sample.
        best = np.lexsort((row, seen))
        found[asked[who[best]]] = row[best]
        return found
