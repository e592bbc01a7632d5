"""A dataset's file: JSON lines, one example a line; and the file with the traffic's weights beside it.

A file with errors is refused, with all of them listed. Labelling changes one line, and replaces the file.

`canary dataset sample` takes rare categories whole, so a plain total of such a dataset counts them too much.
It writes `FILE.weights.json`, each category's share of the captured exchanges: {"at": RFC 3339, "categories":
{"refund": 0.04, …}}. "" is no category.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from bench.dataset.example import TASKS, Example, ExampleLine, example, fingerprint, problems
from bench.dataset.labels import LABEL, PROPOSED, Line
from bench.errors import BadDataset, BenchError, DatasetProblem
from common.clock import rfc3339
from common.whole_file import write_whole
from records.captures.capture import Capture, CaptureInfo

# The traffic's weights of a dataset's categories: each one's share of the captured exchanges.


ENDING = ".weights.json"


def weights_file(dataset: Path) -> Path:
    """The file of weights beside a dataset."""
    return dataset.with_name(dataset.name + ENDING)


def shares(captures: Iterable[Capture]) -> dict[str, float]:
    """Each category's share of the exchanges that the captures stand for, in [0, 1]; {} without captures.

    One kept by the rate stands for 1 / rate exchanges, one kept for its category for itself (Horvitz and
    Thompson 1952): so the quota that makes rare categories frequent among captures is taken out again.
    """
    counts: dict[str, float] = {}
    for capture in captures:
        about = capture.about
        counts[about.category] = counts.get(about.category, 0.0) + _stands_for(about)
    total = sum(counts.values())
    return {category: counts[category] / total for category in sorted(counts)}


def are_capped(captures: Iterable[Capture]) -> bool:
    """True if a quota without a rate may have left out exchanges: then no share of traffic is known."""
    days: dict[tuple[str, int, str], int] = {}
    for about in (capture.about for capture in captures):
        if about.kept == "category" and not about.rate and about.per_category:
            key = (about.source, int(about.at // 86400), about.category)
            days[key] = days.get(key, 0) + 1
            if days[key] >= about.per_category:
                return True
    return False


def document(categories: Mapping[str, float], at: float) -> bytes:
    """The file's content; `at` in UTC seconds."""
    found = {"at": rfc3339(at), "categories": categories}
    return json.dumps(found, ensure_ascii=False, indent=2).encode() + b"\n"


def _stands_for(about: CaptureInfo) -> float:
    return 1.0 / about.rate if about.kept == "rate" and about.rate else 1.0


class TrafficWeights(msgspec.Struct, frozen=True, kw_only=True):
    """When the shares were taken (RFC 3339), and each category's share, in [0, 1]."""

    at: str
    categories: dict[str, float]


def weights_of(file: Path) -> TrafficWeights | None:
    """The weights beside a dataset's file; None without any. Raises BenchError and OSError."""
    path = weights_file(file.resolve())
    try:
        found = msgspec.json.decode(path.read_bytes(), type=TrafficWeights)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as problem:
        raise BenchError(f"{path}: {problem}") from problem
    if any(not 0 <= share <= 1 for share in found.categories.values()):
        raise BenchError(f"{path}: a category's share of the traffic must be from 0 to 1")
    return found


FEW = 50
"""With fewer examples the interval is wide: a sanity check, not a benchmark."""

FEW_CRITICAL = 40
"""With fewer examples of a critical category, a loss in it may go undetected."""

_decode = msgspec.json.Decoder(ExampleLine).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """The examples in the file's order. `sha256` is the version; it changes with the questions and with what
    counts as right. `weights` are the traffic's, if they are known. `whole` is the number of scored examples
    in the file where these are only a part of them."""

    examples: tuple[Example, ...]
    sha256: str
    weights: TrafficWeights | None = None
    whole: int | None = None

    @property
    def scored(self) -> tuple[Example, ...]:
        """The examples with an expected answer."""
        return tuple(example for example in self.examples if example.expected is not None)

    @property
    def proposed(self) -> int:
        """The number of proposed labels that no person has reviewed."""
        return sum(example.tags.get(LABEL) == PROPOSED for example in self.scored)

    @property
    def critical(self) -> frozenset[str]:
        """The categories with an example marked critical."""
        return frozenset(example.category for example in self.examples if example.critical)


def parse(text: str) -> Dataset:
    """Parse a file; blank lines are ignored. Raises BadDataset with every bad line."""
    found: list[tuple[int, ExampleLine]] = []
    wrong: list[DatasetProblem] = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        if line.strip():
            try:
                found.append((number, _decode(line)))
            except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as problem:
                wrong.append(DatasetProblem(number, _in_words(problem)))
    wrong += [DatasetProblem(number, text) for number, line in found for text in problems(line)]
    wrong += _repeats(found)
    if not found and not wrong:
        wrong.append(DatasetProblem(1, "the file has no example"))
    if wrong:
        raise BadDataset(sorted(wrong, key=lambda problem: problem.line))
    return _dataset(_with_classes(tuple(example(line) for _, line in found)))


def _with_classes(examples: tuple[Example, ...]) -> tuple[Example, ...]:
    expected = (item.expected for item in examples if item.task == "classify" and not item.choices)
    classes = tuple(sorted({name for name in expected if name is not None}))
    return tuple(
        replace(item, classes=item.choices or classes) if item.task == "classify" else item
        for item in examples
    )


def _dataset(examples: tuple[Example, ...]) -> Dataset:
    lines = [[item.hash, item.category, item.critical, item.cluster] for item in examples]
    return Dataset(examples=examples, sha256=fingerprint(lines))


def _in_words(problem: Exception) -> str:
    text = str(problem)
    if text.endswith("`$.task`"):
        return f"{text}; a task is one of {', '.join(TASKS)}"
    return text if isinstance(problem, msgspec.ValidationError) else f"not a JSON object: {text}"


def _repeats(found: list[tuple[int, ExampleLine]]) -> Iterator[DatasetProblem]:
    """Lines that repeat an earlier one with the same id and question: they would count twice."""
    seen: dict[str, int] = {}
    for number, line in found:
        first = seen.setdefault(example(line).hash, number)
        if first != number:
            yield DatasetProblem(number, f"repeats line {first}")


class LineGone(BenchError):
    """The line was changed or has left the file since it was read."""


def read_lines(file: Path) -> list[dict[str, Any]]:
    """The lines of a valid dataset. Raises BadDataset, OSError."""
    return [json.loads(text) for text in _texts(file)]


def stamp(line: Line) -> str:
    """What names a line as it is: any change makes another stamp."""
    return fingerprint(line)


def change(file: Path, wanted: str, new: Callable[[Line], Line]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Replace the line with the stamp `wanted` by `new` of it; all other bytes stay. Returns the line before
    and after. Raises LineGone, BadDataset (also if the new line is not valid), OSError."""
    with _locked(file):
        texts = _texts(file)
        for place, text in enumerate(texts):
            before = json.loads(text)
            if stamp(before) == wanted:
                after = dict(new(before))
                texts[place] = json.dumps(after, ensure_ascii=False)
                parse("\n".join(texts))
                _replace(file, _joined(texts))
                return before, after
    raise LineGone("this example was changed or removed meanwhile")


def extend(file: Path, lines: Iterable[Line]) -> Dataset:
    """Append lines to a dataset, or begin it and its folder, and return it; what stands there stays. Raises
    BadDataset, OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with _locked(file):
        before = file.read_text(encoding="utf-8") if file.exists() else ""
        text = f"{before.rstrip()}\n{text_of(lines)}".lstrip()
        dataset = parse(text)
        _replace(file, text)
    return dataset


def text_of(lines: Iterable[Line]) -> str:
    """The lines as a file has them."""
    return "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)


def split(file: Path, leaves: Callable[[Line], bool], to: Path) -> int:
    """Move the lines that leave to the end of another file, and return how many. They are written there
    before they leave here, so a crash loses none. Raises BenchError, BadDataset, OSError."""
    with _locked(file):
        texts = _texts(file)
        gone = [text for text in texts if leaves(json.loads(text))]
        if not gone:
            return 0
        if len(gone) == len(texts):
            raise BenchError("every example would leave; sample new ones first")
        known = to.read_text(encoding="utf-8").splitlines() if to.exists() else []
        _replace(to, _joined([*known, *(text for text in gone if text not in known)]))
        _replace(file, _joined(text for text in texts if text not in gone))
    return len(gone)


def _texts(file: Path) -> list[str]:
    """The file's lines that are not blank, if all are valid."""
    text = file.read_text(encoding="utf-8").removeprefix("\ufeff")
    texts = [each for each in text.split("\n") if each.strip()]
    if texts:
        parse(text)
    return texts


def _joined(texts: Iterable[str]) -> str:
    return "".join(f"{text}\n" for text in texts)


def _replace(file: Path, text: str) -> None:
    """Replace the file, which keeps its mode and owner."""
    target = file.resolve()
    before = target.stat() if target.exists() else None
    write_whole(target, text.encode())
    if before is not None:
        target.chmod(before.st_mode & 0o777)
        with suppress(PermissionError):  # another's file in a folder of ours
            os.chown(target, before.st_uid, before.st_gid)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Only one process changes the datasets of a folder at a time. The folder is locked, because the file
    itself is replaced."""
    folder = os.open(file.resolve().parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
