"""`canary callers …`: makes a caller's key, and lists who calls."""

import secrets
from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated, Any

import typer

from canary.commands import shell
from canary.config.quantity import CANARY_NAME

KEY_BYTES = 32

app = typer.Typer(help="Make a caller's key, and list who calls.", no_args_is_help=True)


@shell.command(app, "callers new web")
def new(name: Annotated[str, typer.Argument(help="The caller's name.")], output: shell.Form = "text") -> None:
    """Print a new key, once, and the caller's line for the config. Stores nothing."""
    from canary.config.field_types import KEY_PREFIX  # pydantic, which most commands do without

    if not CANARY_NAME.fullmatch(name):
        shell.fail(f"{name!r} is not a caller's name: letters, digits, . _ and -, at most 63", code=2)
    key = f"{KEY_PREFIX}{secrets.token_urlsafe(KEY_BYTES)}"
    digest = sha256(key.encode()).hexdigest()
    line = f'- {{name: {name}, key_sha256: "{digest}"}}'
    if output == "json":
        return shell.print_json({"name": name, "key": key, "key_sha256": digest, "line": line})
    shell.say("The key, for the caller; it is shown only now:")
    shell.print_text(key)
    shell.say(
        "The line for canary.yaml, under `callers:`; for a caller that has a key already, put both digests"
    )
    shell.say("into its key_sha256, and take the old one out when nobody uses it any more:")
    shell.print_text(line)
    return None


@shell.command(app, "callers list")
def list_(at: shell.Server) -> None:
    """List the callers of the server's config: requests, refusals, and when each was last seen."""
    document = shell.ask(lambda: at.client().get("/api/callers"))
    text = "\n".join(map(_line, document["callers"]))
    nobody = "the config names no callers: whoever reaches the traffic listener may use it"
    shell.answer(at.output, document, text or nobody)


def _line(caller: Mapping[str, Any]) -> str:
    figures = f"{caller['requests']} requests since {caller['since']}, {caller['refused']} of them refused"
    return f"{caller['name']}: {figures}, last seen {caller['last_seen'] or 'never'}"
