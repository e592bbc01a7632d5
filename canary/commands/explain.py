"""`canary explain`: shows a unit's arm in each canary, and what changes in the arms' requests."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from canary.commands.shell import (
    CONFIG,
    DATA,
    Admin,
    ConfigFile,
    DataFolder,
    Form,
    admin_client,
    ask,
    print_json,
    print_text,
)


def explain(
    unit: Annotated[str, typer.Argument(help="The raw id of a user or other unit.")],
    admin: Admin = None,
    config: ConfigFile = CONFIG,
    data: DataFolder = DATA,
    output: Form = "text",
) -> None:
    """Show which arm a unit gets in each canary, why, and what changes in its requests. Sends and records
    nothing."""
    document = ask(lambda: admin_client(admin, data).get("/api/explain", unit=unit))
    if output == "json":
        return print_json(document)
    for each in document["canaries"]:
        print_text(f"{each['canary']}: {_arm(each)}")
        for arm, changes in each["request"].items():
            if changes:
                print_text(f"  the {arm}'s requests are changed: {_in_words(changes)}")
    return None


def _arm(found: Mapping[str, Any]) -> str:
    lane = found["lane"]
    if found["reason"] == "no_lane" and (lane is None or not found["refused"]):
        return str(found["sentence"])
    if found["arm"] is None:
        return str(found["sentence"])
    if lane is None or found["refused"]:
        return f"{found['arm']} ({found['sentence']})"
    return f"{found['arm']} (in its lane, {lane['size']:.1%} of the units; {found['sentence']})"


def _in_words(changes: Mapping[str, Any]) -> str:
    """An arm's `request:` in the order in which its parts apply."""
    steps = [f"{name} is renamed to {new}" for name, new in changes.get("rename", {}).items()]
    steps += [f"{name} is removed" for name in changes.get("remove", ())]
    steps += [f"{name} is set to {_json(value)}" for name, value in changes.get("set", {}).items()]
    steps += [f"{name} is {_json(value)} by default" for name, value in changes.get("default", {}).items()]
    return "; ".join(steps)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
