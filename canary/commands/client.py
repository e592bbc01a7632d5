"""A client of a running server's admin API. Finds the server's address and token in its data folder."""

import json
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from canary.config.certificate import CERTIFICATE, pinned_context
from canary.config.quantity import parse_address
from canary.secrets import BadSecret, Secret

if TYPE_CHECKING:  # only a command that asks a server waits for its import
    import httpx2

_TIMEOUT_S = 30.0
_UNAUTHORIZED = 401
_BAD_REQUEST = 400


class ServerNotReached(Exception):
    """The server did not answer, or refused the request. The message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAddress:
    """A listener's URL, and what verifies its certificate (None: it has none)."""

    url: str
    trust: ssl.SSLContext | None = None

    @classmethod
    def of(cls, listener: str, given: str | None, data: Path) -> "ServerAddress":
        """The address of "admin" or "traffic", from HOST:PORT or a URL, or else from the data folder.

        A server found in its data folder is trusted by exactly the certificate that lies there. One given by
        a URL is by the system's authorities and those of SSL_CERT_FILE. HOST:PORT is the folder's server if
        that listens there, else one without TLS. A port alone is this machine's. Raises ServerNotReached.
        """
        if given and "://" in given:
            url = given.rstrip("/")
            return cls(url=url, trust=ssl.create_default_context() if url.startswith("https:") else None)
        if given:
            try:
                given = str(parse_address(f"127.0.0.1:{given}" if given.isdecimal() else given))
            except ValueError as error:
                what = f'"{given}" is not an address; write HOST:PORT, or a URL that begins with http://'
                raise ServerNotReached(what) from error
        if given and not _is_in_folder(data, listener, f"https://{given}"):
            return cls(url=f"http://{given}")
        url = _from_folder(data, listener)
        return cls(url=url, trust=_pinned(data) if url.startswith("https:") else None)

    def ask(self, method: str, path: str, *, within_s: float, **given: Any) -> "httpx2.Response":
        """Send a request, with what httpx takes. Raises httpx's InvalidURL and TransportError."""
        import httpx2

        verify = self.trust or True
        url = self.url + path
        return httpx2.request(method, url, timeout=within_s, verify=verify, trust_env=False, **given)


class AdminClient:
    """One server's admin API."""

    def __init__(
        self,
        *,
        admin: str | None,
        data: Path,
        environment: Mapping[str, str],
        tokens: Sequence[str] = ("CANARY_ADMIN_TOKEN",),
    ) -> None:
        """`admin` is HOST:PORT or a URL; without it, the address comes from the data folder. The token is the
        first of these variables that is set, else the data folder's."""
        self._server = ServerAddress.of("admin", admin, data)
        self._url = self._server.url
        self._variable, given = _token(environment, tokens)
        token = given or _read(data / "admin.token", or_else=f"set {self._variable}")
        self._bearer = bearer(self._variable, token)
        self._where = _where(data, self._url)

    def get(self, path: str, **query: str) -> Any:
        """GET a path of the API; returns the JSON document."""
        return self._document(self.text("GET", path, query=query))

    def post(self, path: str, document: Mapping[str, Any], *, within_s: float = _TIMEOUT_S) -> Any:
        """POST a JSON document; returns the JSON answer."""
        return self._document(self.text("POST", path, document=document, within_s=within_s))

    def text(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        document: Mapping[str, Any] | None = None,
        within_s: float = _TIMEOUT_S,
    ) -> str:
        """The answer's text. Raises ServerNotReached, with the server's own message if it refused."""
        import httpx2

        try:
            answer = self._server.ask(
                method,
                path,
                params=query,
                content=None if document is None else json.dumps(document),  # ASCII
                headers=self._bearer,
                within_s=within_s,
            )
        except UnicodeEncodeError as error:
            raise ServerNotReached(f"{error.object!r} cannot be sent: it is not valid text") from error
        except (httpx2.InvalidURL, httpx2.TransportError) as error:
            raise ServerNotReached(no_answer(self._url, error)) from error
        if answer.status_code == _UNAUTHORIZED:
            raise ServerNotReached(
                f"{self._url} refuses {'this token' if self._bearer else 'requests without a token'}; set "
                f"{self._variable} to the server's token{self._where}"
            )
        if answer.is_error:
            raise ServerNotReached(refusal(answer))
        return str(answer.text)

    def _document(self, text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError as error:
            raise ServerNotReached(f"{self._url} is not a canary admin listener") from error


def bearer(name: str, token: str | None) -> dict[str, str]:
    """The authorization header, {} without a token. Raises ServerNotReached, without the token, if the token
    cannot be sent in a header."""
    if token and not (token.isascii() and token.isprintable()):
        raise ServerNotReached(f"{name} is not a token: it must be one line of ASCII characters")
    return {"authorization": f"Bearer {token}"} if token else {}


def no_answer(url: str, error: Exception) -> str:
    """The message for a server that did not answer."""
    import httpx2

    if isinstance(error, httpx2.InvalidURL | httpx2.UnsupportedProtocol):
        return f"{url} is not an address; write HOST:PORT, or a URL that begins with http:// ({error})"
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return f"{url} is not trusted; set SSL_CERT_FILE to the file of its certificate's authority ({error})"
    return f"no answer from {url}; is `canary serve` running? ({error})"


def refusal(answer: "httpx2.Response") -> str:
    """The server's own message in a refusal."""
    try:
        error = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        error = None
    if isinstance(error, str):
        return error
    if answer.status_code == _BAD_REQUEST and answer.headers.get("content-type", "").startswith("text/plain"):
        return f"{answer.url} answered: {answer.text}"
    return f"{answer.url} answered {answer.status_code}; is it a canary listener?"


def _token(environment: Mapping[str, str], names: Sequence[str]) -> tuple[str, str | None]:
    """The first of these variables that is set, with its token; else the first one and None."""
    try:
        found = ((name, Secret(name, environment).value()) for name in names)
        return next(((name, token) for name, token in found if token), (names[0], None))
    except BadSecret as problem:
        raise ServerNotReached(str(problem)) from problem


def _is_in_folder(data: Path, listener: str, url: str) -> bool:
    try:
        return _from_folder(data, listener) == url
    except ServerNotReached:
        return False


def _where(data: Path, url: str) -> str:
    """Where the token of the server at `url` is found, as the end of a sentence."""
    if not _is_in_folder(data, "admin", url):
        return ", or name the server's data folder with --data"
    return (
        "" if (data / "admin.token").exists() else f", which it got from its environment: {data} holds none"
    )


def _pinned(data: Path) -> ssl.SSLContext:
    text = _read(data / CERTIFICATE, or_else="give the server's URL")
    try:
        return pinned_context(text or "")
    except (ssl.SSLError, ValueError) as error:
        raise ServerNotReached(f"{data / CERTIFICATE} has no certificate; restart `canary serve`") from error


def _from_folder(data: Path, listener: str) -> str:
    text = _read(data / "server.json", or_else=f"give its address with --{listener}")
    if text is None:
        raise ServerNotReached(
            f"no server has run in {data}; start `canary serve`, or name its folder with --data or its "
            f"address with --{listener}"
        )
    try:
        return str(json.loads(text)[listener])
    except (ValueError, KeyError, TypeError) as error:
        raise ServerNotReached(
            f"{data / 'server.json'} names no {listener} listener; give its address with --{listener}"
        ) from error


def _read(path: Path, *, or_else: str) -> str | None:
    """The text of one of the server's files, None if it does not exist. Raises ServerNotReached if it is
    unreadable."""
    try:
        return path.read_text().strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ServerNotReached(
            f"{path} cannot be read: {why}. Run this as the server's user, or {or_else}"
        ) from error
