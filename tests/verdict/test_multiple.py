"""Many tests at once."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from verdict.statistics.sequence import e_bh

# Benjamini and Hochberg 1995, table of the 15 endpoints.
P_1995 = (
    0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344,
    0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0,
)  # fmt: skip


def test_the_worked_example_rejects_three() -> None:
    assert e_bh(np.array([200.0, 60, 30, 5]), alpha=0.05).tolist() == [True, True, True, False]


def test_with_inverse_p_values_it_is_the_procedure_of_1995() -> None:
    rejected = e_bh(1 / np.array(P_1995), alpha=0.05)
    assert rejected.tolist() == [True] * 4 + [False] * 11


def test_nothing_is_found_among_nothing() -> None:
    assert e_bh(np.zeros(0), alpha=0.05).tolist() == []
    assert not e_bh(np.ones(30), alpha=0.05).any()


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=40))
def test_the_order_of_the_tests_does_not_matter(values: list[float]) -> None:
    evidence = np.array(values)
    order = np.random.default_rng(len(values)).permutation(len(values))
    assert sorted(evidence[e_bh(evidence, alpha=0.05)]) == sorted(
        evidence[order][e_bh(evidence[order], alpha=0.05)]
    )
