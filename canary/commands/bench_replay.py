"""`canary bench MODEL --replay`: the steps that captured sessions give, and what came of them."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from canary.commands.report import ReportOutput
from canary.commands.shell import VERDICT_EXITS, ended_by, opened, print_json, print_text, say
from common.numbers import count

if TYPE_CHECKING:
    from bench.benchmark.comparison import Comparison
    from bench.benchmark.replay import ReplaySteps
    from bench.models.pair import ModelPair
    from canary.config import Config

_CHARACTERS_OF_A_TOKEN = 4


def steps_to_ask(
    config: "Config", pair: "ModelPair", data: Path, *, sessions: int | None, steps: int | None
) -> "ReplaySteps":
    """The steps of the current model's captured sessions. Exits 1 where there is none."""
    from bench.benchmark.replay import SESSIONS, STEPS, NothingToReplay, recorded

    with ended_by(NothingToReplay), opened(config, data) as store:
        found = recorded(store, pair.baseline, sessions=sessions or SESSIONS, steps=steps or STEPS)
    asked = sum(len(message.said) for each in found.steps for message in each.example.messages)
    tokens = count(asked / _CHARACTERS_OF_A_TOKEN, "token")
    whole = f"{count(len(found.steps), 'step')} of {count(found.sessions, 'session')}"
    say(f"{whole}: about {tokens} of messages to each model")
    return found


def tell(
    taken: "ReplaySteps",
    found: "Comparison",
    benchmark: dict[str, Any],
    output: str,
    report: ReportOutput | None,
) -> int:
    """Print what came of a replay, and write it to the report's file; returns the exit code."""
    from bench.benchmark.replay import replayed
    from pages.reports.replay import rendered, to_document

    ((measured,),) = (layer.datasets for layer in found.layers)
    result = replayed(taken.only(measured.dataset), measured.pairs)
    document = to_document(result, benchmark)
    print_json(document) if output == "json" else print_text(rendered(document, "text").rstrip("\n"))
    if report is not None:
        as_json = report.form == "json"
        report.write(json.dumps(document, indent=2) if as_json else rendered(document, report.form))
        say(f"wrote {report.file}")
    return 0 if result.verdict is None else VERDICT_EXITS[result.verdict]
