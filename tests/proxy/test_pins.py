"""A pin needs its token, and names an arm."""

import hmac
import os

import pytest

from proxy.calls.canary_choice import ArmPins, signature
from proxy.calls.refusal import Refused

PINS = ArmPins(lambda: "open sesame")


@pytest.mark.parametrize("arm", ["baseline", "candidate"])
def test_the_right_token_pins_an_arm(arm: str) -> None:
    named = {b"x-canary-pin": arm.encode(), b"x-canary-pin-token": b"open sesame"}
    assert PINS.asked(named) == arm


def test_without_a_pin_nobody_asks_for_the_token() -> None:
    assert PINS.asked({}) is None
    assert PINS.asked({b"x-canary-pin-token": b"wrong"}) is None
    assert ArmPins(lambda: None).asked({}) is None


@pytest.mark.parametrize("token", [None, b"", b"open", b"open sesame ", b"Open sesame", "öffne".encode()])
def test_another_token_is_refused(token: bytes | None) -> None:
    named = {b"x-canary-pin": b"candidate"} | ({b"x-canary-pin-token": token} if token is not None else {})
    with pytest.raises(Refused) as refused:
        PINS.asked(named)
    assert (refused.value.status, refused.value.error_type) == (403, "caller_unauthorized")
    assert "open sesame" not in refused.value.message


@pytest.mark.parametrize("off", [None, ""])
@pytest.mark.parametrize("token", [{}, {b"x-canary-pin-token": b""}, {b"x-canary-pin-token": b"None"}])
def test_where_pins_are_switched_off_no_token_is_right(off: str | None, token: dict[bytes, bytes]) -> None:
    with pytest.raises(Refused) as refused:
        ArmPins(lambda: off).asked({b"x-canary-pin": b"candidate", **token})
    assert refused.value.status == 403


@pytest.mark.parametrize("word", [b"", b"Candidate", b"both", b"\xff"])
def test_a_pin_to_no_arm_is_refused_to_those_who_may_pin(word: bytes) -> None:
    with pytest.raises(Refused) as refused:
        PINS.asked({b"x-canary-pin": word, b"x-canary-pin-token": b"open sesame"})
    assert (refused.value.status, refused.value.error_type) == (400, "caller_rejected")


def test_the_token_is_read_anew_each_time() -> None:
    tokens = iter(["old", "new"])
    pins = ArmPins(lambda: next(tokens))
    named = {b"x-canary-pin": b"baseline", b"x-canary-pin-token": b"old"}
    assert pins.asked(named) == "baseline"
    with pytest.raises(Refused):
        pins.asked(named)


def test_a_pinned_request_names_the_canary_that_takes_it_or_none() -> None:
    named = {b"x-canary-pin": b"candidate", b"x-canary-pin-token": b"open sesame"}
    assert (
        PINS.asked_of("one", named) == PINS.asked_of("one", named | {b"x-canary-name": b"one"}) == "candidate"
    )
    assert PINS.asked_of("one", {b"x-canary-name": b"two"}) is None
    with pytest.raises(Refused, match="must name a canary that matches the pinned request") as refused:
        PINS.asked_of("one", named | {b"x-canary-name": b"two"})
    assert (refused.value.status, refused.value.error_type) == (400, "caller_rejected")


def test_a_signature_is_the_published_one() -> None:
    signed = signature("open sesame", canary="support-nov", unit="user-1", arm="candidate")
    assert signed == ("a0e28d871ef0caef80ce164d355cf0f5f0a1617d7fe5fb12e691fce1ba5b517d")


def given(header: bytes | None, unit: str | None = "user-1", pins: ArmPins = PINS) -> str:
    named = {} if header is None else {b"x-canary-assignment": header}
    return pins.given("one", unit, named)


GOOD = signature("open sesame", canary="one", unit="user-1", arm="candidate").encode()


@pytest.mark.parametrize(
    "form", [b"candidate; sig=%s", b"candidate;sig=%s", b" candidate ;  sig= %s ", b"candidate;\tsig=%s"]
)
def test_an_arm_that_is_signed_is_given(form: bytes) -> None:
    assert given(form % GOOD) == given(form % GOOD.upper()) == "candidate"


def test_a_request_without_an_arm_or_a_unit_is_given_none() -> None:
    assert given(None) == given(b"candidate; sig=%s" % GOOD, unit=None) == "no_assignment"


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"candidate",
        b"candidate; sig=",
        b"candidate; sig=" + b"0" * 64,
        b"baseline; sig=%s" % GOOD,
        b"candidate; token=%s" % GOOD,
        b"candidate; sig=%s; more" % GOOD,
        b"both; sig=%s" % GOOD,
        b"\xff; sig=\xff",
    ],
)
def test_another_signature_or_form_is_no_arm(header: bytes) -> None:
    assert given(header) == "bad_assignment"


def test_the_signature_of_another_unit_or_canary_is_no_arm() -> None:
    named = {b"x-canary-assignment": b"candidate; sig=%s" % GOOD}
    assert PINS.given("one", "user-2", named) == PINS.given("two", "user-1", named) == "bad_assignment"


@pytest.mark.parametrize("off", [None, ""])
def test_where_there_is_no_token_no_signature_is_right(off: str | None) -> None:
    unsigned = signature("", canary="one", unit="user-1", arm="candidate").encode()
    assert given(b"candidate; sig=%s" % unsigned, pins=ArmPins(lambda: off)) == "bad_assignment"


def test_a_token_that_is_not_utf_8_signs_as_the_bytes_that_it_is() -> None:
    token = os.fsdecode(b"caf\xe9")
    signed = hmac.new(b"caf\xe9", b"one\0user-1\0candidate", "sha256").hexdigest().encode()
    pins = ArmPins(lambda: token)
    assert given(b"candidate; sig=%s" % signed, pins=pins) == "candidate"
    assert pins.asked({b"x-canary-pin": b"candidate", b"x-canary-pin-token": b"caf\xe9"}) == "candidate"
