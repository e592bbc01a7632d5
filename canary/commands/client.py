"""Talks to a running server's admin API: where it is, with which token, and what went wrong."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2

from canary.secrets import BadSecret, Secret

_TIMEOUT_S = 30.0


class NotReached(Exception):
    """The server did not answer, or refused; the message says what to do."""


def traffic_url(traffic: str | None, data: Path) -> str:
    """Where a server's traffic listener is: HOST:PORT or a URL, or else as its data folder tells."""
    return _url(traffic) if traffic else _from_folder(data, "traffic")


class AdminClient:
    """One server's admin API."""

    def __init__(self, *, admin: str | None, data: Path, environment: Mapping[str, str]) -> None:
        """`admin` is HOST:PORT or a URL; without it the data folder tells where the server listens."""
        self._url = _url(admin) if admin else _from_folder(data, "admin")
        self._token = _given(environment) or _read(data / "admin.token")

    def get(self, path: str, **query: str) -> Any:
        """The JSON document at a path of the API."""
        return json.loads(self.text("GET", path, query=query))

    def post(self, path: str, document: Mapping[str, Any]) -> Any:
        """Send a JSON document; the JSON answer."""
        return json.loads(self.text("POST", path, document=document))

    def text(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        document: Mapping[str, Any] | None = None,
    ) -> str:
        """The answer's text. NotReached carries the server's own words when it refuses."""
        try:
            answer = httpx2.request(
                method,
                self._url + path,
                params=query,
                json=document,
                headers={"authorization": f"Bearer {self._token}"} if self._token else {},
                timeout=_TIMEOUT_S,
                trust_env=False,
            )
        except httpx2.TransportError as error:
            raise NotReached(
                f"no canary answers at {self._url}: is `canary serve` running? ({error})"
            ) from error
        if answer.is_error:
            raise NotReached(said(answer))
        return str(answer.text)


def said(answer: httpx2.Response) -> str:
    """What a refusal says, in the server's own words."""
    try:
        return str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        return f"the server answered {answer.status_code}"


def _given(environment: Mapping[str, str]) -> str | None:
    try:
        return Secret("CANARY_ADMIN_TOKEN", environment).value()
    except BadSecret as problem:
        raise NotReached(str(problem)) from problem


def _url(admin: str) -> str:
    return admin.rstrip("/") if "://" in admin else f"http://{admin}"


def _from_folder(data: Path, listener: str) -> str:
    text = _read(data / "server.json")
    if text is None:
        raise NotReached(
            f"no server has run in {data}: start `canary serve`, or name its folder with --data or its "
            f"address with --{listener}"
        )
    return str(json.loads(text)[listener])


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
