"""`canary begin`, `end`, `revert`, `show`: a standing canary and its trials."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from canary.commands import shell
from canary.commands.orders import (
    DespiteRetirement,
    Name,
    NeededReason,
    Reason,
    give,
    warn_of_prices,
    warn_of_retirement,
)
from canary.config import ConfigError

Standing = Annotated[str, typer.Argument(help="The standing canary's name.")]


def begin(
    at: shell.Server,
    name: Standing,
    model: Annotated[str | None, typer.Option(help="The candidate's model.")] = None,
    arm: Annotated[
        Path | None,
        typer.Option(help="A YAML file with more of the candidate: `request:`, `prompt:` and so on."),
    ] = None,
    reason: Reason = "",
) -> None:
    """Begin a trial of a standing canary: the next model needs only its name. Writes no file."""
    wanted = _arm(arm) if arm is not None else {}
    if model is not None:
        wanted["model"] = model
    if not wanted.get("model"):
        shell.fail("name the model: canary begin NAME --model MODEL", code=2)
    _warn_of_line_ends(wanted)
    done = give(at, name, "begin", {"arm": wanted, "reason": reason}, of="standing")
    if at.output == "json":
        return shell.print_json(done)
    if done["same_arm"]:
        shell.say(f"warning: both arms are {wanted['model']}: this is an A/A test")
    from pages.words.status import ended_early

    for held in done["ended_early"]:
        shell.say(f"warning: {ended_early(held)}")
    warn_of_prices(done)
    waits = f", until `canary start {done['canary']}`" if done["start"] == "manual" else ""
    why = f" ({done['reason']})" if done["reason"] else ""
    from pages.words.arms import taken_over

    has = taken_over(done["takes_over"])
    return shell.say(f"{done['canary']}: {done['state'].replace('_', ' ')}{why}{has}{waits}")


def end(at: shell.Server, name: Name, reason: Reason = "") -> None:
    """End a trial of a standing canary that never ran. It appears in no history."""
    shell.answer(at.output, give(at, name, "end", {"reason": reason}), f"{name}: ended", by=shell.say)


def revert(
    at: shell.Server, name: Standing, reason: NeededReason, despite_retirement: DespiteRetirement = False
) -> None:
    """Give everybody the baseline before the one in force, at once. Begins nothing.

    Towards one that has retired, or will within 30 days, it needs --despite-retirement.
    """
    order = {"reason": reason, "despite_retirement": despite_retirement}
    done = give(at, name, "revert", order, of="standing")
    from pages.words.arms import in_file
    from pages.words.status import end_with_it

    text = f"{name}: everybody gets {in_file(done['baseline'])}; {done['reverted']} is taken back"
    text += f"; {also}" if (also := end_with_it(done["ended"])) else ""
    if at.output != "json":
        warn_of_retirement(done)
    shell.answer(at.output, done, text, by=shell.say)


def show(
    at: shell.Local,
    name: Standing,
    output: Annotated[Literal["yaml", "json"], typer.Option("-o", "--output", help="The format.")] = "yaml",
) -> None:
    """Print a standing canary's entry with the baseline in force, as it may stand in the file."""
    import yaml

    known = at.read().standing
    if name not in known:
        shell.fail(
            f"the config has no standing canary {name!r}; it has: {', '.join(known) or 'none'}", code=2
        )
    entry = {**known[name].entry, "standing": True, "baseline": dict(known[name].baseline)}
    shell.answer(output, entry, yaml.safe_dump([entry], sort_keys=False, allow_unicode=True))


def _warn_of_line_ends(arm: Mapping[str, Any]) -> None:
    from canary.config.part_checks import WINDOWS

    match arm.get("prompt"):
        case {"find": {"file": file, "text": str(text)}} if "\r\n" in text:
            shell.say(f"warning: {file} {WINDOWS}")


def _arm(file: Path) -> dict[str, Any]:
    """The arm in the file, with the texts of the files beside it. Exits 1 if it cannot be read, 2 if it is no
    mapping of YAML, or a text cannot be read."""
    from canary.config.arm_files import ArmFiles
    from canary.config.yaml_document import read

    with shell.ended_by(ConfigError, code=2):
        document = ArmFiles(folder=file.parent).in_arm(read(shell.read_file(file), str(file), os.environ))
        if document.problems:
            raise ConfigError(document.problems)
    plain = document.root.plain(frozenset(), {})
    return dict(plain) if isinstance(plain, Mapping) else {}
