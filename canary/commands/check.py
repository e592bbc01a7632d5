"""`canary check`: checks a config and summarizes its canaries."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from canary.commands.shell import CONFIG, ConfigFile, Form, fail, print_json, print_text, say
from canary.config import Config, ConfigError, load

if TYPE_CHECKING:
    from report.expected_power import Expected


def check(
    config: ConfigFile = CONFIG,
    users: Annotated[
        int, typer.Option("--users", min=1, help="Expected number of users, to estimate the chance to ship.")
    ] = 20_000,
    requests: Annotated[
        float | None,
        typer.Option("--requests", min=1, max=1e6, help="Requests per user. Default: 1, 3 and 8."),
    ] = None,
    output: Form = "text",
) -> None:
    """Check the configuration, and estimate how likely a good candidate is to ship."""
    from report import expected_power

    try:
        read = load(config, os.environ)
    except ConfigError as problem:
        fail(str(problem), code=2)
    warnings = [*read.warnings, *(each.sentence for each in read.unpriced())]
    for warning in warnings:
        say(warning)
    given = expected_power.REQUESTS if requests is None else (requests,)
    power = {
        name: expected_power.expected(each.judged, each.canary.steps[-1].share, users=users, requests=given)
        for name, each in read.canaries.items()
    }
    document = _document(read, power, warnings)
    if output == "json":
        return print_json(document)
    for each in document["canaries"]:
        shares = " → ".join(f"{share * 100:.3g}%" for share in each["shares"])
        print_text(f"{each['name']}: {each['baseline']} → {each['candidate']}, share {shares}")
    for found in power.values():
        if found is not None:
            print_text(expected_power.sentence(found))
    print_text(f"{config}: fine")
    return None


def _document(
    read: Config, power: "Mapping[str, Expected | None]", warnings: Sequence[str]
) -> dict[str, Any]:
    from report import expected_power

    return {
        "canaries": [
            {
                "name": each.canary.name,
                "baseline": f"{each.canary.baseline.provider}/{each.canary.baseline.model}",
                "candidate": f"{each.canary.candidate.provider}/{each.canary.candidate.model}",
                "shares": [step.share for step in each.canary.steps],
                "rubric": [criterion.metric for criterion in each.judged.criteria],
                "power": expected_power.document(found) if (found := power[each.canary.name]) else None,
            }
            for each in read.canaries.values()
        ],
        "warnings": list(warnings),
    }
