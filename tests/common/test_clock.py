"""Moments in text."""

import pytest

from common.clock import retry_after_s

NOW = 1_790_000_000.0


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("30", 30.0),
        ("Mon, 21 Sep 2026 14:14:20 GMT", 60.0),
        ("Mon, 21 Sep 2026 14:00:00 GMT", 0.0),
        ("soon", None),
        ("²", None),
        ("Mon, 21 Sep 2026 14:14:20 +99999999999999", None),
        ("9" * 100, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header, NOW) == seconds
