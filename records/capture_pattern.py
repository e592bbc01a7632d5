"""A canary's own patterns of what must not be kept: checked when the config is read."""

import re


class BadPattern(Exception):
    """A pattern that cannot be used; the message says why."""


def pattern(text: str) -> re.Pattern[str]:
    """A canary's own pattern. Raises BadPattern."""
    try:
        found = re.compile(text)
    except re.error as exc:
        raise BadPattern(f"is no regular expression: {exc}") from exc
    if found.search(""):
        raise BadPattern("finds the empty text, and so everything; make it find something")
    return found
