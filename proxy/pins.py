"""The pin token's two uses: benchmarks and QA choose an arm, and a flag system's arms are signed."""

import hmac
from collections.abc import Callable, Mapping
from hashlib import sha256

from proxy.errors import Refused
from routing.assignment import Given
from routing.canary import ArmName

PIN = b"x-canary-pin"
"""The header that asks for an arm."""

NAME = b"x-canary-name"
"""The header by which a pinned request says which of several canaries it means."""

ASSIGNMENT = b"x-canary-assignment"
"""The header with a unit's arm from a flag system: `candidate; sig=HEX` or `baseline; sig=HEX`."""

_ARMS: Mapping[bytes, ArmName] = {b"baseline": "baseline", b"candidate": "candidate"}


class Pins:
    """Reads pins and given arms. `token()` returns the current pin token; None or "" switches both off."""

    def __init__(self, token: Callable[[], str | None]) -> None:
        self._token = token

    def asked(self, named: Mapping[bytes, bytes]) -> ArmName | None:
        """Return the arm in `x-canary-pin`, or None. Raises Refused for a wrong token or an unknown arm."""
        pin = named.get(PIN)
        if pin is None:
            return None
        token, given = self._token(), named.get(b"x-canary-pin-token", b"")
        if not token or not hmac.compare_digest(token.encode(errors="surrogateescape"), given):
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

    def given(self, canary: str, unit: str | None, named: Mapping[bytes, bytes]) -> Given:
        """Return the arm that a flag system gave this unit in this canary, or why there is none.

        It is signed with the pin token (`signature`). Never raises: a flag system's mistake fails no request.
        """
        header, token = named.get(ASSIGNMENT), self._token()
        if header is None or unit is None:
            return "no_assignment"
        arm, _, signed = header.partition(b";")
        name, equals, signature_given = signed.strip().partition(b"=")
        given = _ARMS.get(arm.strip())
        if given is None or not token or name != b"sig" or not equals:
            return "bad_assignment"
        wanted = signature(token, canary=canary, unit=unit, arm=given)
        good = hmac.compare_digest(wanted.encode(), signature_given.strip().lower())
        return given if good else "bad_assignment"


def signature(token: str, *, canary: str, unit: str, arm: ArmName) -> str:
    """Sign a unit's arm: HMAC-SHA-256 of `canary NUL unit NUL arm` in UTF-8, in hex digits.

    The token is taken as the bytes that the environment has, also if they are not UTF-8.
    """
    return hmac.new(
        token.encode(errors="surrogateescape"), f"{canary}\0{unit}\0{arm}".encode(), sha256
    ).hexdigest()
