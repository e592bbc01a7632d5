"""Loads a file or a text into a Config, or raises one ConfigError with every problem; finds its data folder.

Whoever only gets a parsed config, as a worker does, needs no pydantic and no YAML: they are imported when a
file is read.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from canary.config.config import Config
from canary.config.errors import ConfigError, ConfigProblem
from common.whole_file import read_document
from records.facts.arm_texts import FILE as TEXTS
from records.facts.arm_texts import NOTHING_KEPT, KeptTexts
from records.facts.standing import FILE, Standing
from routing.states import State
from routing.transitions import redefinition

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from canary.config.yaml_document import ConfigDocument
    from records.facts.metric import Metric
    from verdict.terms.rubric import Criterion

T = TypeVar("T")
DATA, CONFIG, HERE = Path("canary-data"), Path("canary.yaml"), Path()
TAKEN = "taken.yaml"
"""In the data folder: the config file as a server took it last."""


Begun = Callable[[str, str], Mapping[str, Standing]]
"""What was begun of the standing canaries, by the URL of the store and the data folder as the file has it."""

Kept = Callable[[str, str], KeptTexts]
"""The texts of the arms that started, likewise."""


def load(
    path: Path,
    environment: Mapping[str, str],
    begun: Begun | Path | None = None,
    *,
    anew: bool = False,
    data: Path | None = None,
    text: str | None = None,
) -> Config:
    """Read a config file, or this `text` in its place, with what was begun of its standing canaries: as
    `begun` says, or as the server of this data folder, by default `data` or else the file's, or with `anew`
    first as the store; and with the texts of the canaries that started, likewise. Raises ConfigError, also
    if the file cannot be read."""
    if text is None:
        text = read_text(path)
    given = begun if isinstance(begun, Path) else data or environment.get("CANARY_DATA")

    def kept_in(find: "Callable[[Path, str, bool], T]") -> Callable[[str, str], T]:
        return lambda store, named: find(path.parent / (given or named), store, anew)

    file = path.resolve()
    trials = begun if callable(begun) else kept_in(begun_in)
    data, texts = Path(given) if given else None, kept_in(texts_in)
    config = parse(text, str(path), environment, trials, folder=path.parent, data=data, kept=texts)
    return replace(config, folder=file.parent, file=file)


def parse(
    text: str,
    name: str,
    environment: Mapping[str, str],
    begun: Begun = lambda store, data: {},
    *,
    folder: Path = HERE,
    data: Path | None = None,
    kept: Kept = lambda store, data: NOTHING_KEPT,
) -> Config:
    """Read a config from text; `name` is the file name for messages, `folder` its folder, and `data` the data
    folder, if not the file's. Raises ConfigError."""
    from canary.config import conversion
    from canary.config.arm_files import ArmFiles
    from canary.config.file_checks import check
    from canary.config.schema import salvage
    from canary.config.standing import StandingEntries
    from canary.config.yaml_document import read

    document = read(text, name, environment)
    places = StandingEntries.of(document)
    files = ArmFiles(folder=folder)
    document = files.in_config(document, lambda: kept(places.store, places.data or str(DATA)))
    entries = StandingEntries.of(document)
    trials = begun(entries.store, entries.data or str(DATA)) if entries else {}
    file, found = salvage(entries.expanded(trials))
    check(file, found)
    if found.problems:
        raise ConfigError(list(dict.fromkeys(found.problems)))
    config = conversion.config(file, list(dict.fromkeys(found.warnings)), folder, data, files.kept)
    terms = {name: each.terms for name, each in config.standing.items()}
    changed = {
        name: replace(config.canaries[name], changed_texts=tuple(each))
        for name, each in files.changed.items()
    }
    return replace(
        config,
        standing=entries.settings(terms, trials),
        canaries={**config.canaries, **changed},
        text_files=tuple(dict.fromkeys(files.read)),
    )


def begun_in(data: Path, store: str, anew: bool = False) -> Mapping[str, Standing]:
    """What was begun, by the file of the server in this data folder, else by the store, or with `anew` first
    by the store; nothing where neither is there."""
    from records.store.baselines import all_in

    return _kept_in(data, store, FILE, dict[str, Standing], all_in, anew) or {}


def texts_in(data: Path, store: str, anew: bool = False) -> KeptTexts:
    """The texts of the arms that started, as `begun_in` finds what was begun."""
    from records.store.arm_texts import started_in

    return _kept_in(data, store, TEXTS, KeptTexts, started_in, anew) or NOTHING_KEPT


def told_in(data: Path, store: str) -> Mapping[str, str]:
    """What people on call were told last of each canary whose incident is not resolved, by the store; nothing
    where that does not answer."""
    from pages.words.status import moment
    from records.errors import StoreDown
    from records.store.migrate import found_at
    from records.store.releases import open_pages

    if store.startswith("sqlite:") and not data.is_dir():
        return {}
    try:
        found = found_at(store, data, open_pages) or {}
    except StoreDown:
        return {}
    return {name: f"told at {moment(each.at)} UTC: {each.title}" for name, each in found.items()}


def _kept_in(
    data: Path, store: str, file: str, kind: type[T], read: "Callable[[Connection], T]", anew: bool
) -> T | None:
    from records.errors import StoreDown
    from records.store.migrate import found_at

    found = read_document(data / file, kind)
    if (found is not None and not anew) or (store.startswith("sqlite:") and not data.is_dir()):
        return found
    try:
        return found_at(store, data, read)
    except StoreDown:
        return found


def taken_in(path: Path, environment: Mapping[str, str], data: Path, *, anew: bool = False) -> Config | None:
    """The config that the server of this data folder took last, for the file at `path`, read as `load` does;
    None where none is kept that can be read."""
    try:
        return load(path, environment, data, anew=anew, text=read_text(data / TAKEN))
    except ConfigError:
        return None


def refusals(
    config: Config, states: Mapping[str, State], begun: Mapping[str, Standing], before: Config | None
) -> list[str]:
    """Why a server with these states keeps the config `before`: with this one, users would get another arm
    though nobody ordered it. A canary that started is another one, or the requests of a promoted baseline
    whose entry left go to an entry with another baseline."""
    changed = [
        redefinition(each.canary, states[name], in_force=False)
        for name, each in config.canaries.items()
        if name in states and states[name].state != "ended"
    ]
    taken = [
        f"canary {other.name!r} takes the requests of {each.name!r}, whose baseline {each.words} would not "
        f"be in force any more: keep the name {each.name!r}, or begin with this baseline"
        for each in config.control.left(begun, None if before is None else before.control)
        if each.is_in_force(states)
        for other in each.taken_by
        if (other.baseline.provider, other.baseline.model) != each.arm
    ]
    return [each for each in changed if each is not None] + taken


def data_folder(config: Path, environment: Mapping[str, str]) -> Path:
    """The folder that `data` in the file names, relative to the file's folder, wherever a command is started.
    It is `canary-data` if the file names none, or cannot be read."""
    from canary.config.yaml_document import read

    try:
        root = read(config.read_text(encoding="utf-8"), str(config), environment).root
    except (ConfigError, OSError, UnicodeDecodeError):
        return config.parent / DATA
    return config.parent / (root.text("data") or DATA)


def read_rubric(
    path: Path, environment: Mapping[str, str], metrics: "Mapping[str, Metric]"
) -> "tuple[Criterion, ...]":
    """Read a rubric from its own file, to judge a past canary by other criteria. Leaves out the rows that
    only a benchmark measures. Raises ConfigError with every problem and its line."""
    from pydantic import ValidationError

    from canary.config.conversion import criterion
    from canary.config.sections import RubricFileSection
    from canary.config.yaml_document import read
    from records.facts.metric import is_offline

    document = read(_text(path), str(path), environment)
    if document.problems:
        raise ConfigError(document.problems)
    try:
        sections = RubricFileSection.model_validate(document.root.plain(frozenset(), {})).rubric
    except ValidationError as error:
        found = error.errors(include_url=False)
        problems = [
            document.problem(each["loc"], each["msg"].removeprefix("Value error, ")) for each in found
        ]
        raise ConfigError(problems) from error
    rows = tuple(criterion(row) for row in sections)
    if wrong := list(_wrong(document, rows, metrics)):
        raise ConfigError(wrong)
    return tuple(row for row in rows if not is_offline(row.metric))


def _wrong(
    document: "ConfigDocument", rows: "tuple[Criterion, ...]", metrics: "Mapping[str, Metric]"
) -> Iterator[ConfigProblem]:
    from canary.config.quantity import suggestion
    from records.facts.metric import is_offline
    from verdict.terms.measures import known
    from verdict.terms.rubric import wrong_with

    for place, row in enumerate(rows):
        if not known(row.metric, metrics) and not is_offline(row.metric):
            meant = suggestion(row.metric, list(metrics))
            message = f'"{row.metric}" is not a computed or declared metric{meant}'
            yield document.problem(("rubric", place, "metric"), message)
        for key, message in wrong_with(row, metrics):
            yield document.problem(("rubric", place, *key), message)


def read_text(path: Path) -> str:
    """A config file's text. Raises ConfigError."""
    return _text(path, or_else="; give its path with --config, or write it with `canary init`")


def _text(path: Path, *, or_else: str = "") -> str:
    """The file's text. Raises ConfigError, which ends with `or_else` if there is no such file."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        if isinstance(error, FileNotFoundError):
            reason = f"{reason}{or_else}"
        problem = ConfigProblem(file=str(path), path="", line=None, message=f"cannot be read: {reason}")
        raise ConfigError([problem]) from error
