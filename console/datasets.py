"""The page with the config's datasets: how many labels each has, and how many proposals are left."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bench.dataset.file import read_lines
from bench.dataset.labels import Tier, is_open, tier
from bench.errors import BadDataset
from bench.settings import DatasetSource
from console.login import Login
from console.rendering import Templates
from control.operator import Operator
from control.orders import BadOrder
from pages.words.labels import worth


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


class Datasets:
    """The page with all datasets."""

    def __init__(self, operator: Operator, login: Login, templates: Templates) -> None:
        self._operator = operator
        self._login = login
        self._templates = templates

    def routes(self) -> list[Route]:
        """The page."""
        return [Route("/datasets", self.datasets)]

    async def datasets(self, request: Request) -> Response:
        """GET: every dataset of the config."""
        sources = self._operator.settings().datasets
        found = await asyncio.to_thread(lambda: [_shown(source) for source in sources])
        return self._templates.answer("datasets.html", datasets=found, **self._login.shown(request))


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
