"""A canary's own redaction patterns, checked when the config is read."""

import re

from records.backtracking import IntricatePattern, slow_text


class BadPattern(Exception):
    """A pattern that cannot be used; the message gives the reason."""


def pattern(text: str) -> re.Pattern[str]:
    """Compile a pattern. Raises BadPattern, also for one that takes more than linear time on some text."""
    try:
        compiled = re.compile(text)
    except (re.error, OverflowError) as exc:
        raise BadPattern(f"is not a regular expression: {exc}") from exc
    if compiled.search(""):
        raise BadPattern("matches the empty string; write a pattern that matches at least one character")
    try:
        slow = slow_text(compiled)
    except IntricatePattern as exc:
        raise BadPattern(f"is too intricate to be checked ({exc}); write several shorter patterns") from exc
    if slow is not None:
        text = (slow.before + 3 * slow.pump)[:40]
        raise BadPattern(
            f"would take minutes on a long text such as {text!r}…: it can read the same signs in many ways; "
            r"bound its repetitions (`\d{1,64}` for `\d+`), or let it begin at a word (`\b\d+`)"
        )
    return compiled
