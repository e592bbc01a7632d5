"""Reads a rubric from its own file, to judge a past canary by other criteria."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from canary.config import ConfigError
from canary.config.build import criterion
from canary.config.document import ConfigDocument, read
from canary.config.errors import Problem
from canary.config.fields import ConfigSection
from canary.config.names import suggestion
from canary.config.sections import CriterionSection
from records.facts.metric import Metric, is_offline
from verdict.terms.measures import known
from verdict.terms.rubric import Criterion, wrong_with


class _File(ConfigSection):
    """A file with only `rubric:`, whose rows are as in canary.yaml."""

    rubric: Annotated[tuple[CriterionSection, ...], Field(min_length=1)]


def read_rubric(
    path: Path, environment: Mapping[str, str], metrics: Mapping[str, Metric]
) -> tuple[Criterion, ...]:
    """Read the file's rubric, without the rows that only a benchmark measures.

    Raises ConfigError with every problem and its line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        message = f"cannot be read: {reason}"
        raise ConfigError([Problem(file=str(path), path="", line=None, message=message)]) from error
    document = read(text, str(path), environment)
    rows = tuple(criterion(row) for row in _sections(document))
    problems = [found for place, row in enumerate(rows) for found in _check(document, place, row, metrics)]
    if problems:
        raise ConfigError(problems)
    return tuple(row for row in rows if not is_offline(row.metric))


def _sections(document: ConfigDocument) -> tuple[CriterionSection, ...]:
    if document.problems:
        raise ConfigError(document.problems)
    try:
        return _File.model_validate(document.root.plain(frozenset(), {})).rubric
    except ValidationError as error:
        found = error.errors(include_url=False)
        problems = [
            document.problem(each["loc"], each["msg"].removeprefix("Value error, ")) for each in found
        ]
        raise ConfigError(problems) from error


def _check(
    document: ConfigDocument, place: int, row: Criterion, metrics: Mapping[str, Metric]
) -> list[Problem]:
    found = []
    if not known(row.metric, metrics) and not is_offline(row.metric):
        message = (
            f'"{row.metric}" is not a computed or declared metric{suggestion(row.metric, list(metrics))}'
        )
        found.append(document.problem(("rubric", place, "metric"), message))
    found += [document.problem(("rubric", place, *key), wrong) for key, wrong in wrong_with(row, metrics)]
    return found
