"""`canary doctor`: runs all checks and collects their findings. Changes nothing, and works without a server.

Every check has its own thread and a few seconds; a check that takes longer becomes a finding.
"""

import resource
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from canary.commands import doctor_machine as machine
from canary.commands import doctor_network as network
from canary.commands.doctor_findings import Check, Diagnosis, broken, fine, warning
from canary.commands.doctor_outcomes import outcomes
from canary.commands.doctor_probe import WITHIN_S, probes
from canary.config import Config, ConfigError, load
from canary.config.certificate import certificate_of
from records.facts.prices import said_once

CHECK_WITHIN_S = 6.0


def examine(
    config: Path, environment: Mapping[str, str], *, data: Path, admin: str | None, probe: bool = False
) -> list[Diagnosis]:
    """All findings, in the order of the checks. `admin` comes from the command line. Only `probe` asks models
    something."""
    try:
        read = load(config, environment)
        settings = read.server.overridden(environment, {})
    except ConfigError as problem:
        found = [broken("config", str(problem), "fix the file; `canary check` checks only the file")]
        return found + run({"data folder": lambda: machine.folder(data)})
    folder = data.resolve()
    orders = settings.admin.host if settings.role != "traffic" else "localhost"  # an agent takes none
    checks: dict[str, Check] = {
        "data folder": lambda: machine.folder(folder),
        "spool": lambda: machine.spool(folder, read.store),
        "secrets": lambda: machine.secrets(environment, folder, orders),
        "assignment": lambda: machine.signing(environment, read.assigned_outside),
        "store": lambda: machine.store(read.store, folder),
        "outcomes": lambda: outcomes(read, folder),
        "clock": machine.clock,
        "descriptors": lambda: machine.descriptors(*resource.getrlimit(resource.RLIMIT_NOFILE)),
        "prices": lambda: _prices(read),
        "packages": lambda: machine.packages(sys.path),
        "server": lambda: network.server(folder, environment, admin, read),
    }
    if read.tls is not None:
        checks["tls"] = lambda: _tls(config, read)
    if read.shared != "none":
        checks["shared"] = lambda: network.shared(read.shared)
    found = [*_config(config, read), *run(checks | network.destinations(read))]
    return found + run(probes(read, environment), within_s=WITHIN_S) if probe else found


def run(checks: Mapping[str, Check], within_s: float = CHECK_WITHIN_S) -> list[Diagnosis]:
    """Run all checks concurrently. A check that raises or takes too long becomes a finding."""
    found: dict[str, Sequence[Diagnosis]] = {}

    def one(name: str, check: Check) -> None:
        try:
            found[name] = check()
        except Exception as problem:
            found[name] = [broken(name, f"the check itself failed: {problem!r}", "please report it")]

    threads = [threading.Thread(target=one, args=each, daemon=True) for each in checks.items()]
    deadline = time.monotonic() + within_s
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = [broken("", f"no answer within {within_s:g} s", "find out why it hangs, then run doctor again")]
    return [
        each if each.check else replace(each, check=name) for name in checks for each in found.get(name, late)
    ]


def document(findings: Iterable[Diagnosis]) -> dict[str, Any]:
    """The findings for `-o json`."""
    listed = [asdict(each) for each in findings]
    return {"ok": all(each["state"] != "broken" for each in listed), "findings": listed}


def lines(findings: Iterable[Diagnosis]) -> list[str]:
    """The findings as text."""
    marks = {"ok": "✓", "warning": "!", "broken": "✗"}
    return [
        f"{marks[each.state]} {each.check}: {each.says}" + (f"\n    → {each.do}" if each.do else "")
        for each in findings
    ]


def _prices(read: Config) -> list[Diagnosis]:
    missing = [warning("prices", each.says, each.do) for each in said_once(read.unpriced())]
    return missing or [fine("prices", "every arm has a known price")]


def _tls(path: Path, read: Config) -> list[Diagnosis]:
    try:
        certificate = certificate_of(read, path, time.time())
    except ConfigError as problem:
        return [broken("tls", str(problem), "fix the files; a running server keeps the certificate it has")]
    if certificate is None:
        return []
    do = "a running server takes new files as soon as they are there"
    found = [warning("tls", each, do) for each in certificate.warnings(time.time())]
    return found or [fine("tls", f"the certificate is valid until {certificate.last_day}")]


def _config(path: Path, read: Config) -> list[Diagnosis]:
    names = ", ".join(read.canaries) or "none; requests pass through and are recorded"
    found = [fine("config", f"{path} is valid; canaries: {names}")]
    return found + [warning("config", text, "") for text in read.warnings]
