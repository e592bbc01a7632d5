"""Google's application default credentials, from Google's own library."""

import logging
from calendar import timegm
from functools import partial
from typing import Any

from proxy.credentials.credential import NoCredential
from proxy.credentials.tokens import Token, until

SCOPE = "https://www.googleapis.com/auth/cloud-platform"

HELP = (
    "set GOOGLE_APPLICATION_CREDENTIALS to the file of a service account or a workload identity, use the "
    "machine's service account, or run `gcloud auth application-default login`"
)
_WITHIN_S = 10


def google_token() -> Token[list[tuple[bytes, bytes]]]:
    """Fetch a new token, as the headers that carry it. Blocks. Raises NoCredential.

    Every call begins anew, so changed files are read.
    """
    try:
        import google.auth
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport.requests import Request
    except ImportError as problem:
        raise NoCredential(
            "auth: google needs a library: pip install 'WHEEL[google]', or '.[google]' in a checkout"
        ) from problem
    logging.getLogger("google.auth").setLevel(logging.CRITICAL)
    credentials: Any  # the library has no types
    try:
        credentials, _ = google.auth.default(scopes=[SCOPE])
        credentials.refresh(partial(Request(), timeout=_WITHIN_S))
    except GoogleAuthError as problem:
        raise NoCredential(_said(problem)) from problem
    headers: dict[str, str] = {}
    credentials.apply(headers)  # with x-goog-user-project where the file names a quota project
    ends = None if credentials.expiry is None else until(timegm(credentials.expiry.utctimetuple()))
    return Token([(name.encode(), value.encode()) for name, value in headers.items()], ends)


def _said(problem: Exception) -> str:
    """The library's words, without the token server's whole answer that may follow them."""
    return str(problem.args[0]) if problem.args else type(problem).__name__
