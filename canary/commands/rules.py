"""`canary rules`: writes a Prometheus rules file for the guardrails of a config. Needs no server."""

from pathlib import Path
from typing import Annotated

import typer
import yaml

from canary.commands.shell import CONFIG, ConfigFile, fail, print_json, read_config, say, writing
from canary.config import Config


def rules(
    canary: Annotated[
        str | None, typer.Option("--canary", help="Write only this canary's guardrails.")
    ] = None,
    config: ConfigFile = CONFIG,
    runbooks: Annotated[
        str, typer.Option("--runbooks", help="Folder or URL of the runbook pages (NAME.md).")
    ] = "docs/runbooks",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A file, or json to print JSON instead of YAML.")
    ] = None,
) -> None:
    """Write a Prometheus rules file: an alert per guardrail, and alerts about the server.

    Works with the server down."""
    text = written(read_config(config), canary, runbooks=runbooks)
    if output is None:
        typer.echo(text, nl=False)
        return
    if str(output) == "json":
        print_json(yaml.safe_load(text))
        return
    with writing(output):
        output.write_text(text)
    say(f"{output}: written; check it with `promtool check rules {output}`")


def written(config: Config, canary: str | None, *, runbooks: str) -> str:
    """The rules of one canary or of all. Exits with 2 if the config has no such canary."""
    from alerts.prometheus import rules_text

    if canary is not None and canary not in config.canaries:
        have = ", ".join(config.canaries) or "none"
        fail(f'the config has no canary "{canary}"; it has: {have}', code=2)
    wanted = config.canaries if canary is None else {canary: config.canaries[canary]}
    return rules_text({name: each.guardrails for name, each in wanted.items()}, runbooks=runbooks)
