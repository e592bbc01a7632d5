"""Which day's captured pairs are asked for."""

from datetime import date

import pytest

from console.captures import day_asked
from control.operator.orders import BadOrder


def test_a_day_is_read_as_it_is_written() -> None:
    assert day_asked("2026-11-24") == date(2026, 11, 24)


@pytest.mark.parametrize("text", ["yesterday", "2026-11-31", "0001-01-01", "9999-12-31"])
def test_what_is_no_day_or_has_none_beside_it_is_refused(text: str) -> None:
    with pytest.raises(BadOrder, match="is not a day; write it as 2026-11-24") as refused:
        day_asked(text)
    assert refused.value.status == 400
