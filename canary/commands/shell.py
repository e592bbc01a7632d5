"""How every command takes its options, asks the server and speaks: results to stdout, the rest to stderr."""

import getpass
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, TypeVar

import typer

from canary.commands.client import AdminClient, NotReached
from canary.config import Config, ConfigError, load

ConfigFile = Annotated[Path, typer.Option("--config", envvar="CANARY_CONFIG", help="The configuration file.")]
DataFolder = Annotated[Path, typer.Option("--data", envvar="CANARY_DATA", help="The server's data folder.")]
Admin = Annotated[
    str | None, typer.Option("--admin", envvar="CANARY_ADMIN", help="The admin listener, HOST:PORT.")
]
Form = Annotated[Literal["text", "json"], typer.Option("-o", "--output", help="How it is printed.")]

CONFIG = Path("canary.yaml")
DATA = Path("./canary-data")

T = TypeVar("T")


def example(call: str) -> str:
    """The last line of a command's help: how it is called."""
    return f"Example: canary {call}"


def admin_client(admin: str | None, data: Path) -> AdminClient:
    """The server's admin API; ends the command where nobody knows its address."""
    return ask(lambda: AdminClient(admin=admin, data=data, environment=os.environ))


def ask(call: Callable[[], T]) -> T:
    """What the server answers; ends the command with 1 where it does not, or refuses."""
    try:
        return call()
    except NotReached as problem:
        fail(str(problem))


def read_config(path: Path) -> Config:
    """The config; ends the command with 2 where it has a mistake."""
    try:
        return load(path, os.environ)
    except ConfigError as problem:
        fail(str(problem), code=2)


@contextmanager
def needs_store(config: Config, data: Path) -> Iterator[None]:
    """Around what opens the store: ends the command with 1 where there is none, or it does not answer."""
    from records.errors import StoreDown

    if config.store.startswith("sqlite:") and not data.is_dir():
        fail(f"there is no data folder {data}: start `canary serve` first, or name its folder with --data")
    try:
        yield
    except StoreDown as problem:
        fail(str(problem))


def user() -> str:
    """Who asks, for the audit log; by number where the system knows no name, as in many containers."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # KeyError until Python 3.12
        return f"uid {os.getuid()}"


@contextmanager
def writing(file: Path) -> Iterator[None]:
    """Around what writes a file, or stdout (`-`): ends the command with 1 where it cannot be written."""
    try:
        yield
    except BrokenPipeError:
        raise  # whoever reads stdout has enough: the command ends without a word
    except OSError as problem:
        fail(f"{'stdout' if str(file) == '-' else file} cannot be written: {problem.strerror}")


def print_text(text: str) -> None:
    """A result, for people."""
    typer.echo(text)


def print_json(document: Any) -> None:
    """A result, for programs."""
    print_text(json.dumps(document, indent=2))


def say(text: str) -> None:
    """Prose and progress."""
    typer.echo(text, err=True)


def fail(message: str, *, code: int = 1) -> NoReturn:
    """End the command: 1 is an error, 2 a mistake in how it was called."""
    say(message)
    raise typer.Exit(code)
