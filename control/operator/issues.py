"""Known issues, as people report them on the page: of a captured exchange, or of a dataset's example."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BadDataset
from control.operator.orders import BadOrder, must_be_storable, refusing
from control.settings import ControlSettings
from records.captures.capture import CapturedMessage
from records.store import Store
from records.store.benchmarks import IssueHistory, StoredIssues

if TYPE_CHECKING:  # asking models takes a while to import, and few pages need it
    from bench.known_issues import Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What shows the issue: an exchange, or the example ID of a dataset (`DATASET:ID`), which `since`
    (`provider/model`, "" if nobody said) got wrong."""

    exchange: str = ""
    example: str = ""
    since: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueSource:
    """What the model was asked, and what it answered; `answer` is "" where it is not stored. `error`: the
    failure where there was no answer, else ""."""

    messages: Sequence[CapturedMessage]
    model: str
    answer: str = ""
    error: str = ""


def modes(store: Store, file: Path) -> "Sequence[Mode]":
    """Every known issue of the store and of the file. Raises BadOrder (503), StoreDown."""
    from bench.known_issues import known_issues, modes_of

    says = f"{file.name} cannot be read: {{}}"
    with refusing(503, BadDataset, OSError, UnicodeDecodeError, says=says):
        return modes_of(known_issues(store, file), IssueHistory(store).all())


def source_of(store: Store, settings: ControlSettings, wanted: Wanted) -> IssueSource:
    """What is to be reported. Raises BadOrder (404), StoreDown."""
    from bench.dataset.example import messages_of
    from bench.known_issues import NoExample, failed_exchange

    if wanted.example:
        return IssueSource(messages=messages_of(_line(settings, wanted.example)), model=wanted.since)
    with refusing(404, NoExample, says="There is nothing to report: {}."):
        found = failed_exchange(store, wanted.exchange)
    capture = found.capture
    said = "" if found.error else capture.said
    return IssueSource(messages=capture.messages, model=found.model, answer=said, error=found.error)


def add_issue(
    store: Store,
    settings: ControlSettings,
    wanted: Wanted,
    name: str,
    description: str,
    *,
    who: str,
    at: float,
) -> None:
    """Make it an example of the known issue of that name, which may be new. Raises BadOrder, StoreDown."""
    from bench.known_issues import NoExample, failed_exchange, issue_of_example, issue_of_exchange

    must_be_storable(name, description, who)

    try:
        if wanted.example:
            line = _line(settings, wanted.example)
            issue, had = issue_of_example(
                line, wanted.example, name, description, who=who, at=at, since=wanted.since
            )
        else:
            found = failed_exchange(store, wanted.exchange)
            issue, had = issue_of_exchange(found, name, description, who=who, at=at)
    except NoExample as problem:
        raise BadOrder(404, f"Not saved: {problem}.") from problem
    except BadDataset as problem:
        why = "; ".join(each.message for each in problem.problems)
        raise BadOrder(409, f"Not saved: no model can be asked this again: {why}.") from problem
    if not StoredIssues(store).add(issue, had):
        raise BadOrder(409, "Not saved: this is an example of a known issue already.")


def _line(settings: ControlSettings, example: str) -> dict[str, Any]:
    from bench.known_issues import NoExample, line_of

    dataset, _, id_ = example.rpartition(":")
    file = next((each.file for each in settings.datasets if each.name == dataset), None)
    if file is None:
        raise BadOrder(404, f"There is no dataset {dataset!r} in the config.")
    unread = (NoExample, BadDataset, OSError, UnicodeDecodeError)
    with refusing(404, *unread, says="The example cannot be read: {}."):
        return line_of(Path(file), id_)
