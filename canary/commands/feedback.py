"""`canary feedback …`: imports feedback from a file. Checks every row before it sends the first one."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import msgspec
import typer

from canary.commands import shell
from canary.commands.client import ServerAddress, ServerNotReached, bearer, no_answer, refusal
from canary.config import Config
from records.facts.feedback import (
    MOST_VOICES,
    SUBJECTS,
    FeedbackLine,
    feedback_lines,
    too_many_voices,
)

if TYPE_CHECKING:
    import httpx2

MOST_VALUES, MOST_BYTES = 1000, 3 << 20
MOST_SHOWN = 100
"""The most invalid rows to list."""

TRIES = 5
_TIMEOUT_S = 60.0
_PATH = "/canary/feedback"


class FeedbackNotTaken(Exception):
    """The server does not answer, refuses, or has no room. The message says what to do."""


@dataclass(slots=True)
class ImportResult:
    """The result of an import. `accepted` rows are on the server's disk. If any row is `bad`, `accepted` is
    0 and `problems` lists the first bad rows by line. `skipped` rows map to nothing."""

    rows: int = 0
    accepted: int = 0
    skipped: int = 0
    bad: int = 0
    problems: list[dict[str, Any]] = field(default_factory=list)


class FileVoices:
    """Counts the feedback ids of each subject and metric in a whole file, of which a request sees a part."""

    def __init__(self) -> None:
        self._seen = set[int]()
        self._count = Counter[int]()

    def problem(self, value: Mapping[str, Any]) -> str:
        """What is wrong with one more value, "" if nothing is."""
        if not value.get("feedback_id"):
            return ""
        about = hash((*(value.get(name) for name in SUBJECTS), value["metric"]))
        voice = hash((about, value["feedback_id"]))
        if voice in self._seen:
            return ""
        if self._count[about] == MOST_VOICES:
            return too_many_voices(value["metric"])
        self._seen.add(voice)
        self._count[about] += 1
        return ""


class FeedbackClient:
    """A client of the feedback endpoint. `pause` sleeps, in seconds, before a retry."""

    def __init__(
        self, server: ServerAddress, token: str | None, *, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self._server, self._pause = server, pause
        self.has_token = token is not None
        self._headers = {"content-type": "application/json", **bearer("CANARY_FEEDBACK_TOKEN", token)}

    def check(self, values: bytes) -> list[dict[str, Any]]:
        """The values that the server would refuse, as [{"place", "error"}]."""
        problems: list[dict[str, Any]] = self._post(values, "problems", check="")
        return problems

    def send(self, values: bytes) -> int:
        """Send the values; returns their number. Raises FeedbackNotTaken if some may not have been taken."""
        return int(self._post(values, "accepted"))

    def _post(self, values: bytes, wanted: str, **query: str) -> Any:
        """The member `wanted` of the answer. Retries while the server has no room or is unreachable."""
        import httpx2

        problem, url = "", f"{self._server.url}{_PATH}"
        for attempt in range(TRIES):
            if attempt:
                self._pause(2.0 ** (attempt - 1))
            try:
                answer = self._server.ask(
                    "POST", _PATH, params=query, content=values, headers=self._headers, within_s=_TIMEOUT_S
                )
            except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
                raise FeedbackNotTaken(no_answer(url, error)) from error
            except httpx2.TransportError as error:
                problem = no_answer(url, error)
                continue
            if answer.is_success:
                return _member(answer, wanted)
            problem = refusal(answer)
            if answer.status_code != 503:
                break
        raise FeedbackNotTaken(problem)


def _member(answer: "httpx2.Response", name: str) -> Any:
    try:
        return answer.json()[name]
    except (ValueError, KeyError, TypeError) as error:
        raise FeedbackNotTaken(f"{answer.url} is not a canary traffic listener") from error


class LineReader(Protocol):
    """Reads the rows of a file."""

    def __call__(self, path: Path, *, default_at: datetime) -> Iterator[FeedbackLine]: ...


def import_file(
    path: Path, client: FeedbackClient, *, now: float, read: LineReader = feedback_lines
) -> ImportResult:
    """Check every row, then send all of them if none is invalid.

    A row without `at` gets the file's modification time, so a second import repeats exactly the same values.
    Raises BadFile, OSError, and FeedbackNotTaken, whose message says how many rows were accepted.
    """
    default_at = datetime.fromtimestamp(min(path.stat().st_mtime, now), UTC)
    done, voices = ImportResult(), FileVoices()
    for batch in batches(read(path, default_at=default_at)):
        done.rows += len(batch)
        _look(batch, client, voices, done)
    if done.bad:
        return done
    for batch in batches(read(path, default_at=default_at)):
        sent = [line for line in batch if line.values]
        done.skipped += len(batch) - len(sent)
        try:
            if sent:
                client.send(_encoded(sent))
            done.accepted += len(sent)
        except FeedbackNotTaken as problem:
            raise FeedbackNotTaken(
                f"{problem}\n{done.accepted} of {done.rows} rows were accepted, up to line "
                f"{batch[0].number - 1}. Import the file again; rows already accepted do not change"
            ) from problem
    return done


def batches(found: Iterable[FeedbackLine]) -> Iterator[list[FeedbackLine]]:
    """Group the rows by the limits of one request."""
    batch: list[FeedbackLine] = []
    values = size = 0
    for line in found:
        cost, count = len(msgspec.json.encode(line.values)), max(len(line.values), 1)
        if batch and (values + count > MOST_VALUES or size + cost > MOST_BYTES):
            yield batch
            batch, values, size = [], 0, 0
        batch.append(line)
        values += count
        size += cost
    if batch:
        yield batch


def _look(batch: list[FeedbackLine], client: FeedbackClient, voices: FileVoices, done: ImportResult) -> None:
    """Record the problems of a batch's rows. Without the token a feedback id means nothing."""
    numbers = [line.number for line in batch for _ in line.values]
    wrong = {line.number: line.problem for line in batch if line.problem}
    for line in batch if client.has_token else ():
        if many := [problem for value in line.values if (problem := voices.problem(value))]:
            wrong[line.number] = many[0]
    if numbers:
        refused = client.check(_encoded(batch))
        wrong |= {numbers[each["place"]]: each["error"] for each in reversed(refused)}
    done.bad += len(wrong)
    room = MOST_SHOWN - len(done.problems)
    done.problems += [{"line": number, "error": wrong[number]} for number in sorted(wrong)[:room]]


def _encoded(batch: list[FeedbackLine]) -> bytes:
    return msgspec.json.encode([value for line in batch for value in line.values])


app = typer.Typer(help="Import feedback from other systems.", no_args_is_help=True)

Traffic = Annotated[
    str | None,
    typer.Option("--traffic", envvar="CANARY_TRAFFIC", help="The traffic listener's HOST:PORT or URL."),
]


MappingName = Annotated[
    str | None, typer.Option("--mapping", help="The feedback mapping of the config that maps the rows.")
]


@shell.command(app, "feedback import november.csv")
def import_(
    at: shell.Local,
    file: Annotated[Path, typer.Argument(help="A CSV file; docs/feedback.md lists its columns.")],
    mapping: MappingName = None,
    traffic: Traffic = None,
) -> None:
    """Send every row of a CSV file to the server, or none if one is invalid. Repeating it changes nothing."""
    from canary.secrets import BadSecret, Secret
    from records.facts.feedback import COLUMNS, BadFeedbackFile

    read = feedback_lines if mapping is None else _mapped_reader(at.read(), mapping)
    try:
        token = Secret("CANARY_FEEDBACK_TOKEN", os.environ).value()
        client = FeedbackClient(ServerAddress.of("traffic", traffic, at.data), token)
        done = import_file(file, client, now=time.time(), read=read)
    except BadFeedbackFile as problem:
        shell.fail(f"{file}: {problem}")
    except OSError as problem:
        columns = "the mapping's columns" if mapping else f"the columns {', '.join(COLUMNS)}"
        shell.fail(f"{shell.unreadable(file, problem)}; name a CSV file with {columns}")
    except (BadSecret, ServerNotReached, FeedbackNotTaken) as problem:
        shell.fail(str(problem))
    for each in done.problems:
        shell.say(f"{file} line {each['line']}: {each['error']}")
    if at.output == "json":
        shell.print_json(asdict(done))
    if done.bad:
        shell.fail(f"{done.bad} of {done.rows} rows are invalid; nothing was sent")
    skipped = f"; {done.skipped} map to nothing" if done.skipped else ""
    shell.say(f"{done.accepted} of {done.rows} rows accepted{skipped}")


def _mapped_reader(config: Config, name: str) -> LineReader:
    """Reads the rows by a mapping of the config. Exits 2 if there is none of this name."""
    from records.facts.feedback_mapping import mapped_lines

    mapping = config.feedback_mappings.get(name)
    if mapping is None:
        known = ", ".join(config.feedback_mappings) or "none"
        shell.fail(f"`feedback_mappings` of the config has no {name!r}; it has: {known}", code=2)
    return partial(mapped_lines, mapping=mapping, metrics=config.metrics)
