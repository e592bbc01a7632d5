"""`canary preflight`: asks a canary's candidate before any user does."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from canary.commands import shell
from canary.config import Config
from records.facts.prices import said_once

if TYPE_CHECKING:
    from bench.preflight.requests import CapturedRequest
    from bench.preflight.result import PreflightResult
    from records.captures.capture import WireRequest

REFUSED = 3
SAMPLE = 20


def preflight(
    at: shell.Local,
    name: Annotated[str, typer.Argument(help="The canary.")],
    file: Annotated[
        Path | None,
        typer.Option("--from", help="Ask the requests of this file, one body a line, as callers send it."),
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="Ask so many of the newest captured requests.")] = SAMPLE,
) -> None:
    """Ask the candidate before any user does, and say which requests it refuses and what would cure that.

    Without --from, the requests are the newest captured ones, or one minimal request of each operation.
    Each request goes to it once, changed by the arm's `request:`; it costs tokens. Needs no server.
    Exits 3 if some are refused, or under 95 % of them have the text of an arm's prompt.
    """
    import uvloop

    from bench.preflight.result import NothingToAsk
    from pages.words.preflight import document, text

    read = at.read()
    shell.canary_of(read, name)
    shell.must_not_stand(read, name)
    requests = _requests(file, read, name) if file is not None else None
    captured = _captured(read, at.data, name, sample) if file is None else []
    with shell.ended_by(NothingToAsk):
        result = uvloop.run(_asked(read, name, requests, captured, sample))
    for each in said_once(each for each in read.unpriced() if each.canary == name):
        shell.say(f"warning: {each.sentence}")
    shell.answer(at.output, document(result), text(result))
    missed = result.prompt is not None and result.prompt.too_few
    worked = result.taken and not result.main_unanswered
    raise typer.Exit(REFUSED if result.refused or missed else 0 if worked else 1)


def _requests(file: Path, config: Config, name: str) -> "list[WireRequest]":
    """The requests of a file. Exits 2 for a line that is not a request."""
    from bench.errors import BenchError
    from bench.preflight.requests import parse_requests

    baseline = config.canaries[name].canary.baseline
    api = config.providers[baseline.provider].api
    with shell.ended_by(BenchError, about=file, code=2):
        return parse_requests(shell.read_file(file), api=api, model=baseline.model)


def _captured(config: Config, data: Path, name: str, limit: int) -> "list[CapturedRequest]":
    """The newest captured requests; none without a database. Exits 1 if it does not answer."""
    from bench.preflight.requests import MOST_FOR_PROMPT, newest_requests

    if not shell.has_store(config, data):
        return []
    canary = config.canaries[name].canary
    with shell.opened(config, data) as store:
        return newest_requests(store, canary, limit=max(limit, MOST_FOR_PROMPT))


async def _asked(
    config: Config,
    name: str,
    requests: "list[WireRequest] | None",
    captured: "list[CapturedRequest]",
    sample: int,
) -> "PreflightResult":
    from bench.preflight.client import ArmClient
    from bench.preflight.run import preflight as asked
    from bench.preflight.run import preflight_of_captured
    from canary.programs.routes import routes

    known = routes(config, {})
    async with ArmClient(known, known.trials[name], os.environ) as client:
        if requests is None:
            return await preflight_of_captured(client, captured, most=sample)
        return await asked(client, requests)
