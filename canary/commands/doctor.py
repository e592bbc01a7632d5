"""`canary doctor`: runs all checks and prints their findings. Changes nothing, and works without a server.

Every check has its own thread and a few seconds; a check that takes longer becomes a finding.
"""

import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from canary.commands import shell
from canary.config import ConfigError, load

if TYPE_CHECKING:
    from canary.commands.doctor_machine import Diagnosis

CHECK_WITHIN_S = 6.0
MARKS = {"ok": "✓", "warning": "!", "broken": "✗"}


def doctor(
    at: shell.Server,
    probe: Annotated[
        bool,
        typer.Option("--probe", help="Send each arm one small request of each operation; it costs tokens."),
    ] = False,
) -> None:
    """Check everything a server needs, and say how to fix problems. Works without a server.

    Exits 1 if anything is broken.
    """
    findings = examine(at.config, os.environ, data=at.data, admin=at.admin, probe=probe)
    result = document(findings)
    said = [
        f"{MARKS[each.state]} {each.check}: {each.says}" + (f"\n    → {each.do}" if each.do else "")
        for each in findings
    ]
    shell.answer(at.output, result, "\n".join(said))
    raise typer.Exit(0 if result["ok"] else 1)


def examine(
    config: Path, environment: Mapping[str, str], *, data: Path, admin: str | None, probe: bool = False
) -> "list[Diagnosis]":
    """All findings, in the order of the checks. `admin` comes from the command line. Only `probe` asks models
    something."""
    from canary.commands import doctor_machine as machine
    from canary.commands import doctor_network as network

    try:
        read = load(config, environment, data.absolute())
        settings = read.server.overridden(environment, {})
    except ConfigError as problem:
        do = "fix the file; `canary check` checks only the file"
        return [
            machine.broken(str(problem), do, check="config"),
            *run({"data folder": lambda: machine.folder(data)}),
        ]
    folder = data.resolve()
    orders = settings.admin.host if settings.role != "traffic" else "localhost"  # an agent takes none
    checks: dict[str, Callable[[], Sequence[Diagnosis]]] = {
        "config": lambda: machine.valid(config, read),
        "data folder": lambda: machine.folder(folder),
        "spool": lambda: machine.spool(folder, read.store),
        "secrets": lambda: machine.secrets(environment, folder, orders),
        "assignment": lambda: machine.signing(environment, read.assigned_outside),
        "store": lambda: machine.store(read.store, folder),
        "outcomes": lambda: machine.outcomes(read, folder),
        "clock": machine.clock,
        "descriptors": lambda: machine.descriptors(*resource.getrlimit(resource.RLIMIT_NOFILE)),
        "prices": lambda: machine.prices(read),
        "packages": lambda: machine.packages(sys.path),
        "server": lambda: network.server(folder, environment, admin, read),
    }
    if read.tls is not None:
        checks["tls"] = lambda: machine.tls(config, read)
    if read.shared != "none":
        checks["shared"] = lambda: network.shared(read.shared)
    found = run(checks | network.destinations(read))
    if probe and read.canaries:
        found += run({"probe": lambda: network.probed(read, environment)}, within_s=network.PROBE_WITHIN_S)
    return found


def run(
    checks: "Mapping[str, Callable[[], Sequence[Diagnosis]]]", within_s: float = CHECK_WITHIN_S
) -> "list[Diagnosis]":
    """Run all checks concurrently. A check that raises or takes too long becomes a finding."""
    from canary.commands.doctor_machine import broken

    found: dict[str, Sequence[Diagnosis]] = {}

    def one(name: str, check: "Callable[[], Sequence[Diagnosis]]") -> None:
        try:
            found[name] = check()
        except Exception as problem:
            found[name] = [broken(f"the check itself failed: {problem!r}", "please report it")]

    threads = [threading.Thread(target=one, args=each, daemon=True) for each in checks.items()]
    deadline = time.monotonic() + within_s
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = [broken(f"no answer within {within_s:g} s", "find out why it hangs, then run doctor again")]
    return [
        each if each.check else replace(each, check=name) for name in checks for each in found.get(name, late)
    ]


def document(findings: "Iterable[Diagnosis]") -> dict[str, Any]:
    """The findings for `-o json`."""
    listed = [asdict(each) for each in findings]
    return {"ok": all(each["state"] != "broken" for each in listed), "findings": listed}
