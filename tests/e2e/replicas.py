"""Several replicas as a test starts them: `--role traffic` and `--role admin` over one store and Redis."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from canary.config.server import Role
from records.store import Store
from routing.canary import ArmName
from routing.cohort import derive_key, in_cohort
from tests.records.stored import stored
from tests.serving import WAIT_S, child_processes, eventually

SECRET = "a-secret-that-all-replicas-share-0123456789"
TOKEN = "the-admins-token"


class Member:
    """One `canary serve` with a role, on free ports. `traffic` is None for an admin."""

    def __init__(
        self,
        folder: Path,
        role: Role,
        config_text: str,
        *,
        workers: int = 1,
        env: Mapping[str, str] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.role, self._env = role, env or {}
        self.data, self.log_file = folder / "data", folder / "serve.log"
        self.config = folder / "canary.yaml"
        self.config.write_text(config_text)
        self._command = [sys.executable, "-m", "canary", "serve", "--role", role]
        self._command += ["--config", str(self.config), "--data", str(self.data), "--workers", str(workers)]
        self._command += ["--traffic", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--grace", "5s"]
        self.start()

    def start(self) -> None:
        """Start, again if it ran before; returns when it has its addresses."""
        (self.data / "server.json").unlink(missing_ok=True)
        env = {**os.environ, "CANARY_SECRET": SECRET, "CANARY_ADMIN_TOKEN": TOKEN, **self._env}
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env
            )
        addresses = eventually(self._addresses)
        self.traffic = addresses.get("traffic")
        self.admin = str(addresses["admin"])

    def answers(self, url: str | None) -> bool:
        """True when the listener behind this URL is ready."""
        code = self.process.poll()
        assert code is None, f"canary serve ended with {code}:\n{self.log()[-4000:]}"
        try:
            return httpx2.get(f"{url}/readyz", timeout=2.0, trust_env=False).status_code == 200
        except httpx2.TransportError:
            return False

    def get(self, path: str) -> httpx2.Response:
        """One request to the admin listener, with the token."""
        return self.ask("GET", path)

    def ask(self, method: str, path: str, document: Mapping[str, Any] | None = None) -> httpx2.Response:
        """One request to the admin listener, with the token."""
        headers = {"authorization": f"Bearer {TOKEN}"}
        url = f"{self.admin}{path}"
        return httpx2.request(method, url, json=document, headers=headers, timeout=30.0, trust_env=False)

    def metrics(self) -> dict[str, float]:
        """What it shows Prometheus, by the sample's name with its labels."""
        lines = (line for line in self.get("/metrics").text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    def log(self) -> str:
        """What it said."""
        return self.log_file.read_text()

    def children(self) -> dict[str, list[int]]:
        """The pids of its children by their program."""
        found: dict[str, list[int]] = {}
        for pid, command in child_processes(self.process.pid).items():
            found.setdefault(command.split(" ")[2], []).append(pid)
        return found

    def kill(self) -> None:
        """kill -9: the supervisor and all its children, as when the machine goes."""
        if self.process.poll() is not None:
            return
        pids = [self.process.pid, *(pid for pids in self.children().values() for pid in pids)]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(WAIT_S)

    def stop(self) -> int:
        """An orderly end; what is left after a while is killed."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                return self.process.wait(WAIT_S)
            except subprocess.TimeoutExpired:
                self.kill()
        return int(self.process.returncode)

    def _addresses(self) -> dict[str, Any] | None:
        code = self.process.poll()
        assert code is None, f"canary serve ended with {code}:\n{self.log()[-4000:]}"
        try:
            return msgspec.json.decode((self.data / "server.json").read_bytes(), type=dict[str, Any])
        except (FileNotFoundError, msgspec.DecodeError):
            return None


class Fleet:
    """Replicas and admins of one config. `config` has `{url}` for the provider already filled in."""

    def __init__(self, folder: Path, config: str, *, store: str, shared: str) -> None:
        self._folder, self._serial = folder, count()
        self.config = f"{config}\nstore: {store}\nshared: {shared}\n"
        self.store = store
        self.replicas: list[Member] = []
        self.admins: list[Member] = []

    def add(self, role: Role, *, workers: int = 1, env: Mapping[str, str] | None = None) -> Member:
        """Start one more, with this beside our own environment."""
        folder = self._folder / f"{role}-{next(self._serial)}"
        member = Member(folder, role, self.config, workers=workers, env=env)
        (self.admins if role == "admin" else self.replicas).append(member)
        return member

    def ready(self, workers: int) -> None:
        """Wait until somebody leads, every listener answers and so many workers follow the newest plan."""
        for member in (*self.replicas, *self.admins):
            eventually(lambda member=member: member.answers(member.admin))  # type: ignore[misc]
        eventually(lambda: "canary_share_ratio{" in self.leader().get("/metrics").text)
        eventually(self._all_asked)
        wanted = {"alive": workers, "confirmed": workers}
        eventually(lambda: self.admins[-1].get("/api/status").json()["workers"] == wanted)
        for member in self.replicas:
            eventually(lambda member=member: member.answers(member.traffic))  # type: ignore[misc]

    def _all_asked(self) -> bool:
        """True when no candidate is being asked whether it takes what the baseline takes."""
        canaries = self.leader().get("/api/status").json()["canaries"]
        return not any(each["reason"].startswith("preflight:") for each in canaries)

    def leader(self) -> Member:
        """The admin that leads."""
        living = [each for each in self.admins if each.process.poll() is None]
        return eventually(
            lambda: next((each for each in living if each.metrics().get("canary_leader") == 1.0), None), 20.0
        )

    def status(self, canary: str) -> dict[str, Any]:
        """One canary's part of the leader's status."""
        canaries = self.leader().get("/api/status").json()["canaries"]
        return next(each for each in canaries if each["name"] == canary)

    def sums(self) -> dict[str, float]:
        """Every metric summed over all targets, as Prometheus' sum() would."""
        total: dict[str, float] = {}
        for member in (*self.replicas, *self.admins):
            if member.process.poll() is None:
                for name, value in member.metrics().items():
                    total[name] = total.get(name, 0.0) + value
        return total

    def outcomes(self) -> list[dict[str, Any]]:
        """Every outcome in the store."""
        with closing(Store.open(self.store, Path())) as store:
            return stored(store)

    def users(self, arm: ArmName, canary: str, share: float, prefix: str = "user") -> Iterator[str]:
        """Ever new users of one arm."""
        key = derive_key(SECRET.encode(), "assignment")
        names = (f"{prefix}-{number}" for number in count())
        return (name for name in names if in_cohort(key, canary, name, share) == (arm == "candidate"))

    def kill(self) -> None:
        """kill -9 to all."""
        for member in (*self.replicas, *self.admins):
            member.kill()


@contextmanager
def fleet(folder: Path, config: str, *, store: str, shared: str) -> Iterator[Fleet]:
    """A fleet without members yet; whatever it has at the end is killed."""
    members = Fleet(folder, config, store=store, shared=shared)
    try:
        yield members
    finally:
        members.kill()
