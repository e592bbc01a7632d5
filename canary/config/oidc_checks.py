"""Checks of the sign-in by OpenID Connect: that it can work, and that nobody on the way can read it."""

from urllib.parse import urlsplit

from canary.config.salvage import Salvage
from canary.config.sections import FileSection
from console.access.openid_settings import is_private

_TLS = "must begin with https://; http:// only works on this machine"


def check_oidc(file: FileSection, found: Salvage) -> None:
    """Record every problem of `oidc`, and of `admin_url` for it."""
    if file.oidc is None:
        return
    path = ("oidc",)
    if not file.oidc.viewers and not file.oidc.operators:
        found.complain(path, "lets nobody in; name groups in `viewers` or `operators`")
    if file.admin_url is None:
        found.complain(path, "needs `admin_url`, to which the provider sends people back")
    elif not is_private(file.admin_url):
        found.complain(("admin_url",), f"{_TLS}, and with `oidc` a session begins there")
    if not is_private(file.oidc.issuer):
        found.complain((*path, "issuer"), _TLS)
    elif urlsplit(file.oidc.issuer).query or urlsplit(file.oidc.issuer).fragment:
        found.complain((*path, "issuer"), "must end with its path; remove ? or # and what follows")
