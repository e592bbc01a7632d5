"""canary's container as a user starts it: by the command in the Dockerfile's header."""

import json
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2

from tests.image.engine import Engine
from tests.serving import eventually

ROOT = Path(__file__).parents[2]
GATEWAY = "172.17.0.1"
"""This machine's address in Docker's default network, as containers see it."""

KEY = {"authorization": "Bearer sk-any"}
"""The caller's key for the provider, which takes any."""

TOKEN = "a token of more than sixteen bytes"
CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
canaries:
  - name: support-nov
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-4o-2024-11-20}}
    share: 50%
    guardrails: []
"""


def header() -> list[str]:
    """The words of `docker run …` in the Dockerfile's header, without the first two and the image."""
    comments = "\n".join(re.findall(r"^#(.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    command = shlex.split(comments.replace("\\\n", " ").partition("docker run")[2].partition("\n")[0])
    assert command.pop() == "canary"
    return command


class Container:
    """One container of canary's image. `config` is its file; published are the listeners' usual ports."""

    traffic = "http://127.0.0.1:8080"
    admin = "http://127.0.0.1:8081"

    def __init__(self, docker: Engine, folder: Path, url: str, *options: str) -> None:
        """`options` of `docker run` come after the header's, and `folder` is where it is called."""
        self.docker = docker
        self.config = folder / "config" / "canary.yaml"
        self.config.parent.mkdir(exist_ok=True)
        self.config.write_text(CONFIG.format(url=url))
        environment = {"CANARY_ADMIN_TOKEN": TOKEN, "PWD": str(folder)}
        words = [os.path.expandvars(each.replace("$PWD", str(folder))) for each in header()]
        docker("run", "--detach", *words, *options, "canary", cwd=folder, env=environment)

    def ready(self) -> "Container":
        """Wait for /readyz of both listeners."""
        with client() as http:
            for url in (self.traffic, self.admin):
                eventually(lambda url=url: self._answers(http, f"{url}/readyz"), within_s=120)  # type: ignore[misc]
        return self

    def state(self) -> dict[str, Any]:
        """What `docker inspect` says of it."""
        found: dict[str, Any] = json.loads(self.docker("inspect", "canary", "--format={{json .State}}"))
        return found

    def becomes_healthy(self) -> None:
        """Wait for the HEALTHCHECK's word; AssertionError with the log where it does not come."""
        try:
            eventually(lambda: self.state()["Health"]["Status"] == "healthy", within_s=120)
        except AssertionError as error:
            raise AssertionError(f"{self.state()['Health']}\n{self.logs()}") from error

    def logs(self) -> str:
        """The end of what it said."""
        done = self.docker.tried("logs", "--tail=40", "canary")
        return done.stdout + done.stderr

    def canary(self, *words: str) -> str:
        """A command inside it: what it prints."""
        return self.docker("exec", "canary", "canary", *words)

    def _answers(self, http: httpx2.Client, url: str) -> bool:
        assert self.state()["Running"], self.logs()
        return status(http, url) == 200


def client() -> httpx2.Client:
    """Asks without this machine's proxy settings."""
    return httpx2.Client(timeout=60.0, trust_env=False)


def status(http: httpx2.Client, url: str, token: str = "") -> int:
    """Of a GET; 0 without an answer."""
    try:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return http.get(url, headers=headers).status_code
    except httpx2.TransportError:
        return 0


def chat(
    http: httpx2.Client, unit: str, model: str = "gpt-4o", url: str = Container.traffic
) -> httpx2.Response:
    """One request of a unit through the traffic listener."""
    body = {"model": model, "messages": [{"role": "user", "content": f"a question of {unit}"}]}
    return http.post(f"{url}/v1/chat/completions", json=body, headers={**KEY, "x-canary-unit": unit})


def streamed(http: httpx2.Client, model: str = "gpt-4o") -> Iterator[str]:
    """The lines of one stream's events as they come."""
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "a long answer"}]}
    with http.stream("POST", f"{Container.traffic}/v1/chat/completions", json=body, headers=KEY) as answer:
        assert answer.status_code == 200
        yield from (line for line in answer.iter_lines() if line)
