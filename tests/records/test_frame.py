"""One spool frame, and finding the way again after damage."""

import random
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.outcome import (
    AttemptRecord,
    Feedback,
    Heartbeat,
    InFlight,
    Outcome,
    ProviderError,
    Record,
    Usage,
)
from records.spool.frame import HEADER, MAX_PAYLOAD, encode, scan

EVERYTHING = 1 << 30


def an_outcome(serial: int = 1, *, tags: dict[str, str] | None = None) -> Outcome:
    return Outcome(
        exchange_id=f"exchange-{serial}",
        at=1_795_000_000.5,
        mono=12.5,
        outcome="fallback",
        canary="support-nov",
        arm="candidate",
        served_by="baseline",
        tags=tags or {"region": "eu"},
        usage=Usage(input_tokens=10, output_tokens=20),
        cost_usd=0.001,
        finish="length",
        faults=("cut_off", "json_invalid"),
        output_check="judged",
        provider_error=ProviderError(code="unsupported_parameter", message="Unsupported parameter"),
        attempts=(
            AttemptRecord(
                arm="candidate", provider="openai", model="gpt-4o", status=500, error_type="provider_5xx"
            ),
            AttemptRecord(arm="baseline", provider="openai", model="gpt-4o", status=200, latency_s=0.5),
        ),
    )


def a_heartbeat() -> Heartbeat:
    return Heartbeat(
        worker=1, pid=2, at=3.0, mono=4.0, started=5, finished=4, dropped=0, lag_s=0.001, plan_version=7
    )


def an_exchange_in_flight() -> InFlight:
    return InFlight(
        exchange_id="exchange-2", at=1.0, mono=2.0, canary="support-nov", run=1, phase=0, share=0.05,
        arm="candidate", reason="cohort", unit="u", operation="chat", stream=True, tags={"region": "eu"},
    )  # fmt: skip


def frame_of(record: Record) -> bytes:
    return encode(record)


def test_a_frame_is_length_crc_and_a_payload_without_names() -> None:
    frame = frame_of(an_outcome())
    length, checksum = HEADER.unpack_from(frame)
    payload = frame[8:]
    assert (length, checksum) == (len(payload), crc32(payload))
    assert payload.startswith(b"\xc12o") and b"exchange-1" in payload and b"exchange_id" not in payload


def test_every_kind_of_record_comes_back_equal() -> None:
    records = [
        an_outcome(),
        a_heartbeat(),
        Feedback(key="k", metric="csat", value=4.0, at=1.0, mono=2.0, comment='a "quote" \\ é \u2028'),
        an_exchange_in_flight(),
    ]
    found = scan(b"".join(map(frame_of, records)), limit=EVERYTHING, final=False)
    assert found.records == records
    assert (found.bad, found.torn) == ([], False)


def test_a_record_over_the_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="over the spool"):
        frame_of(an_outcome(tags={"region": "x" * MAX_PAYLOAD}))


def test_a_limit_stops_between_frames() -> None:
    data = b"".join(frame_of(an_outcome(n)) for n in range(5))
    first = scan(data, limit=2, final=True)
    rest = scan(data[first.end :], limit=EVERYTHING, final=True)
    assert [r.exchange_id for r in [*first.records, *rest.records] if isinstance(r, Outcome)] == [
        f"exchange-{n}" for n in range(5)
    ]


@given(cut=st.integers(1, 400))
def test_a_torn_tail_is_waited_for_while_alive_and_bad_at_the_end(cut: int) -> None:
    whole, torn = frame_of(an_outcome(1)), frame_of(an_outcome(2))
    data = whole + torn[: min(cut, len(torn) - 1)]
    alive = scan(data, limit=EVERYTHING, final=False)
    assert (len(alive.records), alive.end, alive.torn, alive.bad) == (1, len(whole), True, [])
    ended = scan(data, limit=EVERYTHING, final=True)
    assert (len(ended.records), ended.end, ended.torn) == (1, len(data), False)
    assert [(bad.start, bad.end) for bad in ended.bad] == [(len(whole), len(data))]


def test_a_flipped_bit_anywhere_costs_its_own_frame_and_no_other() -> None:
    frames = [frame_of(an_outcome(n)) for n in range(3)]
    data = b"".join(frames)
    start, end = len(frames[0]), len(frames[0]) + len(frames[1])
    for place in range(start, end):
        flipped = bytearray(data)
        flipped[place] ^= 1 << (place % 8)
        found = scan(bytes(flipped), limit=EVERYTHING, final=True)
        assert found.records == [an_outcome(0), an_outcome(2)], f"a bit of byte {place}"
        assert [(bad.start, bad.end) for bad in found.bad] == [(start, end)]


def test_a_record_that_quotes_a_frame_is_not_taken_for_one() -> None:
    trap = an_outcome(
        1, tags={"outcome": '{"outcome":{"exchange_id":"forged","at":1,"mono":1,"outcome":"ok"}}'}
    )
    data = bytearray(frame_of(trap) + frame_of(an_outcome(2)))
    data[4] ^= 1
    assert scan(bytes(data), limit=EVERYTHING, final=True).records == [an_outcome(2)]


def test_a_valid_frame_of_something_unknown_is_bad_and_the_next_is_read() -> None:
    payload = b'{"outcome":{"exchange_id":5}}'
    unknown = HEADER.pack(len(payload), crc32(payload)) + payload
    found = scan(unknown + frame_of(a_heartbeat()), limit=EVERYTHING, final=True)
    assert found.records == [a_heartbeat()]
    assert len(found.bad) == 1


def test_any_rubbish_is_survived() -> None:
    dice = random.Random(4)
    for _ in range(200):
        rubbish = dice.randbytes(dice.randrange(0, 300))
        found = scan(rubbish + frame_of(an_outcome()), limit=EVERYTHING, final=True)
        assert found.records == [an_outcome()]
