"""What `canary doctor` finds on this machine: config, data folder, spool, store, outcomes, secrets, clock."""

import os
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Literal, NamedTuple

from sqlalchemy import Connection, select

from canary.config import Config, ConfigError
from canary.config.certificate import certificate_of
from canary.config.quantity import is_loopback
from canary.python_path import ROOT, shadows
from canary.secrets import BadSecret, Secret
from records.errors import RecordError
from records.facts.prices import said_once
from records.shared.segment_folder import SegmentFolder
from records.spool.writer import CAP_BYTES, used_bytes
from records.store import tables
from records.store.database import engine_of, transaction
from records.store.migrate import HEAD, version_of
from records.store.shipper import Backlog


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """A finding. `says` and `do` are sentences for a person; `do` is empty if there is nothing to do."""

    check: str
    state: Literal["ok", "warning", "broken"]
    says: str
    do: str = ""


def fine(says: str, *, check: str = "") -> Diagnosis:
    """A finding without a problem. `check` is empty for what its check is named in the list."""
    return Diagnosis(check=check, state="ok", says=says)


def warning(says: str, do: str, *, check: str = "") -> Diagnosis:
    """A finding that works now, but may stop working or surprise the operator."""
    return Diagnosis(check=check, state="warning", says=says, do=do)


def broken(says: str, do: str, *, check: str = "") -> Diagnosis:
    """A finding that does not work."""
    return Diagnosis(check=check, state="broken", says=says, do=do)


def size(count: float) -> str:
    """A number of bytes as text."""
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


LEAST_SPACE = 64 << 20
LITTLE_SPACE = 1 << 30
STORE_WITHIN_S = 4.0
MOST_SKEW_S = 2.0
LEAST_SECRET = 16

_STANDING = """
SELECT pg_is_in_recovery(), current_setting('transaction_read_only'), extract(epoch FROM clock_timestamp())
"""

WORKERS_MOST = 4096
"""The most requests in flight in a worker."""

_OPTIONAL = {
    "CANARY_FEEDBACK_TOKEN": "feedback about sessions and units is refused",
    "CANARY_PIN_TOKEN": "requests cannot be pinned to an arm, and no arm of a flag system is taken",
}


def prices(read: Config) -> list[Diagnosis]:
    """The arms, judges and embeddings without a known price, as `canary prices` has them."""
    missing = [
        warning(f"{each.says}{each.meant.replace(';', ':')}", each.do) for each in said_once(read.unpriced())
    ]
    every = "every arm has a known price" if read.asked_models else "there is no model to price"
    return missing or [fine(every)]


def tls(path: Path, read: Config) -> list[Diagnosis]:
    """Whether the listeners' certificate can be used, and for how long."""
    try:
        certificate = certificate_of(read, path, time.time())
    except ConfigError as problem:
        return [broken(str(problem), "fix the files; a running server keeps the certificate it has")]
    if certificate is None:
        return []
    do = "a running server takes new files as soon as they are there"
    found = [warning(each, do) for each in certificate.warnings(time.time())]
    return found or [fine(f"the certificate is valid until {certificate.last_day}")]


def valid(path: Path, read: Config) -> list[Diagnosis]:
    """The config's canaries and warnings."""
    canaries = [*read.canaries, *(f"{each} (standing)" for each in read.standing)]
    names = ", ".join(canaries) or "none; requests pass through and are recorded"
    found = [fine(f"{path} is valid; canaries: {names}")]
    return found + [warning(text, "") for text in read.warnings]


def packages(path: Sequence[str]) -> list[Diagnosis]:
    """Whether other modules with the names of canary's packages come first on Python's path."""
    if path[0] == ROOT and ROOT in path[1:]:
        path = path[1:]  # canary has put ROOT first because of such modules
    found = []
    for room, where in shadows(path).items():
        says = f"another `{room}`{_whose(room, where)} in {where} comes first on Python's path"
        do = "install canary into its own virtual environment; meanwhile it uses its own packages"
        found.append(warning(says, do))
    return found or [fine(f"canary's own packages come first, in {ROOT}")]


def _whose(room: str, where: str) -> str:
    names = {f"{room}.py", f"{room}/__init__.py"}
    owners = [
        each.name for each in distributions(path=[where]) if names & {str(file) for file in each.files or ()}
    ]
    return f" (of {', '.join(owners)})" if owners else ""


def descriptors(soft: int, hard: int) -> list[Diagnosis]:
    """The limit of open files and connections per process, as this command has it."""
    raised = (
        f"raises the limit of open files from {soft} to"
        if soft < hard
        else "keeps the limit of open files at"
    )
    says = f"`canary serve` {raised} {hard}, enough for about {hard // 2} concurrent requests per worker"
    if hard >= 2 * WORKERS_MOST:
        return [fine(says)]
    do = "raise the hard limit (`LimitNOFILE=`, `ulimit -Hn`, `--ulimit nofile=`); beyond it callers get 503"
    return [warning(says, do)]


def folder(data: Path) -> list[Diagnosis]:
    """The data folder's owner, mode and free space."""
    if not data.exists():
        nearest = next(each for each in data.parents if each.exists())
        if not os.access(nearest, os.W_OK):
            return [broken(f"{data} cannot be created in {nearest}", "name another with --data")]
        return [fine(f"{data} does not exist yet; `canary serve` creates it")]
    about = data.stat()
    found = []
    if about.st_uid != os.geteuid():
        found.append(broken(f"{data} belongs to user {about.st_uid}, not to you", "run as its owner"))
    if stat.S_IMODE(about.st_mode) & 0o077:
        says = f"other users can read {data}, which contains secrets and records"
        found.append(warning(says, f"chmod 700 {data}"))
    disk = os.statvfs(data)
    free = disk.f_bavail * disk.f_frsize
    if free < LEAST_SPACE:
        found.append(broken(f"only {size(free)} free on its disk", "free some space now"))
    elif free < LITTLE_SPACE:
        found.append(warning(f"{size(free)} free on its disk", "free some space soon"))
    return found or [fine(f"only you can read {data}; {size(free)} free")]


def spool(data: Path, url: str) -> list[Diagnosis]:
    """The spool's waiting and quarantined records."""
    where = data / "spool"
    if not where.is_dir():
        return [fine("there is none: no traffic has been recorded here")]
    used = used_bytes(where)
    aside = list((where / "quarantine").glob("*"))
    found = []
    if used > CAP_BYTES // 2:
        says = f"{size(used)} of {size(CAP_BYTES)} are used; a full spool drops new records"
        found.append(warning(says, "find out why the store does not take the records"))
    if aside:
        says = f"{len(aside)} files with damaged or refused records are in {where / 'quarantine'}"
        found.append(warning(says, "examine the files, then delete them"))
    return [*found, _waiting(where, url, used)]


def _waiting(where: Path, url: str, used: int) -> Diagnosis:
    try:
        waiting = spooled(where, url)
    except (RecordError, OSError):
        return warning(f"{size(used)}; the store cannot say how much of it waits", "see `store`")
    if not waiting:
        return fine(f"{size(used)}, no records wait for the store")
    files = [each.stat().st_mtime for each in where.glob("*.spool")]
    age_s = max(0.0, time.time() - min(files, default=time.time()))
    says = f"{waiting} records wait for the store; the oldest file was last written {age_s:.0f} s ago"
    if age_s < 60.0:
        return fine(says)
    return warning(says, "start a server, which stores them; if a server is running, see `store`")


def spooled(where: Path, url: str) -> int:
    """The outcomes and feedback of this spool that wait for the store. May raise StoreDown, OSError."""
    return Backlog(where, _cursors(where, url)).count()


def _cursors(where: Path, url: str) -> dict[str, int]:
    """The stored offset of each spool file; {} if there is no store, or one of an older version."""
    name = where.with_suffix(".name")
    if not name.exists() or not is_there(url, where.parent):
        return {}
    with looking_into(url, where.parent) as connection:
        if version_of(connection) != HEAD:
            return {}
        wanted = select(tables.cursors).where(tables.cursors.c.spool == name.read_text().strip())
        return {row.file: row.offset for row in connection.execute(wanted)}


@contextmanager
def looking_into(url: str, data: Path, *, writes: bool = False) -> Iterator[Connection]:
    """A separate connection, whose transaction is rolled back. Raises StoreDown."""
    engine = engine_of(url, data)
    try:
        with transaction(engine, within_s=STORE_WITHIN_S, writes=writes) as connection:
            yield connection
            connection.rollback()
    finally:
        engine.dispose()


def store(url: str, data: Path) -> list[Diagnosis]:
    """Whether the store answers, has this version's schema and is writable; its size and clock."""
    if not is_there(url, data):
        if (data / "spool").is_dir():
            says = "the SQLite file is gone, though a server has run here"
            return [broken(says, "end the server, put back the backup; else it begins anew")]
        return [fine("no SQLite file yet; `canary serve` creates it")]
    try:
        with looking_into(url, data, writes=True) as connection:
            return [*_schema(connection), *_writable(connection), _size(connection)]
    except RecordError as problem:
        return [broken(str(problem), "start the database, or fix `store` in the config")]


def is_there(url: str, data: Path) -> bool:
    """False for a SQLite file that is still to come."""
    if not url.startswith("sqlite:"):
        return True
    name = engine_of(url, data).url.database
    return name is not None and Path(name).exists()


def _schema(connection: Connection) -> list[Diagnosis]:
    found = version_of(connection)
    if found == HEAD:
        return [fine(f"answers, and has the schema of this version ({found})")]
    says = f"has schema {found or 'none'}; this version needs {HEAD}"
    return [warning(says, "`canary serve` migrates it at the start")]


def _writable(connection: Connection) -> list[Diagnosis]:
    if connection.dialect.name != "postgresql":
        return []  # SQLite: the transaction has already taken the write lock
    standby, read_only, now = connection.exec_driver_sql(_STANDING).one()
    found = skew(float(now))
    if standby or read_only == "on":
        found.append(broken("is a standby or read-only", "set `store` in the config to the primary"))
    return found


def _size(connection: Connection) -> Diagnosis:
    if connection.dialect.name == "postgresql":
        used = connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar_one()
    else:
        path = Path(connection.engine.url.database or "")
        used = sum(each.stat().st_size for each in path.parent.glob(f"{path.name}*"))
    return fine(f"uses {size(used)}")


def secrets(environment: Mapping[str, str], data: Path, admin_host: str) -> list[Diagnosis]:
    """Which secrets are set, generated or missing in this command's environment."""
    found = [_main_secret(environment, data), _admin_token(environment, data, admin_host)]
    for name, without in _OPTIONAL.items():
        known = bool(_value(name, environment))
        found.append(fine(f"{name} is set" if known else f"{name} is not set; {without}"))
    return found


def signing(environment: Mapping[str, str], by_flag: Sequence[str]) -> list[Diagnosis]:
    """Whether there is the token that signs the arms of these canaries, those with `assignment: header`."""
    if not by_flag or _value("CANARY_PIN_TOKEN", environment):
        return []
    says = (
        f"{', '.join(by_flag)}: `assignment: header` without CANARY_PIN_TOKEN: the baseline serves everybody"
    )
    do = "give `canary serve` and the app that signs the same one, or CANARY_PIN_TOKEN_FILE"
    return [warning(says, do)]


def _main_secret(environment: Mapping[str, str], data: Path) -> Diagnosis:
    value = _value("CANARY_SECRET", environment)
    if value is None and (data / "secret").exists():
        says = "CANARY_SECRET is generated, in the data folder; replicas need a common one"
        return fine(says)
    if value is None:
        return fine("CANARY_SECRET is not set; `canary serve` generates one in the data folder")
    if len(value) < LEAST_SECRET:
        says = "CANARY_SECRET is too short or cannot be read"
        return broken(says, "`openssl rand -hex 32` makes one")
    return fine("CANARY_SECRET is set")


def _admin_token(environment: Mapping[str, str], data: Path, host: str) -> Diagnosis:
    if _value("CANARY_ADMIN_TOKEN", environment):
        return fine("CANARY_ADMIN_TOKEN is set")
    if is_loopback(host):
        known = "the token is" if (data / "admin.token").exists() else "`canary serve` generates a token"
        return fine(f"CANARY_ADMIN_TOKEN is not set; {known} in the data folder")
    says = f"the admin listener is on {host}, off loopback, without CANARY_ADMIN_TOKEN"
    do = "set it, or CANARY_ADMIN_TOKEN_FILE; otherwise `canary serve` refuses to start"
    return broken(says, do)


def _value(name: str, environment: Mapping[str, str]) -> str | None:
    """The secret; None if it is not set, "" if it cannot be read."""
    try:
        return Secret(name, environment).value()
    except BadSecret:
        return ""


def clock(over_s: float = 0.5) -> list[Diagnosis]:
    """Whether UTC runs as fast as the monotonic clock."""
    utc, mono = time.time(), time.monotonic()
    time.sleep(over_s)
    apart_s = (time.time() - utc) - (time.monotonic() - mono)
    if abs(apart_s) > 0.05:
        says = f"in half a second UTC moved {apart_s:+.3f} s against the monotonic clock"
        return [warning(says, "something sets the clock; let one NTP client slew it")]
    return [fine(time.strftime("%Y-%m-%d %H:%M:%S UTC; the clock is stable", time.gmtime()))]


def skew(there: float) -> list[Diagnosis]:
    """Compare another machine's UTC seconds with this machine's."""
    apart_s = there - time.time()
    if abs(apart_s) <= MOST_SKEW_S:
        return [fine(f"its clock differs by {abs(apart_s):.1f} s from this machine's")]
    says = f"its clock differs by {apart_s:+.0f} s from this machine's"
    return [broken(says, "run an NTP client on both; ramps, leases and days depend on these clocks")]


_RESTORE = "restore {} from a backup, or name the place that has {} as `outcomes`"


class _Row(NamedTuple):
    """What the database knows of a file."""

    state: str
    bytes: int


def outcomes(read: Config, data: Path) -> list[Diagnosis]:
    """Whether segments can be written, and the folder has those that the database knows, in their sizes."""
    folder = SegmentFolder.at(read.outcomes, data)
    if folder is not None and not folder.is_local:
        return _written(folder)
    place = Path(folder.place) if folder is not None else None
    hindered = [] if place is None else _hindered(place)
    try:
        return [*hindered, *_compared(place, read.store, data)] or [_sound(place, read.store, data)]
    except RecordError as problem:
        says = f"the files that {place or 'the database'} should have are unknown: {problem}"
        return [*hindered, warning(says, "see `store`")]


def _written(folder: SegmentFolder) -> list[Diagnosis]:
    found = folder.trouble()
    if found is None:
        return [fine(f"{folder.place} can be written")]
    says, do = found
    return [broken(f"{folder.place} cannot be written: {says}", do)]


def _hindered(place: Path) -> list[Diagnosis]:
    """Make a folder in the place, or in the nearest one above it that exists, and remove it."""
    nearest = _nearest(place)
    try:
        Path(tempfile.mkdtemp(prefix=".canary-doctor-", dir=nearest)).rmdir()
    except OSError as problem:
        do = "have it belong to the server's user, or name another as `outcomes`"
        says = f"{place} cannot be written: no folder can be made in {nearest}: {problem.strerror}"
        return [broken(says, do)]
    return []


def _nearest(place: Path) -> Path:
    return next(each for each in (place, *place.parents) if each.exists())


def _compared(place: Path | None, url: str, data: Path) -> list[Diagnosis]:
    """The files that are missing, differ in size, or that no row names. The database is read before and
    after the folder, which the server changes meanwhile. Raises RecordError."""
    before = _known(url, data)
    files = {} if place is None else _sizes(place)
    after = _known(url, data)
    whole = {path for path, row in before.items() if row.state == "whole" and after.get(path) == row}
    if place is None:
        if not whole:
            return []
        lie = _files(len(whole), "1 file of outcomes lies", "{} files of outcomes lie")
        says = f"{lie} in a folder, not in the database: what reads these hours fails"
        return [broken(says, "name that folder as `outcomes`")]
    damaged = {path for path in whole & files.keys() if files[path] != before[path].bytes}
    unknown = files.keys() - before.keys() - after.keys()
    found = []
    if missing := whole - files.keys():
        found.append(_lacking(missing, f"is missing in {place}", f"are missing in {place}"))
    if damaged:
        size = "have the size that was written"
        found.append(_lacking(damaged, f"in {place} does not {size}", f"in {place} do not {size}"))
    if unknown:
        says = _files(len(unknown), f"1 file in {place}: ", f"{{}} files in {place}, for example ")
        do = (
            "canary reads none of them; if a backup was restored, move them away: their outcomes may be twice"
        )
        found.append(warning(f"the database does not know {says}{min(unknown)}", do))
    return found


def _sound(place: Path | None, url: str, data: Path) -> Diagnosis:
    """What is said of a place without a problem."""
    if place is None:
        return fine("the database keeps them")
    if not place.exists():
        says = f"{place} does not exist yet; the first file creates it, and {_nearest(place)} can be written"
        return fine(says)
    whole = sum(row.state == "whole" for row in _known(url, data).values())
    has = f"has {_files(whole, 'the one file', 'all {} files')} that the database knows"
    return fine(f"{place} can be written, and {has if whole else 'no file is to be there yet'}")


def _sizes(place: Path) -> Mapping[str, int]:
    """The size of each file by its path; one that is deleted meanwhile is left out."""
    found = {}
    for each in place.rglob("*.parquet"):
        with suppress(FileNotFoundError):
            found[str(each.relative_to(place))] = each.stat().st_size
    return found


def _lacking(paths: set[str], one: str, several: str) -> Diagnosis:
    says = _files(len(paths), f"1 file {one}: ", f"{{}} files {several}, the first ")
    it = _files(len(paths), "it", "them")
    return broken(f"{says}{min(paths)}; what reads these hours fails", _RESTORE.format(it, it))


def _files(count: int, one: str, several: str) -> str:
    """The words for one, or those for several with their number."""
    return one if count == 1 else several.replace("{}", str(count))


def _known(url: str, data: Path) -> Mapping[str, _Row]:
    """The files of outcomes by their paths; none without a store, or with one of an older version. Segments
    that the database itself keeps are not among them."""
    if not is_there(url, data):
        return {}
    with looking_into(url, data) as connection:
        if version_of(connection) != HEAD:
            return {}
        row = tables.segments.c
        found = connection.execute(select(row.path, row.state, row.bytes).where(row.content.is_(None)))
        return {each.path: _Row(each.state, each.bytes) for each in found}
