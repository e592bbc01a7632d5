"""`canary schema`: the JSON Schema of canary.yaml."""

from typing import Annotated, Literal

import typer

from canary.commands.shell import print_json


def schema(
    output: Annotated[Literal["json"], typer.Option("-o", "--output", help="Always json.")] = "json",
) -> None:
    """Print the JSON Schema of canary.yaml, for editors."""
    from canary.config.schema import json_schema

    print_json(json_schema())
