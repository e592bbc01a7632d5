"""`canary doctor`: looks at everything a server needs and says what is wrong and what to do. Changes nothing.

Works with the server down. Every check has a thread of its own and a few seconds; what takes longer is a
finding too.
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
from canary.config import Config, ConfigError, load

CHECK_WITHIN_S = 6.0


def examine(
    config: Path, environment: Mapping[str, str], *, data: str | None, admin: str | None
) -> list[Diagnosis]:
    """All findings, in the order of the checks. `data` and `admin` are what the command line says."""
    try:
        read = load(config, environment)
        settings = read.server.overridden(environment, {"data": data})
    except ConfigError as problem:
        found = [broken("config", str(problem), "mend the file; `canary check` reads it alone")]
        return found + run({"data folder": lambda: machine.folder(Path(data or "./canary-data"))})
    folder = Path(settings.data).resolve()
    orders = settings.admin.host if settings.role != "traffic" else "localhost"  # an agent takes none
    checks: dict[str, Check] = {
        "data folder": lambda: machine.folder(folder),
        "spool": lambda: machine.spool(folder, read.store),
        "secrets": lambda: machine.secrets(environment, folder, orders),
        "store": lambda: machine.store(read.store, folder),
        "clock": machine.clock,
        "descriptors": lambda: machine.descriptors(*resource.getrlimit(resource.RLIMIT_NOFILE)),
        "packages": lambda: machine.packages(sys.path),
        "server": lambda: network.server(folder, environment, admin),
    }
    if read.shared != "none":
        checks["shared"] = lambda: network.shared(read.shared)
    return [*_config(config, read), *run(checks | network.destinations(read))]


def run(checks: Mapping[str, Check], within_s: float = CHECK_WITHIN_S) -> list[Diagnosis]:
    """Every check's findings. All run at once; one that breaks or takes too long is a finding."""
    found: dict[str, Sequence[Diagnosis]] = {}

    def one(name: str, check: Check) -> None:
        try:
            found[name] = check()
        except Exception as problem:
            found[name] = [broken(name, f"this check itself failed: {problem!r}", "please report it")]

    threads = [threading.Thread(target=one, args=each, daemon=True) for each in checks.items()]
    deadline = time.monotonic() + within_s
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    late = [broken("", f"no answer within {within_s:g} s", "see why it hangs, then ask again")]
    return [
        each if each.check else replace(each, check=name) for name in checks for each in found.get(name, late)
    ]


def document(findings: Iterable[Diagnosis]) -> dict[str, Any]:
    """The findings as `-o json` prints them."""
    listed = [asdict(each) for each in findings]
    return {"ok": all(each["state"] != "broken" for each in listed), "findings": listed}


def lines(findings: Iterable[Diagnosis]) -> list[str]:
    """The findings as a person reads them."""
    marks = {"ok": "✓", "warning": "!", "broken": "✗"}
    return [
        f"{marks[each.state]} {each.check}: {each.says}" + (f"\n    → {each.do}" if each.do else "")
        for each in findings
    ]


def _config(path: Path, read: Config) -> list[Diagnosis]:
    names = ", ".join(read.canaries) or "none: traffic passes through, recorded"
    found = [fine("config", f"{path} is fine; canaries: {names}")]
    return found + [warning("config", text, "") for text in read.warnings]
