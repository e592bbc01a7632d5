"""What only `make test-more` does: more of the cases of one test, and more examples of a property."""

from typing import Any

import pytest
from hypothesis import settings

CANARY, MORE = "canary", "more"
settings.register_profile(CANARY, max_examples=20, derandomize=True, deadline=None, database=None)
settings.register_profile(MORE, max_examples=100, derandomize=True, deadline=None, database=None)


def examples(count: int) -> int:
    """`count` with the profile of `make test-more`, and a fifth of them without."""
    return count if settings.get_current_profile_name() == MORE else max(5, count // 5)


def stride(count: int) -> int:
    """How far it is to the next of many steps: 1 with the profile of `make test-more`, `count` without."""
    return 1 if settings.get_current_profile_name() == MORE else count


def in_more(*values: Any) -> Any:
    """One case of a test, for `make test-more` only."""
    return pytest.param(*values, marks=pytest.mark.more)
