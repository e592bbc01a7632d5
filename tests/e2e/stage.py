"""A demo provider and the real server before it, kept for a whole module, and what its store says of them."""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
from typer.testing import CliRunner

from canary.cli import app
from demo.provider.server import LocalProvider
from routing.canary import ArmName
from routing.cohort import derive_key, in_cohort
from tests.records.stored import stored_in
from tests.serving import ProviderThread, Running, eventually

SECRET = "the cohorts of every run of the tests"


class Stage:
    """`provider` is the truth about what arrived, `server` is `canary serve` before it.

    Every run has the same secret, so that a test which passes once has every user in the same arm for ever.
    """

    def __init__(self, folder: Path, provider: ProviderThread, config: str, **options: Any) -> None:
        self.provider = provider
        self.config_text = config
        self._folder = folder
        self._options = options
        _keep_secret(folder / "data")
        self.server = self._start()

    def restart(self, config: str | None = None) -> None:
        """Start again over the same data folder, whatever became of the server before."""
        if self.server.process.poll() is None:
            self.server.stop()
        (self.server.data / "server.json").unlink()
        self.config_text = config or self.config_text
        self.server = self._start()

    def configure(self, text: str) -> None:
        """Rewrite canary.yaml under the running server, whole as an editor would."""
        self.config_text = text
        fresh = self.server.config.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self.server.config)

    def arm(self, canary: str, unit: str, share: float) -> ArmName:
        """The unit's arm by the published rule and the server's own secret."""
        given = self._options.get("env", {}).get("CANARY_SECRET")
        secret = given or (self.server.data / "secret").read_text().strip()
        key = derive_key(secret.encode(), "assignment")
        return "candidate" if in_cohort(key, canary, unit, share) else "baseline"

    def users(self, arm: ArmName, canary: str, share: float, prefix: str = "user") -> Iterator[str]:
        """Ever new users of one arm."""
        names = (f"{prefix}-{number}" for number in count())
        return (name for name in names if self.arm(canary, name, share) == arm)

    def outcomes(self) -> list[dict[str, Any]]:
        """Every outcome in the store, in the order of their requests."""
        return stored_in(self.server.data)

    def outcome(self, exchange_id: str) -> dict[str, Any]:
        """The one outcome of an exchange, once it is stored."""

        def stored() -> list[dict[str, Any]]:
            return [row for row in self.outcomes() if row["exchange_id"] == exchange_id]

        (row,) = eventually(stored)
        return row

    def canary(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command line, against this server. It runs in our process: a program's start takes a second."""
        command = [*arguments, "--data", str(self.server.data)]
        done = CliRunner().invoke(app, command, catch_exceptions=False)
        return subprocess.CompletedProcess(command, done.exit_code, done.stdout, done.stderr)

    def api(self, method: str, path: str, document: Mapping[str, Any] | None = None) -> httpx2.Response:
        """One request to the admin API, with the token."""
        headers = {"authorization": f"Bearer {self.server.token}"}
        url = f"{self.server.admin}{path}"
        verify = self.server.verify
        return httpx2.request(method, url, json=document, headers=headers, verify=verify, trust_env=False)

    def status(self, canary: str) -> dict[str, Any]:
        """One canary's part of the status document."""
        canaries = self.api("GET", "/api/status").json()["canaries"]
        return next(each for each in canaries if each["name"] == canary)

    def _start(self) -> Running:
        options: dict[str, Any] = {"workers": 1, "grace_s": 5.0, "env": {}} | self._options
        return Running(self._folder, self.config_text, **options)


@contextmanager
def on_stage(
    folder: Path, config: str, *, provider: LocalProvider | None = None, **options: Any
) -> Iterator[Stage]:
    """Both, up. `options` are `Running`'s. `config` has `{url}` where the provider's address belongs; behind
    `{elsewhere}` is the same provider by another name, to which no connection is shared."""
    with ProviderThread(provider or LocalProvider()) as thread:
        elsewhere = thread.url.replace("127.0.0.1", "localhost")
        stage = Stage(folder, thread, config.format(url=thread.url, elsewhere=elsewhere), **options)
        try:
            yield stage
        finally:
            stage.server.kill()


def _keep_secret(data: Path) -> None:
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (data / "secret").exists():
        (data / "secret").write_text(SECRET)


def chat(model: str, user: str | None, *, stream: bool = False, text: str = "hello") -> dict[str, Any]:
    """A chat request's document; `text` sets two requests of one user apart."""
    document: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": text}]}
    return document | ({"user": user} if user is not None else {}) | ({"stream": True} if stream else {})


def worker_pids(server: Running) -> list[int]:
    """The traffic workers' pids: the supervisor's children but for the admin process."""
    return server.children_of("canary.programs.worker")
