"""The signed exchange id."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.errors import BadExchangeId
from records.facts.exchange_id import VALID_FOR_S, mint, verify
from routing.canary import ArmName
from routing.cohort import derive_key, unit_hash

KEY = derive_key(b"secret", "ids")
OLD_KEY = derive_key(b"previous secret", "ids")
UNIT = unit_hash(KEY, "user-1")
AT = 1_795_000_000.25
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def a_text(
    key: bytes = KEY, *, canary: str = "support-nov", unit: str = UNIT, serial: bytes = b"12345678"
) -> str:
    return mint(key, canary=canary, run=2, phase=3, arm="candidate", unit_hash=unit, at=AT, serial=serial)


def reason_of(text: str, *, keys: tuple[bytes, ...] = (KEY,), now: float = AT) -> str:
    with pytest.raises(BadExchangeId) as caught:
        verify(keys, text, now=now)
    assert len(str(caught.value)) > 20
    return caught.value.reason


@given(
    canary=st.text(max_size=80).filter(lambda text: text.isprintable()),
    run=st.integers(0, 2**32 - 1),
    phase=st.integers(0, 2**32 - 1),
    arm=st.sampled_from(["baseline", "candidate"]),
    unit=st.sampled_from(["", UNIT]),
    at=st.floats(0, 4e9),
    serial=st.binary(min_size=8, max_size=8),
)
def test_what_was_signed_is_what_is_read(
    canary: str, run: int, phase: int, arm: ArmName, unit: str, at: float, serial: bytes
) -> None:
    text = mint(KEY, canary=canary, run=run, phase=phase, arm=arm, unit_hash=unit, at=at, serial=serial)
    reference = verify([KEY], text, now=at)
    assert (reference.canary, reference.run, reference.phase) == (canary, run, phase)
    assert (reference.arm, reference.unit, reference.exchange_id) == (arm, unit, text)
    assert reference.at == pytest.approx(at, abs=2e-6)


def test_the_text_needs_no_quoting_in_a_url_or_header() -> None:
    for _ in range(200):
        assert set(a_text(serial=os.urandom(8))) <= set(ALPHABET)


def test_a_published_vector_pins_the_format() -> None:
    text = mint(
        bytes(range(32)),
        canary="support-nov",
        run=1,
        phase=2,
        arm="candidate",
        unit_hash="00112233445566778899aabbccddeeff",
        at=1_700_000_000.5,
        serial=b"\0\1\2\3\4\5\6\7",
    )
    assert text == (
        "AQMABgokGCXhIAAAAAEAAAACAAECAwQFBgcAESIzRFVmd4iZqrvM3e7_c3VwcG9ydC1ub3bslTSIdXHMl_CFUYZiTsug"
    )


def test_serials_make_ids_of_the_same_moment_unique() -> None:
    assert len({a_text(serial=os.urandom(8)) for _ in range(1000)}) == 1000


def test_every_changed_character_is_refused() -> None:
    text = a_text()
    for place in range(len(text)):
        other = "A" if text[place] != "A" else "B"
        assert reason_of(text[:place] + other + text[place + 1 :]) in ("forged", "malformed")


def test_an_id_has_only_one_spelling() -> None:
    text = a_text(canary="support-no")
    assert len(text) % 4
    spellings = {
        text + "=",
        text + "==",
        text + "\n",
        " " + text,
        text.replace("-", "+").replace("_", "/") + "=",
    }
    last_bits = {text[:-1] + char for char in ALPHABET}
    for spelling in (spellings | last_bits) - {text}:
        assert reason_of(spelling) in ("malformed", "forged")


def test_another_keys_signature_is_forged() -> None:
    assert reason_of(a_text(OLD_KEY)) == "forged"


def test_a_key_being_rotated_out_still_verifies() -> None:
    assert verify([KEY, OLD_KEY], a_text(OLD_KEY), now=AT).canary == "support-nov"
    assert reason_of(a_text(), keys=()) == "forged"


def test_an_id_expires_after_ninety_days_and_not_before() -> None:
    text = a_text()
    assert verify([KEY], text, now=AT + VALID_FOR_S - 1).arm == "candidate"
    assert reason_of(text, now=AT + VALID_FOR_S + 1) == "expired"


def test_a_clock_that_stepped_back_makes_no_id_invalid() -> None:
    assert verify([KEY], a_text(), now=AT - 3600).run == 2


@pytest.mark.parametrize("text", ["", "hello", "é" * 90, "A" * 40, "!" * 120, "chatcmpl-9f8d7"])
def test_other_peoples_ids_are_malformed(text: str) -> None:
    assert reason_of(text) == "malformed"


def test_a_unit_hash_of_the_wrong_length_cannot_be_signed() -> None:
    with pytest.raises(ValueError, match="32 hex"):
        a_text(unit="abcd")
