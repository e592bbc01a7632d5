"""Talks to a running server's admin API: where it is, with which token, and what went wrong."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2

from canary.secrets import BadSecret, Secret

_TIMEOUT_S = 30.0
_UNAUTHORIZED = 401


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
        token = _given(environment) or _read(data / "admin.token", or_else="set CANARY_ADMIN_TOKEN")
        self._bearer = bearer("CANARY_ADMIN_TOKEN", token)

    def get(self, path: str, **query: str) -> Any:
        """The JSON document at a path of the API."""
        return self._document(self.text("GET", path, query=query))

    def post(self, path: str, document: Mapping[str, Any]) -> Any:
        """Send a JSON document; the JSON answer."""
        return self._document(self.text("POST", path, document=document))

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
                content=None if document is None else json.dumps(document),  # ASCII, whatever was typed
                headers=self._bearer,
                timeout=_TIMEOUT_S,
                trust_env=False,
            )
        except UnicodeEncodeError as error:
            raise NotReached(f"{error.object!r} cannot be sent: it is no valid text") from error
        except (httpx2.InvalidURL, httpx2.TransportError) as error:
            raise NotReached(silence(self._url, error)) from error
        if answer.status_code == _UNAUTHORIZED:
            raise NotReached(
                f"{self._url} does not take {'this' if self._bearer else 'requests without a'} token: set "
                "CANARY_ADMIN_TOKEN to the server's, or name its data folder with --data"
            )
        if answer.is_error:
            raise NotReached(said(answer))
        return str(answer.text)

    def _document(self, text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError as error:
            raise NotReached(f"what answers at {self._url} is no canary's admin listener") from error


def bearer(name: str, token: str | None) -> dict[str, str]:
    """The header with a token; none without. NotReached for one that no header can carry; it is not shown."""
    if token and not (token.isascii() and token.isprintable()):
        raise NotReached(f"{name} is no token: it must be one line of ASCII characters")
    return {"authorization": f"Bearer {token}"} if token else {}


def silence(url: str, error: Exception) -> str:
    """Why nobody answered there."""
    if isinstance(error, httpx2.InvalidURL | httpx2.UnsupportedProtocol):
        return f"{url} is no address: write HOST:PORT, or a URL that begins with http:// ({error})"
    return f"no canary answers at {url}: is `canary serve` running? ({error})"


def said(answer: httpx2.Response) -> str:
    """What a refusal says, in the server's own words."""
    try:
        error = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        error = None
    return error if isinstance(error, str) else f"{answer.url} answered {answer.status_code}: is it canary's?"


def _given(environment: Mapping[str, str]) -> str | None:
    try:
        return Secret("CANARY_ADMIN_TOKEN", environment).value()
    except BadSecret as problem:
        raise NotReached(str(problem)) from problem


def _url(admin: str) -> str:
    return admin.rstrip("/") if "://" in admin else f"http://{admin}"


def _from_folder(data: Path, listener: str) -> str:
    text = _read(data / "server.json", or_else=f"give its address with --{listener}")
    if text is None:
        raise NotReached(
            f"no server has run in {data}: start `canary serve`, or name its folder with --data or its "
            f"address with --{listener}"
        )
    try:
        return str(json.loads(text)[listener])
    except (ValueError, KeyError, TypeError) as error:
        raise NotReached(
            f"{data / 'server.json'} tells no {listener} listener: give its address with --{listener}"
        ) from error


def _read(path: Path, *, or_else: str) -> str | None:
    """A file of the server's; None where there is none. NotReached where it is another user's."""
    try:
        return path.read_text().strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise NotReached(
            f"{path} cannot be read: {why}. Run this as the server's user, or {or_else}"
        ) from error
