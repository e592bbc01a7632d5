"""The pages of the config's datasets: their labels, and one on which people label examples by keys."""

import asyncio
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from bench.dataset.example import messages_of
from bench.dataset.file import LineGone, change, read_lines, stamp
from bench.dataset.labels import (
    PROPOSED,
    Line,
    Tier,
    accepted,
    ambiguous,
    edited,
    history,
    is_open,
    tier,
    waiting,
)
from bench.errors import BadDataset
from bench.settings import DatasetSource
from console.access.login import Login
from control.operator.operator import Operator
from control.operator.orders import BadOrder
from pages.words.judge import labels_worth as worth


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownDataset:
    """One dataset as the page shows it. `labels` counts the examples with an expected answer that is not an
    unreviewed proposal; `left` counts those proposals. `agreement` has sentences. With a `problem` the file
    cannot be read, and nothing is known of it."""

    source: DatasetSource
    examples: int = 0
    labels: int = 0
    left: int = 0
    tier: Tier = "spot"
    agreement: Sequence[str] = ()
    problem: str = ""


def read(source: DatasetSource) -> list[dict[str, Any]]:
    """A dataset's lines. Raises BadOrder if its file cannot be read, or is not valid."""
    try:
        return read_lines(Path(source.file))
    except BadDataset as problem:
        raise BadOrder(503, f"{source.file} is not a valid dataset: {problem}") from None
    except UnicodeDecodeError:
        raise BadOrder(503, f"{source.file} is not UTF-8.") from None
    except OSError as problem:
        raise BadOrder(503, f"The server cannot read {source.file}: {problem.strerror}.") from None


def unwritable(source: DatasetSource) -> str:
    """Why the server cannot save labels in the file; "" if it can."""
    if os.access(Path(source.file).resolve().parent, os.W_OK):
        return ""
    return (
        f"The server may not write beside {source.file}, so labels cannot be saved here. Give it write "
        f"access to the folder, or label in the terminal: canary dataset label {Path(source.file).name}"
    )


def _shown(source: DatasetSource) -> ShownDataset:
    try:
        lines = read(source)
    except BadOrder as problem:
        return ShownDataset(source=source, problem=problem.message)
    left = sum(map(is_open, lines))
    labels = sum(line["expected"] is not None for line in lines if not is_open(line))
    return ShownDataset(
        source=source,
        examples=len(lines),
        labels=labels,
        left=left,
        tier=tier(labels),
        agreement=worth(lines),
    )


EDGE = "edge"
"""The tag of an example that a person marked as an edge case; its value is "yes"."""

LONGEST_FORM = 4 << 20
MOST_UNDONE = 50
_WHO_BOUND, _LABEL_BOUND = 200, 64

Form = Mapping[str, str]


class DatasetPages:
    """The page with all datasets, and the one on which their examples are labelled. The last labels of each
    person can be undone until the server restarts."""

    def __init__(self, operator: Operator, login: Login) -> None:
        self._operator = operator
        self._login = login
        self._done: dict[tuple[str, str], list[tuple[Line, str]]] = {}

    def routes(self) -> list[Route]:
        """Every route."""
        path = "/datasets/{name}/label"
        return [
            Route("/datasets", self.datasets),
            Route(path, self.ask),
            Route(path, self.label, methods=["POST"]),
        ]

    async def datasets(self, request: Request) -> Response:
        """GET: every dataset of the config."""
        sources = self._operator.settings().datasets
        found = await asyncio.to_thread(lambda: [_shown(source) for source in sources])
        return self._login.answer(request, "datasets.html", datasets=found)

    async def ask(self, request: Request) -> Response:
        """GET ?who=…: the first example that this person may label. `after` and `show` are the stamps of an
        example that was skipped, and of one to show again."""
        query = request.query_params
        who = self._login.who(request, query.get("who", ""))[:_WHO_BOUND]
        source = self._source(request)
        lines = await asyncio.to_thread(read, source)
        queue = waiting(lines, who)
        line = chosen(lines, queue, after=query.get("after", ""), show=query.get("show", ""))
        return self._login.answer(
            request,
            "dataset_label.html",
            name=source.name,
            who=who,
            line=line,
            messages=messages_of(line) if line is not None else (),
            stamp=stamp(line) if line is not None else "",
            expected=as_text(last_answer(line)) if line is not None else "",
            proposer=proposer(line) if line is not None else "",
            is_second=line is not None and not is_open(line),
            is_edge=line is not None and EDGE in line.get("tags", {}),
            left=sum(map(is_open, lines)),
            seconds=sum(not is_open(each) for each in queue),
            can_undo=bool(self._done.get((source.name, who))),
            agreement=worth(lines),
            unwritable=unwritable(source),
        )

    async def label(self, request: Request) -> Response:
        """POST: save a label, or undo this person's last one, and go on."""
        show = ""
        form = await self._login.form(request, bound=LONGEST_FORM)
        source = self._source(request)
        who = self._login.who(request, form.get("who", ""))[:_WHO_BOUND]
        if not who:
            raise BadOrder(400, "Not saved: enter your name. It is stored with the label.")
        if "whole" not in form:
            raise BadOrder(413, "Not saved: the text is too long for this page.")
        if form.get("choice") == "undo":
            show = await self._undo(source, who)
        else:
            await self._save(source, who, form)
        again = urlencode({"who": who, **({"show": show} if show else {})})
        return RedirectResponse(f"/datasets/{quote(source.name)}/label?{again}", status_code=303)

    async def _save(self, source: DatasetSource, who: str, form: Form) -> None:
        now = time.time()
        before, after = await _changed(
            source, form.get("example", ""), lambda line: answered(line, form, who=who, at=now)
        )
        done = self._done.setdefault((source.name, who), [])
        done.append((before, stamp(after)))
        del done[:-MOST_UNDONE]

    async def _undo(self, source: DatasetSource, who: str) -> str:
        """Put back this person's last label; returns the stamp of the example as it is again."""
        done = self._done.get((source.name, who))
        if not done:
            raise BadOrder(409, "There is no label of yours to undo.")
        before, wanted = done.pop()
        await _changed(source, wanted, lambda _: before)
        return stamp(before)

    def _source(self, request: Request) -> DatasetSource:
        name, sources = request.path_params["name"], self._operator.settings().datasets
        found = next((each for each in sources if each.name == name), None)
        if found is None:
            raise BadOrder(404, f"There is no dataset {name!r} in the config.")
        return found


def chosen(lines: Sequence[Line], queue: Sequence[Line], *, after: str, show: str) -> Line | None:
    """The example to show: the one with the stamp `show`, else the first of the queue behind `after`."""
    stamps = [stamp(line) for line in queue]
    if after in stamps:
        queue = queue[stamps.index(after) + 1 :]
    again = next((line for line in lines if show and stamp(line) == show), None)
    return again or next(iter(queue), None)


def last_answer(line: Line) -> Any:
    """The expected answer, or the last that there was before somebody called the example ambiguous."""
    known = [line["expected"], *(each["expected"] for each in reversed(history(line)))]
    return next((each for each in known if each is not None), "")


def proposer(line: Line) -> str:
    """The model that made the newest proposal; "" if none is known."""
    return next((each["by"] for each in reversed(history(line)) if each["label"] == PROPOSED), "")


def as_text(expected: Any) -> str:
    """An expected answer as it is typed: text as it is, anything else as JSON."""
    return expected if isinstance(expected, str) else json.dumps(expected, ensure_ascii=False)


def answered(line: Line, form: Form, *, who: str, at: float) -> dict[str, Any]:
    """The line with a person's answer. Raises BadOrder (400)."""
    match form.get("choice"):
        case "ambiguous":
            new = ambiguous(line, by=who, at=at)
        case "save":
            expected = _typed(line, form.get("expected", ""))
            same = expected == line["expected"]
            new = accepted(line, by=who, at=at) if same else edited(line, expected, by=who, at=at)
        case other:
            raise BadOrder(400, f"{other!r} is not an answer.")
    return _described(new, form)


def _typed(line: Line, text: str) -> Any:
    """What was typed, in the form of the line's answer. A browser sends each line end as CR LF."""
    typed, known = text.replace("\r\n", "\n"), last_answer(line)
    if typed == as_text(known).replace("\r\n", "\n"):
        return known
    if isinstance(known, str):
        return typed
    try:
        return json.loads(typed)
    except ValueError:
        raise BadOrder(400, "Not saved: this answer must be JSON, as the proposal is.") from None


def _described(line: dict[str, Any], form: Form) -> dict[str, Any]:
    """The line with the form's category and marks; what is empty or not marked is left out."""
    tags = {name: value for name, value in line["tags"].items() if name != EDGE}
    tags |= {EDGE: "yes"} if form.get("edge") else {}
    category = form.get("category", "").strip()[:_LABEL_BOUND]
    marks = {"category": category, "critical": bool(form.get("critical"))}
    rest = {name: value for name, value in line.items() if name not in marks}
    return {**rest, "tags": tags, **{name: value for name, value in marks.items() if value}}


async def _changed(
    source: DatasetSource, wanted: str, new: Callable[[Line], Line]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The line before and after the change in the file. Raises BadOrder."""
    try:
        return await asyncio.to_thread(change, Path(source.file), wanted, new)
    except LineGone as problem:
        raise BadOrder(409, f"Not saved: {problem}.") from None
    except BadDataset as problem:
        words_of = "; ".join(each.message for each in problem.problems)
        raise BadOrder(400, f"Not saved: {words_of}.") from None
    except OSError as problem:
        why = unwritable(source) or f"{source.file} cannot be written: {problem.strerror}."
        raise BadOrder(503, f"Not saved. {why}") from None
