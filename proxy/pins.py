"""Pins: benchmarks and QA ask for one arm, with a token of their own."""

import hmac
from collections.abc import Callable, Mapping

from proxy.errors import Refused
from routing.canary import ArmName

_ARMS: Mapping[bytes, ArmName] = {b"baseline": "baseline", b"candidate": "candidate"}


class Pins:
    """`token()` is the pin token in force, None (or an empty one) when pins are switched off."""

    def __init__(self, token: Callable[[], str | None]) -> None:
        self._token = token

    def asked(self, named: Mapping[bytes, bytes]) -> ArmName | None:
        """The arm that `x-canary-pin` asks for; Refused without the right token or with another word."""
        pin = named.get(b"x-canary-pin")
        if pin is None:
            return None
        token, given = self._token(), named.get(b"x-canary-pin-token", b"")
        if not token or not hmac.compare_digest(token.encode(), given):
            raise Refused(
                403, "x-canary-pin needs the pin token in x-canary-pin-token", "caller_unauthorized"
            )
        if pin not in _ARMS:
            raise Refused(400, "x-canary-pin is 'candidate' or 'baseline'", "caller_rejected")
        return _ARMS[pin]
