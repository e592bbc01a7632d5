"""Checks of what is captured: something is, its patterns can be searched, no model is listed twice."""

from collections.abc import Sequence

from canary.config.errors import Path
from canary.config.salvage import Salvage
from canary.config.sections import CaptureSection, FileSection
from records.captures.patterns import BadPattern, pattern


def check_captures(file: FileSection, found: Salvage) -> None:
    """Record every problem of the patterns, and of the captures of models that no canary takes."""
    _check_patterns(file.redact, ("redact",), found)
    first: dict[str, int] = {}
    for index, section in enumerate(file.capture):
        check_capture(section, ("capture", index), found)
        for place, model in enumerate(section.models):
            if model in first:
                message = f'"{model}" is already listed in capture[{first[model]}]'
                found.complain(("capture", index, "models", place), message)
            first.setdefault(model, index)


def check_capture(section: CaptureSection, path: Path, found: Salvage) -> None:
    """Record every problem of one `capture`."""
    if not (section.rate or section.per_category or found.cut_below(path)):
        found.complain(path, "captures nothing; set a rate, for example `rate: 1%`, or per_category")
    _check_patterns(section.redact, (*path, "redact"), found)


def _check_patterns(patterns: Sequence[str], path: Path, found: Salvage) -> None:
    for index, text in enumerate(patterns):
        try:
            pattern(text)
        except BadPattern as error:
            found.complain((*path, index), str(error))
