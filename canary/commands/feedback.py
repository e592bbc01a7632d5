"""`canary feedback …`: imports feedback from a file."""

import os
import time
from pathlib import Path
from typing import Annotated

import typer

from canary.commands.shell import CONFIG, DATA, ConfigFile, DataFolder, Form, example, fail, print_json, say

app = typer.Typer(help="Import feedback from other systems.", no_args_is_help=True)

Traffic = Annotated[
    str | None,
    typer.Option("--traffic", envvar="CANARY_TRAFFIC", help="The traffic listener's HOST:PORT or URL."),
]


@app.callback()
def feedback() -> None:
    """Import feedback from other systems."""


@app.command("import", epilog=example("feedback import november.csv"))
def import_(
    file: Annotated[Path, typer.Argument(help="A CSV file; docs/feedback.md lists its columns.")],
    traffic: Traffic = None,
    config: ConfigFile = CONFIG,
    data: DataFolder = DATA,
    output: Form = "text",
) -> None:
    """Send every row of a CSV file to the server, or none if one is invalid. Repeating it changes nothing."""
    from canary.commands.client import NotReached, ServerAddress
    from canary.commands.feedback_import import FeedbackClient, NotTaken, import_file
    from canary.commands.text_file import unreadable
    from canary.secrets import BadSecret, Secret
    from records.feedback_file import COLUMNS, BadFile

    try:
        token = Secret("CANARY_FEEDBACK_TOKEN", os.environ).value()
        address = ServerAddress.of("traffic", traffic, data)
        client = FeedbackClient(address.url, token, trust=address.trust)
        done = import_file(file, client, now=time.time())
    except BadFile as problem:
        fail(f"{file}: {problem}")
    except OSError as problem:
        fail(f"{unreadable(file, problem)}; name a CSV file with the columns {', '.join(COLUMNS)}")
    except (BadSecret, NotReached, NotTaken) as problem:
        fail(str(problem))
    for each in done.problems:
        say(f"{file} line {each['line']}: {each['error']}")
    if output == "json":
        print_json(done.document())
    if done.bad:
        fail(f"{done.bad} of {done.rows} rows are invalid; nothing was sent")
    say(f"{done.accepted} of {done.rows} rows accepted")
