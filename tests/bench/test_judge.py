"""The judge's mark and its reason are read from whatever the judge writes around them."""

import pytest

from bench.judge import reason, score


@pytest.mark.parametrize(
    ("said", "mark", "why"),
    [
        ("It leaves out the date.\nMARK: 3", 0.5, "It leaves out the date."),
        ("It leaves out the date. MARK: 3", 0.5, "It leaves out the date."),
        ("First I read it.\n\n**It invents a date.**\n\n**MARK: 2**", 0.25, "It invents a date."),
        ("MARK: 5", 1.0, ""),
        ("MARK: 4\nA detail is missing.", 0.75, "A detail is missing."),
        ("MARK: 1 at first sight.\nBut it is right.\nMARK: 5", 1.0, "But it is right."),
        ("I would rather not say.", None, "I would rather not say."),
        ("MARK: 9", None, "MARK: 9"),
        ("", None, ""),
        (f"{'long ' * 100}\nMARK: 1", 0.0, ("long " * 100)[:300]),
    ],
)
def test_the_last_mark_counts_and_the_line_before_it_says_why(
    said: str, mark: float | None, why: str
) -> None:
    assert (score(said), reason(said)) == (mark, why)
