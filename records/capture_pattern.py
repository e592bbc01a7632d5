"""A canary's own redaction patterns, checked when the config is read."""

import re


class BadPattern(Exception):
    """A pattern that cannot be used; the message gives the reason."""


def pattern(text: str) -> re.Pattern[str]:
    """Compile a pattern. Raises BadPattern."""
    try:
        compiled = re.compile(text)
    except re.error as exc:
        raise BadPattern(f"is not a regular expression: {exc}") from exc
    if compiled.search(""):
        raise BadPattern("matches the empty string; write a pattern that matches at least one character")
    return compiled
