"""Asks one model the known issues."""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from bench.asking import Asker
from bench.embeddings import embedder_for, scored
from bench.issues import Checked, Issue, checked
from bench.models import NamedModel
from bench.runner import Ask, run
from bench.saved_answers import NoSavedAnswers
from bench.settings import BenchSettings
from bench.targets import client_for, direct
from records.prices import Prices

FILE = "known-issues.jsonl"
"""The file name, in the config's folder."""

AT_ONCE = 4


def file_of(config_file: Path) -> Path:
    """The path of the known issues."""
    return config_file.parent / FILE


async def recheck(
    settings: BenchSettings,
    model: NamedModel,
    issues: Sequence[Issue],
    environment: Mapping[str, str],
    *,
    judge: NamedModel | None,
) -> list[Checked]:
    """Ask a model all issues, directly at its provider. Without a judge, issues that need one are skipped.
    Raises BenchError, NoKey."""
    prices = Prices(settings.prices, settings.price_as)
    async with AsyncExitStack() as clients:

        async def asker(named: NamedModel) -> Asker:
            client = await clients.enter_async_context(client_for(named.provider, at_once=AT_ONCE))
            return Asker(client, direct(named.provider, named.model, prices, environment, named.request))

        ask = Ask(asker=await asker(model), judge=await asker(judge) if judge is not None else None)
        examples = [issue.example for issue in issues if judge is not None or issue.example.task != "judge"]
        similar = await embedder_for(settings, examples, prices, environment, clients)
        results = await run([ask], examples, saved=NoSavedAnswers(), at_once=AT_ONCE)
        (found,) = results if similar is None else await scored(results, similar)
    return checked(issues, {result.example.hash: result for result in found})


def document(model: str, found: Sequence[Checked]) -> dict[str, Any]:
    """The result as JSON types; issues that are still there come first."""
    order = {"still_there": 0, "unknown": 1, "gone": 2}
    return {
        "model": model,
        "still_there": sum(check.state == "still_there" for check in found),
        "unknown": sum(check.state == "unknown" for check in found),
        "gone": sum(check.state == "gone" for check in found),
        "issues": [
            {
                "id": check.issue.example.id,
                "issue": check.issue.example.hash,
                "state": check.state,
                "what": check.issue.what,
                "since": check.issue.since,
                "answer": None if check.result is None else check.result.answer.text,
                "failure": None if check.result is None else check.result.answer.failure,
            }
            for check in sorted(found, key=lambda check: order[check.state])
        ],
    }


def lines(found: dict[str, Any]) -> list[str]:
    """The results as lines for a terminal."""
    words = {"still_there": "still there", "unknown": "unknown", "gone": "gone"}
    head = f"{found['model']}: {found['still_there']} of {len(found['issues'])} known issues still there"
    return [
        head,
        *(f"  {words[each['state']]:<11}  {each['id']}  {each['what']}" for each in found["issues"]),
    ]
