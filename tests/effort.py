"""What only `make test-more` does: more of the cases of one test, and more examples of a property."""

from typing import Any

import pytest
from hypothesis import settings

CANARY, MORE = "canary", "more"
settings.register_profile(CANARY, max_examples=40, derandomize=True, deadline=None, database=None)
settings.register_profile(MORE, max_examples=100, derandomize=True, deadline=None, database=None)


def examples(count: int) -> int:
    """`count` with the profile of `make test-more`, and a third of them without."""
    return count if settings.get_current_profile_name() == MORE else max(5, count // 3)


def in_more(*values: Any) -> Any:
    """One case of a test, for `make test-more` only."""
    return pytest.param(*values, marks=pytest.mark.more)
