"""Millions of single values in groups: counted piece by piece as if at once."""

import numpy as np
import pytest

from verdict.sample.sample import Values


def _values(sizes: list[int], seed: int = 3) -> Values:
    rng = np.random.default_rng(seed)
    size = np.array(sizes, dtype=np.int64)
    code = rng.integers(1, 1000, size=int(size.sum())).astype("<u2")
    return Values.grouped(row=np.arange(len(size))[::-1], size=size, code=code, scale=np.arange(1000.0))


SIZES = pytest.mark.parametrize(
    "sizes",
    [[1], [3, 1, 2], [1_500_000, 1, 2_499_998, 1, 2, 3_000_000], [4_100_000, 2, 4_100_001]],
    ids=["one", "few", "over a piece's edge", "groups larger than a piece"],
)


@SIZES
def test_heights_count_every_value_of_each_kind(sizes: list[int]) -> None:
    values = _values(sizes)
    kind = np.arange(len(sizes)) % 2
    of_value = np.repeat(kind, values.size)
    found = values.heights(kind, 2)
    for each in (0, 1):
        assert np.array_equal(found[each], np.bincount(values.code[of_value == each], minlength=1000))


@SIZES
def test_each_group_counts_its_own_values_at_or_above_its_place(sizes: list[int]) -> None:
    values = _values(sizes)
    place = np.arange(len(sizes)) * 137 % 1000
    ends = np.cumsum(values.size)
    expected = [
        np.count_nonzero(values.code[end - size : end] >= least)
        for size, end, least in zip(values.size, ends, place, strict=True)
    ]
    assert values.at_or_above(place).tolist() == expected


@SIZES
def test_a_part_of_the_groups_keeps_their_values(sizes: list[int]) -> None:
    values = _values(sizes)
    kept = np.flatnonzero(np.arange(len(sizes)) % 3 != 1)
    part = values.take(kept)
    ends = np.cumsum(values.size)
    expected = [values.code[ends[i] - values.size[i] : ends[i]] for i in kept]
    assert (part.row.tolist(), part.size.tolist()) == (values.row[kept].tolist(), values.size[kept].tolist())
    assert np.array_equal(part.codes(), np.concatenate(expected))


def test_exact_values_leave_out_what_is_missing_or_not_to_be_measured() -> None:
    seconds = np.array([2.0, np.nan, 1.0, 2.0, 9.0])
    values = Values.exact(seconds, np.array([True, True, True, True, False]))
    assert values.row.tolist() == [0, 2, 3]
    assert values.scale[values.code].tolist() == [2, 1, 2]
