"""Sticky cohorts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.cohort import SPACE, bucket, derive_key, in_cohort, unit_hash

KEY = derive_key(b"an example secret", "assignment")
ROOT = Path(__file__).parents[2]

# name, unit, bucket: computed apart from this code with `openssl mac -digest SHA256 HMAC`.
VECTORS = [
    ("support-nov", "user-1", 0x2A60FA77),
    ("support-nov", "user-2", 0x159A3870),
    ("support-nov", "", 0x9A527727),
    ("support-nov", "пользователь", 0x71B47D8B),
    ("checkout", "user-1", 0x26A628E4),
]


@pytest.mark.parametrize(("name", "unit", "place"), VECTORS)
def test_the_published_vectors_hold(name: str, unit: str, place: int) -> None:
    assert bucket(KEY, name, unit) == place


@pytest.mark.parametrize("share", [0.05, 0.10])
def test_twenty_thousand_units_split_within_three_tenths_of_a_point(share: float) -> None:
    units = [f"user-{n}" for n in range(20_000)]
    actual = sum(in_cohort(KEY, "support-nov", unit, share) for unit in units) / len(units)
    assert abs(actual - share) < 0.003


def test_a_raised_share_only_adds_units() -> None:
    units = [f"user-{n}" for n in range(20_000)]
    five = {unit for unit in units if in_cohort(KEY, "support-nov", unit, 0.05)}
    ten = {unit for unit in units if in_cohort(KEY, "support-nov", unit, 0.10)}
    assert five < ten


@given(unit=st.text(), low=st.floats(0, 1), high=st.floats(0, 1))
def test_a_unit_once_in_stays_in_as_the_share_rises(unit: str, low: float, high: float) -> None:
    low, high = sorted((low, high))
    assert in_cohort(KEY, "c", unit, low) <= in_cohort(KEY, "c", unit, high)


@given(unit=st.text())
def test_the_ends_of_the_share_take_nobody_and_everybody(unit: str) -> None:
    assert not in_cohort(KEY, "c", unit, 0.0)
    assert in_cohort(KEY, "c", unit, 1.0)
    assert 0 <= bucket(KEY, "c", unit) < SPACE


def test_canaries_draw_independent_cohorts() -> None:
    units = [f"user-{n}" for n in range(20_000)]
    both = sum(in_cohort(KEY, "one", u, 0.1) and in_cohort(KEY, "two", u, 0.1) for u in units)
    assert 140 < both < 260  # 200 expected; five standard deviations are 70


def test_name_and_unit_cannot_be_shifted_into_each_other() -> None:
    assert bucket(KEY, "ab", "c") != bucket(KEY, "a", "bc")


def test_purposes_have_keys_of_their_own() -> None:
    assert derive_key(b"s", "assignment") != derive_key(b"s", "ids")
    assert unit_hash(KEY, "user-1") != unit_hash(derive_key(b"s", "ids"), "user-1")
    assert len(unit_hash(KEY, "user-1")) == 32


def test_every_process_draws_the_same_cohort_whatever_its_hash_seed() -> None:
    script = "from routing.cohort import bucket; print([bucket(b'k', 'c', f'u{n}') for n in range(50)])"
    answers = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4711")
    }
    assert len(answers) == 1
