"""What `canary doctor` sees of this machine: the data folder, its spool, the store, secrets, the clock."""

import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import distributions
from pathlib import Path

from sqlalchemy import Connection, select

from canary.commands.doctor_findings import Diagnosis, broken, fine, size, warning
from canary.config.quantity import is_loopback
from canary.interpreter import ROOT, shadows
from canary.secrets import BadSecret, Secret
from records import migrations, tables
from records.backlog import Backlog
from records.errors import RecordError
from records.spool import CAP_BYTES, used_bytes
from records.store.database import engine_of, transaction
from records.store.migrate import version_of

LEAST_SPACE = 64 << 20
LITTLE_SPACE = 1 << 30
STORE_WITHIN_S = 4.0
MOST_SKEW_S = 2.0
LEAST_SECRET = 16

_STANDING = """
SELECT pg_is_in_recovery(), current_setting('transaction_read_only'), extract(epoch FROM clock_timestamp())
"""

WORKERS_MOST = 4096
"""Requests that a worker has in flight at most."""

_OPTIONAL = {
    "CANARY_FEEDBACK_TOKEN": "feedback about sessions and units is refused",
    "CANARY_PIN_TOKEN": "requests cannot be pinned to an arm",
}


def packages(path: Sequence[str]) -> list[Diagnosis]:
    """Whether modules with the names of our rooms come before ours on Python's path."""
    if path[0] == ROOT and ROOT in path[1:]:
        path = path[1:]  # it was put there because of them
    found = []
    for room, where in shadows(path).items():
        says = f"another `{room}`{_whose(room, where)} in {where} comes first on Python's path"
        do = "install canary into a virtual environment of its own; it takes its own meanwhile"
        found.append(warning("packages", says, do))
    return found or [fine("packages", f"canary's own come first, in {ROOT}")]


def _whose(room: str, where: str) -> str:
    names = {f"{room}.py", f"{room}/__init__.py"}
    owners = [
        each.name for each in distributions(path=[where]) if names & {str(file) for file in each.files or ()}
    ]
    return f" (of {', '.join(owners)})" if owners else ""


def descriptors(soft: int, hard: int) -> list[Diagnosis]:
    """How many files and connections a process of the server may have open. As this command sees it."""
    raised = (
        f"raises the limit of open files from {soft} to"
        if soft < hard
        else "keeps the limit of open files at"
    )
    says = f"`canary serve` {raised} {hard}: some {hard // 2} requests at once in each worker"
    if hard >= 2 * WORKERS_MOST:
        return [fine("descriptors", says)]
    do = (
        "raise the hard limit (`LimitNOFILE=`, `ulimit -Hn`, `--ulimit nofile=`): beyond it callers get a 503"
    )
    return [warning("descriptors", says, do)]


def folder(data: Path) -> list[Diagnosis]:
    """Whose it is, who may read it, what room is left."""
    if not data.exists():
        nearest = next(each for each in data.parents if each.exists())
        if not os.access(nearest, os.W_OK):
            return [broken("data folder", f"{data} cannot be made in {nearest}", "name another with --data")]
        return [fine("data folder", f"{data} is not there yet: `canary serve` makes it")]
    about = data.stat()
    found = []
    if about.st_uid != os.geteuid():
        found.append(
            broken("data folder", f"{data} belongs to user {about.st_uid}, not to you", "run as its owner")
        )
    if stat.S_IMODE(about.st_mode) & 0o077:
        says = f"others may look into {data}, where secrets and prompts' records are"
        found.append(warning("data folder", says, f"chmod 700 {data}"))
    disk = os.statvfs(data)
    free = disk.f_bavail * disk.f_frsize
    if free < LEAST_SPACE:
        found.append(broken("data folder", f"only {size(free)} free on its disk", "free some space"))
    elif free < LITTLE_SPACE:
        found.append(warning("data folder", f"{size(free)} free on its disk", "free some space soon"))
    return found or [fine("data folder", f"{data}: yours alone, {size(free)} free")]


def spool(data: Path, url: str) -> list[Diagnosis]:
    """How much waits there, how long, and what was set aside."""
    where = data / "spool"
    if not where.is_dir():
        return [fine("spool", "empty: no server has run here")]
    used = used_bytes(where)
    aside = list((where / "quarantine").glob("*"))
    found = []
    if used > CAP_BYTES // 2:
        says = f"{size(used)} of {size(CAP_BYTES)} are used; at its bound new records are dropped"
        found.append(warning("spool", says, "see why the store does not take them"))
    if aside:
        says = f"{len(aside)} damaged or refused pieces are set aside in {where / 'quarantine'}"
        found.append(warning("spool", says, "look at them, then delete them"))
    return [*found, _waiting(where, url, used)]


def _waiting(where: Path, url: str, used: int) -> Diagnosis:
    try:
        waiting = Backlog(where, _cursors(where, url)).count()
    except (RecordError, OSError):
        return warning("spool", f"{size(used)}; how much of it waits, only the store knows", "see `store`")
    if not waiting:
        return fine("spool", f"{size(used)}, nothing in it waits for the store")
    files = [each.stat().st_mtime for each in where.glob("*.spool")]
    age_s = max(0.0, time.time() - min(files, default=time.time()))
    says = f"{waiting} records wait for the store, the oldest file was last written {age_s:.0f} s ago"
    if age_s < 60.0:
        return fine("spool", says)
    return warning("spool", says, "a running server stores them; if one runs, see `store`")


def _cursors(where: Path, url: str) -> dict[str, int]:
    """How far the store has each file; nothing where it is not there yet, or older than this version."""
    name = where.with_suffix(".name")
    if not name.exists() or not _is_there(url, where.parent):
        return {}
    with _looking_into(url, where.parent) as connection:
        if version_of(connection) != migrations.HEAD:
            return {}
        wanted = select(tables.cursors).where(tables.cursors.c.spool == name.read_text().strip())
        return {row.file: row.offset for row in connection.execute(wanted)}


@contextmanager
def _looking_into(url: str, data: Path, *, writes: bool = False) -> Iterator[Connection]:
    """A connection of our own, whose transaction leaves nothing behind. Raises StoreDown."""
    engine = engine_of(url, data)
    try:
        with transaction(engine, within_s=STORE_WITHIN_S, writes=writes) as connection:
            yield connection
            connection.rollback()
    finally:
        engine.dispose()


def store(url: str, data: Path) -> list[Diagnosis]:
    """Whether it answers, knows this version's tables, can be written to, how large it is, its clock."""
    if not _is_there(url, data):
        return [fine("store", "a new SQLite file: `canary serve` makes it")]
    try:
        with _looking_into(url, data, writes=True) as connection:
            return [*_schema(connection), *_writable(connection), _size(connection)]
    except RecordError as problem:
        return [broken("store", str(problem), "start it, or mend `store` in the config")]


def _is_there(url: str, data: Path) -> bool:
    if not url.startswith("sqlite:"):
        return True
    name = engine_of(url, data).url.database
    return name is not None and Path(name).exists()


def _schema(connection: Connection) -> list[Diagnosis]:
    found = version_of(connection)
    if found == migrations.HEAD:
        return [fine("store", f"answers, and has the schema of this version ({found})")]
    says = f"has schema {found or 'none'}, this version's is {migrations.HEAD}"
    return [warning("store", says, "`canary serve` brings it up to date when it starts")]


def _writable(connection: Connection) -> list[Diagnosis]:
    if connection.dialect.name != "postgresql":
        return []  # the transaction began as a writer's
    standby, read_only, now = connection.exec_driver_sql(_STANDING).one()
    found = skew("store", float(now))
    if standby or read_only == "on":
        found.append(broken("store", "takes no writes: it is a standby or read-only", "name the primary"))
    return found


def _size(connection: Connection) -> Diagnosis:
    if connection.dialect.name == "postgresql":
        held = connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one()
    else:
        path = Path(connection.engine.url.database or "")
        held = sum(each.stat().st_size for each in path.parent.glob(f"{path.name}*"))
    return fine("store", f"holds {size(held)}")


def secrets(environment: Mapping[str, str], data: Path, admin_host: str) -> list[Diagnosis]:
    """Which are set, which were generated, which are missing. As this command sees them."""
    found = [_main_secret(environment, data), _admin_token(environment, data, admin_host)]
    for name, without in _OPTIONAL.items():
        known = bool(_value(name, environment))
        found.append(fine("secrets", f"{name} is set" if known else f"{name} is not set: {without}"))
    return found


def _main_secret(environment: Mapping[str, str], data: Path) -> Diagnosis:
    value = _value("CANARY_SECRET", environment)
    if value is None and (data / "secret").exists():
        says = "CANARY_SECRET is the generated one in the data folder; replicas need one in common"
        return fine("secrets", says)
    if value is None:
        return fine("secrets", "CANARY_SECRET is not set: `canary serve` generates one in the data folder")
    if len(value) < LEAST_SECRET:
        says = "CANARY_SECRET is too short or cannot be read"
        return broken("secrets", says, "`openssl rand -hex 32` makes one")
    return fine("secrets", "CANARY_SECRET is set")


def _admin_token(environment: Mapping[str, str], data: Path, host: str) -> Diagnosis:
    if _value("CANARY_ADMIN_TOKEN", environment):
        return fine("secrets", "CANARY_ADMIN_TOKEN is set")
    if is_loopback(host):
        made = "the generated one" if (data / "admin.token").exists() else "`canary serve` generates one"
        return fine("secrets", f"CANARY_ADMIN_TOKEN is not set: {made}, in the data folder")
    says = f"the admin listener is on {host}, off loopback, without CANARY_ADMIN_TOKEN"
    return broken("secrets", says, "set it, or CANARY_ADMIN_TOKEN_FILE: `canary serve` refuses to start")


def _value(name: str, environment: Mapping[str, str]) -> str | None:
    """None when it is not set; "" when it cannot be read."""
    try:
        return Secret(name, environment).value()
    except BadSecret:
        return ""


def clock(over_s: float = 0.5) -> list[Diagnosis]:
    """Whether UTC goes as the monotonic clock does, now."""
    utc, mono = time.time(), time.monotonic()
    time.sleep(over_s)
    apart_s = (time.time() - utc) - (time.monotonic() - mono)
    if abs(apart_s) > 0.05:
        says = f"in half a second UTC went {apart_s:+.3f} s apart from the monotonic clock"
        return [warning("clock", says, "something sets the clock: let one NTP client slew it")]
    return [fine("clock", time.strftime("%Y-%m-%d %H:%M:%S UTC, and it goes evenly", time.gmtime()))]


def skew(check: str, there: float) -> list[Diagnosis]:
    """Another machine's UTC second beside ours."""
    apart_s = there - time.time()
    if abs(apart_s) <= MOST_SKEW_S:
        return [fine(check, f"its clock and this one are {abs(apart_s):.1f} s apart")]
    says = f"its clock is {apart_s:+.0f} s from this machine's"
    return [broken(check, says, "run an NTP client on both: shares, leases and days go by these clocks")]
