"""A pin needs its token, and names an arm."""

import pytest

from proxy.errors import Refused
from proxy.pins import Pins

PINS = Pins(lambda: "open sesame")


@pytest.mark.parametrize("arm", ["baseline", "candidate"])
def test_the_right_token_pins_an_arm(arm: str) -> None:
    named = {b"x-canary-pin": arm.encode(), b"x-canary-pin-token": b"open sesame"}
    assert PINS.asked(named) == arm


def test_without_a_pin_nobody_asks_for_the_token() -> None:
    assert PINS.asked({}) is None
    assert PINS.asked({b"x-canary-pin-token": b"wrong"}) is None
    assert Pins(lambda: None).asked({}) is None


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
        Pins(lambda: off).asked({b"x-canary-pin": b"candidate", **token})
    assert refused.value.status == 403


@pytest.mark.parametrize("word", [b"", b"Candidate", b"both", b"\xff"])
def test_a_pin_to_no_arm_is_refused_to_those_who_may_pin(word: bytes) -> None:
    with pytest.raises(Refused) as refused:
        PINS.asked({b"x-canary-pin": word, b"x-canary-pin-token": b"open sesame"})
    assert (refused.value.status, refused.value.error_type) == (400, "caller_rejected")


def test_the_token_is_read_anew_each_time() -> None:
    tokens = iter(["old", "new"])
    pins = Pins(lambda: next(tokens))
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
