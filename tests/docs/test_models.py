"""Examples name models that live: none that its vendor shuts down within a year of the last look.

Dates are those of the vendors' pages, read on READ_AT. Read them again now and then:
https://developers.openai.com/api/docs/deprecations, https://platform.claude.com/docs/en/about-claude/model-deprecations,
https://ai.google.dev/gemini-api/docs/deprecations
"""

import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READ_AT = date(2026, 11, 26)
SHUTDOWN = {
    "gpt-4o": date(2027, 1, 14),
    "gpt-4.1": date(2027, 1, 14),
    "gpt-5": date(2026, 12, 11),
    "o3": date(2026, 12, 11),
    "gpt-5.1": date(2027, 4, 1),
    "gpt-5.4-nano": date(2027, 4, 1),
    "claude-sonnet-4-5": date(2026, 11, 30),
    "gemini-2.5-flash": date(2026, 12, 1),
    "gemini-2.5-pro": date(2026, 12, 1),
}
LIVE = {
    *(
        "gpt-5.6-luna",
        "gpt-5.6-terra",
        "gpt-5.6-sol",
        "gpt-6-luna",
        "gpt-6-sol",
        "gpt-6.1-terra",
        "gpt-6.1-sol",
    ),
    *("claude-sonnet-5", "claude-sonnet-5-5", "claude-opus-5", "claude-haiku-5-5"),
    *("gemini-3.5-flash", "gemini-3.8-flash"),
}
"""Without a published date."""

NAME = re.compile(
    r"(?<![\w./-])(?:gpt-\d|o[134]\b|claude-(?:opus|sonnet|haiku)-|gemini-\d)(?![\w.-]*\*)[\w.-]*(?<![.-])"
)
LEFT = {
    "docs/configuration.md": {"gpt-4o", "gpt-4o-2024-08-06"},
    "docs/guides/migrations.md": {"gpt-4o", "gpt-4o-2024-08-06"},
}
"""Models that an example is about leaving, by page."""

WRITTEN = (
    "README.md",
    "canary.example.yaml",
    "docs/**/*.md",
    "docs/**/*.yaml",
    "deploy/**/*.yaml",
    "demo/*.py",
)
NOT_EXAMPLES = ("docs/adr/", "docs/performance", "docs/comparison.md")
"""What was decided, measured or read at its time."""


def pages() -> Iterator[Path]:
    """The files whose models a reader may copy."""
    for pattern in WRITTEN:
        for path in sorted(ROOT.glob(pattern)):
            if not path.relative_to(ROOT).as_posix().startswith(NOT_EXAMPLES):
                yield path


def shutdown(model: str) -> date | None:
    """The day on which the vendor shuts this model down: by its own name, or that of its snapshots' model."""
    named = re.sub(r"-\d{4}-\d{2}-\d{2}$", "", model)
    family = re.sub(r"-(?:mini|nano)$", "", named)
    return SHUTDOWN.get(model) or SHUTDOWN.get(named) or SHUTDOWN.get(family)


@pytest.mark.parametrize("path", list(pages()), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_an_example_names_models_that_live(path: Path) -> None:
    named = set(NAME.findall(path.read_text(encoding="utf-8")))
    dying = {model for model in named if (at := shutdown(model)) and at < READ_AT + timedelta(days=365)}
    left = LEFT.get(path.relative_to(ROOT).as_posix(), set())
    assert dying <= left
    assert named - dying - LIVE == set()


def test_the_dates_are_read() -> None:
    assert shutdown("gpt-4o-mini-2024-07-18") == date(2027, 1, 14)
    assert shutdown("gpt-6-luna") is None
    assert {model for model in LIVE if shutdown(model)} == set()
    assert NAME.findall("ask `gpt-4o-2024-08-06`, o3 or claude-sonnet-5.") == [
        "gpt-4o-2024-08-06",
        "o3",
        "claude-sonnet-5",
    ]
