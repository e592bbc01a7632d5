"""Tokens of Entra ID, from Azure's own library."""

import logging

from proxy.credentials.credential import NoCredential
from proxy.credentials.tokens import Token, until

SCOPE = "https://cognitiveservices.azure.com/.default"

HELP = (
    "give this machine a managed or workload identity, set AZURE_TENANT_ID, AZURE_CLIENT_ID and "
    "AZURE_CLIENT_SECRET, or run `az login`"
)
_CONNECT_S, _READ_S = 5.0, 10.0
_SERVERS_OWN = {
    "EnvironmentCredential": "environment variables",
    "WorkloadIdentityCredential": "workload identity",
    "ManagedIdentityCredential": "managed identity",
}
_NOT_CONFIGURED = "authentication unavailable"


def azure_token() -> Token[list[tuple[bytes, bytes]]]:
    """Fetch a new token, as the header that carries it. Blocks. Raises NoCredential.

    Every call begins anew, so a token is never the library's cached one, and changed files are read.
    """
    try:
        from azure.core.exceptions import AzureError
        from azure.identity import DefaultAzureCredential
    except ImportError as problem:
        raise NoCredential(
            "auth: azure needs a library: pip install 'WHEEL[azure]', or '.[azure]' in a checkout"
        ) from problem
    _silence()
    try:
        with DefaultAzureCredential(
            retry_total=0, connection_timeout=_CONNECT_S, read_timeout=_READ_S
        ) as credential:
            token = credential.get_token_info(SCOPE)
    except AzureError as problem:
        raise NoCredential(_said(str(problem))) from problem
    return Token([(b"authorization", b"Bearer " + token.token.encode())], until(token.expires_on))


def _said(text: str) -> str:
    """What the configured identities said; the library lists all that it tried, a line each."""
    tried = [line.strip().partition(": ") for line in text.splitlines() if line.startswith("\t")]
    found = [
        f"{_SERVERS_OWN[name]}: {said}"
        for name, _, said in tried
        if name in _SERVERS_OWN and _NOT_CONFIGURED not in said
    ]
    if found:
        return ", ".join(found)
    return "no Azure identity was found on this machine" if tried else text


def _silence() -> None:
    """The library logs each identity that it tries; `TokenSource` logs what came of it."""
    for name in ("azure", "msal"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
