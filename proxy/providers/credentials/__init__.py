"""The credentials that provider entries send instead of the caller's: keys, and tokens of a cloud."""

from proxy.providers.credentials.entries import Credentials
from proxy.providers.credentials.tokens import Credential, NoCredential, UnsignedRequest

__all__ = ["Credential", "Credentials", "NoCredential", "UnsignedRequest"]
