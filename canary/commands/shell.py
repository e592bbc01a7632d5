"""What all commands share: options, server calls, output. Results go to stdout, all else to stderr."""

import getpass
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, TypeVar

import typer

from canary.commands.client import AdminClient, ServerNotReached
from canary.config import Config, ConfigError, load
from canary.config.load import CONFIG as CONFIG
from canary.config.load import DATA as DATA
from canary.config.load import data_folder
from common.text import visible
from records.facts.standing import in_its_place

if TYPE_CHECKING:
    from control.settings import CanarySettings
    from records.store import Store, StoreTimeouts


def _beside_config(context: typer.Context, data: Path) -> Path:
    """The data folder as given, or else that of the config file."""
    source = context.get_parameter_source("data")
    if context.resilient_parsing or source is None or source.name != "DEFAULT":
        return data
    config, named = context.params["config"], context.get_parameter_source("config")
    if named is not None and named.name != "DEFAULT" and not config.exists():
        raise typer.BadParameter(f"there is no file {config}", context, param_hint="--config")
    return data_folder(config, os.environ)


ConfigFile = Annotated[
    Path,
    typer.Option("--config", envvar="CANARY_CONFIG", is_eager=True, help="The configuration file."),
]
DataFolder = Annotated[
    Path,
    typer.Option(
        "--data",
        envvar="CANARY_DATA",
        callback=_beside_config,
        help="The server's data folder.",
        show_default="`data` of the file, else canary-data beside it",
    ),
]
"""A command with this option has `--config` too."""

Admin = Annotated[
    str | None, typer.Option("--admin", envvar="CANARY_ADMIN", help="The admin listener's HOST:PORT or URL.")
]
Minutes = Annotated[
    float | None, typer.Option("--minutes", help="The time that you spent on it, for the release's clock.")
]
Stage = Annotated[
    str,
    typer.Option("--stage", help="What the minutes went to, in a word, for example labelling."),
]
Form = Annotated[Literal["text", "json"], typer.Option("-o", "--output", help="The output format.")]


def spent(minutes: float | None, stage: str) -> dict[str, Any]:
    """The time that a person spent on a release, and on which stage of it. Exits 2 for bad ones."""
    from control.operator.orders import LONGEST_STAGE, MOST_MINUTES

    stage = stage.strip().lower()
    if minutes is not None and not 0 < minutes <= MOST_MINUTES:
        fail(f"--minutes must be above 0 and at most {MOST_MINUTES}", code=2)
    if stage and (minutes is None or len(stage) > LONGEST_STAGE):
        fail(f"--stage is a word of at most {LONGEST_STAGE} characters, beside --minutes", code=2)
    return {"minutes": minutes, **({"stage": stage} if stage else {})}


VERDICT_EXITS = {"ship_now": 0, "ship": 0, "ship_with_caveats": 0, "dont_ship": 3, "extend": 4}
"""The exit code of a command that ends with a verdict."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """The options of a command that works without a server."""

    config: ConfigFile = CONFIG
    data: DataFolder = DATA
    output: Form = "text"

    def read(self) -> Config:
        """The config, with what was begun on its server. Exits 2 if it is invalid."""
        return read_config(self.config, self.data)

    def store(self) -> AbstractContextManager["Store"]:
        """The config's store, as `opened`."""
        return opened(self.read(), self.data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The options of a command that asks the server. The config names its data folder."""

    admin: Admin = None
    config: ConfigFile = CONFIG
    data: DataFolder = DATA
    output: Form = "text"

    def client(self) -> AdminClient:
        """A client of the server's admin API. Exits 1 if the server's address is unknown."""
        return ask(lambda: AdminClient(admin=self.admin, data=self.data, environment=os.environ))


Command = TypeVar("Command", bound=Callable[..., None])


def command(app: typer.Typer, usage: str) -> Callable[[Command], Command]:
    """Adds a command by its function's name, with an example of its use.

    What a parameter `at` holds, Local or Server, become the command's last options, but for those that it has
    itself.
    """

    def add(function: Command) -> Command:
        name = function.__name__.rstrip("_")
        app.command(name, epilog=f"Example: canary {usage}")(_with_options(function))
        return function

    return add


def _with_options(function: Callable[..., None]) -> Callable[..., None]:
    """The function as Typer reads it: each field of `at` is a parameter."""
    own = dict(inspect.signature(function, eval_str=True).parameters)
    if (at := own.pop("at", None)) is None:
        return function
    fields = inspect.signature(at.annotation, eval_str=True).parameters
    options = {name: each for name, each in fields.items() if name not in own}

    @wraps(function)
    def called(**given: Any) -> None:
        function(at.annotation(**{name: given.pop(name) for name in options}), **given)

    every = [each.replace(kind=each.KEYWORD_ONLY) for each in (own | options).values()]
    vars(called)["__signature__"] = inspect.Signature(every)
    called.__annotations__ = {each.name: each.annotation for each in every}
    return called


def ask(call: Callable[[], T]) -> T:
    """Call the server and return its answer. Exits 1 if the server does not answer, or refuses."""
    with ended_by(ServerNotReached):
        return call()


def read_config(path: Path, data: Path | None = None) -> Config:
    """Load the config, with what was begun on the server of this data folder, by default the config's. Exits
    2 if it is invalid."""
    with ended_by(ConfigError, code=2):
        return load(path, os.environ, data and data.absolute())


def canary_of(config: Config, name: str | None, by: str = "") -> "CanarySettings":
    """The canary of this name, or the terms of a standing one; without a name the only one. `by`: the option
    that names it. Exits 2 if the config has none."""
    if name is None and len(config.known) == 1:
        return next(iter(config.known.values()))
    known = ", ".join(config.known) or "none"
    if name is None:
        fail(f"name a canary{by}; the config has: {known}", code=2)
    if name not in config.known:
        fail(f"the config has no canary {name!r}; it has: {known}", code=2)
    return config.known[name]


def must_not_stand(config: Config, *names: str) -> None:
    """Exits 2 where a standing canary is named and one with a candidate is meant."""
    for name in names:
        if name in config.standing:
            fail(in_its_place(name, config.standing[name].begun.open), code=2)


@contextmanager
def opened(config: Config, data: Path, timeouts: "StoreTimeouts | None" = None) -> Iterator["Store"]:
    """The store, connected, to be closed afterwards; with a `timeouts`, connected at its first use. Exits 1
    if it does not exist or does not answer."""
    from records.errors import StoreDown

    if not has_store(config, data):
        fail(f"there is no data folder {data}; start `canary serve` first, or name its folder with --data")
    with ended_by(StoreDown):
        store = config.open_store(data) if timeouts is None else config.store_at(data, timeouts)
        with closing(store):
            yield store


def from_store(
    config: Config, data: Path, look: "Callable[[Store], T]", otherwise: T, without: str = ""
) -> T:
    """What `look` finds in the store; `otherwise` where there is none yet, or it does not answer, of which
    `without` says what is missing."""
    from records.errors import StoreDown

    if not has_store(config, data):
        return otherwise
    try:
        with closing(config.open_store(data)) as store:
            return look(store)
    except StoreDown as problem:
        if without:
            say(f"{without}: {problem}")
        return otherwise


def has_store(config: Config, data: Path) -> bool:
    """False if the store is a SQLite file in a folder that no server has made yet."""
    return not config.store.startswith("sqlite:") or data.is_dir()


def without_log_lines() -> None:
    """Print no log line from here on, but for an error of canary's own, with its trace, on stderr. Commands
    run the server's code: they say themselves what it would log, and stdout belongs to their result. A
    process of the server sets its own log up."""
    import structlog

    structlog.configure(
        processors=[_only_traces, structlog.dev.ConsoleRenderer(colors=False)],
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )


def _only_traces(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if "trace" not in event:
        import structlog

        raise structlog.DropEvent
    return event


def user() -> str:
    """The user's name for the audit log, or the uid if the system has no name for it (many containers)."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # KeyError until Python 3.12
        return f"uid {os.getuid()}"


@contextmanager
def writing(file: Path) -> Iterator[None]:
    """Ends the command if the file, or stdout (`-`), cannot be written."""
    try:
        yield
    except BrokenPipeError:
        raise  # the reader of stdout has closed it; end without a message
    except OSError as problem:
        fail(f"{'stdout' if str(file) == '-' else file} cannot be written: {problem.strerror}")


def print_text(text: str) -> None:
    """Print a result as text. What stands in it of others may contain anything, but commands no terminal."""
    typer.echo(visible(text))


def print_json(document: Any) -> None:
    """Print a result as JSON."""
    print_text(json.dumps(document, indent=2))


def say(text: str) -> None:
    """Print a message or progress to stderr."""
    typer.echo(visible(text), err=True)


def answer(output: str, document: Any, text: str, by: Callable[[str], None] = print_text) -> None:
    """Print the document if the output is JSON, else the text, if any; `by=say` where that is no result."""
    if output == "json":
        print_json(document)
    elif text:
        by(text.rstrip("\n"))


@contextmanager
def ended_by(*problems: type[Exception], code: int = 1, about: object = "") -> Iterator[None]:
    """Ends the command with the message of one of these problems, after what the message is `about`."""
    try:
        yield
    except problems as problem:
        fail(f"{about}: {problem}" if about else str(problem), code=code)


def fail(message: str, *, code: int = 1) -> NoReturn:
    """End the command with a message. Code 1 is an error, 2 wrong usage."""
    say(message)
    raise typer.Exit(code)


def read_file(file: Path) -> str:
    """The file's text. Exits 1 if it cannot be read."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        fail(unreadable(file, problem))


def unreadable(file: Path, problem: OSError | UnicodeDecodeError) -> str:
    """The message for a file that cannot be read."""
    why = problem.strerror if isinstance(problem, OSError) else "it is not UTF-8"
    return f"{file} cannot be read: {why}"
