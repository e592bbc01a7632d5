"""The credentials that provider entries send instead of the caller's: keys, and tokens of a cloud."""

from proxy.credentials.credential import Credential, NoCredential, UnsignedRequest
from proxy.credentials.entries import Credentials

__all__ = ["Credential", "Credentials", "NoCredential", "UnsignedRequest"]
