"""How numbers read in a guardrail's sentence."""

import pytest

from alerts.wording import dollars


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0000525, "$0.0000525"), (0.0123456, "$0.01235"), (12345.6, "$12350"), (1.0, "$1"), (None, "unknown")],
)
def test_dollars_are_written_without_an_exponent(value: float | None, words: str) -> None:
    assert dollars(value) == words
