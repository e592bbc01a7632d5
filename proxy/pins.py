"""Pins: with the pin token, benchmarks and QA choose the arm."""

import hmac
from collections.abc import Callable, Mapping

from proxy.errors import Refused
from routing.canary import ArmName

PIN = b"x-canary-pin"
"""The header that asks for an arm."""

NAME = b"x-canary-name"
"""The header by which a pinned request says which of several canaries it means."""

_ARMS: Mapping[bytes, ArmName] = {b"baseline": "baseline", b"candidate": "candidate"}


class Pins:
    """Reads pins. `token()` returns the current pin token; None or "" switches pins off."""

    def __init__(self, token: Callable[[], str | None]) -> None:
        self._token = token

    def asked(self, named: Mapping[bytes, bytes]) -> ArmName | None:
        """Return the arm in `x-canary-pin`, or None. Raises Refused for a wrong token or an unknown arm."""
        pin = named.get(PIN)
        if pin is None:
            return None
        token, given = self._token(), named.get(b"x-canary-pin-token", b"")
        if not token or not hmac.compare_digest(token.encode(), given):
            raise Refused(
                403, "x-canary-pin needs the pin token in x-canary-pin-token", "caller_unauthorized"
            )
        if pin not in _ARMS:
            raise Refused(400, "x-canary-pin must be 'candidate' or 'baseline'", "caller_rejected")
        return _ARMS[pin]

    def asked_of(self, canary: str, named: Mapping[bytes, bytes]) -> ArmName | None:
        """As `asked`, of the canary that takes the request. Raises Refused when another one is named."""
        arm, name = self.asked(named), named.get(NAME)
        if arm is not None and name is not None and name != canary.encode():
            raise Refused(
                400, "x-canary-name must name a canary that matches the pinned request", "caller_rejected"
            )
        return arm
