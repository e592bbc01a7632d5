"""The known issues' history: stored after every recheck, shown beside each issue."""

import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from canary.commands.shell import say
from canary.config import Config
from canary.config.store import open_store
from records.errors import StoreDown
from records.issue_checks import IssueCheck, IssueChecks, newest_of_each_model


def keep(config: Config, data: Path, found: Mapping[str, Any]) -> None:
    """Store the document of a recheck. Where that fails, a line on stderr says so."""
    at = time.time()
    checks = [
        IssueCheck(at=at, model=found["model"], issue=each["issue"], state=each["state"])
        for each in found["issues"]
    ]
    try:
        data.mkdir(mode=0o700, exist_ok=True)
        with closing(open_store(config, data)) as store:
            IssueChecks(store).add(checks)
    except (StoreDown, OSError) as problem:
        say(f"the recheck was not stored: {problem}")


def history(config: Config, data: Path) -> Mapping[str, list[IssueCheck]] | None:
    """Each issue's models by its hash, the newest last. None if the store does not answer, which a line on
    stderr says."""
    if config.store.startswith("sqlite:") and not data.is_dir():
        return {}
    try:
        with closing(open_store(config, data)) as store:
            return newest_of_each_model(IssueChecks(store).all())
    except StoreDown as problem:
        say(f"the history of the issues could not be read: {problem}")
        return None
