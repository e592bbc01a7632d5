"""Which exchanges count: one of each unit's minute, the first to start, in order of completion."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from alerts.evidence.exchanges import MINUTE_S, PENDING, FirstStartedExchanges, GuardrailSample


def sample(serial: int, *, started: float, took: float, unit: str = "u") -> GuardrailSample:
    return GuardrailSample(started + took, serial, started, unit, True, 0.05, False, took, None)


def serials(first: FirstStartedExchanges, until: float) -> list[int]:
    return [taken.serial for taken in first.release(until)]


def test_the_first_started_counts_although_it_ends_last() -> None:
    first = FirstStartedExchanges()
    first.offer(sample(1, started=1.0, took=0.1))
    first.offer(sample(2, started=0.0, took=5.0))
    assert serials(first, 100.0) == [2]


def test_what_ends_after_the_wait_comes_too_late_for_its_minute() -> None:
    first = FirstStartedExchanges()
    first.offer(sample(1, started=1.0, took=0.1))
    assert serials(first, 2.0) == [1]
    first.offer(sample(2, started=0.0, took=5.0))
    assert serials(first, 100.0) == []


def test_every_minute_of_a_unit_counts_once() -> None:
    first = FirstStartedExchanges()
    for serial in range(12):
        first.offer(sample(serial, started=serial * 20.0, took=1.0))
    assert serials(first, 1000.0) == [0, 3, 6, 9]


def test_units_are_taken_in_order_of_completion() -> None:
    first = FirstStartedExchanges()
    for serial, took in enumerate([9.0, 1.0, 5.0]):
        first.offer(sample(serial, started=0.0, took=took, unit=f"u{serial}"))
    assert serials(first, 4.0) == [1]
    assert serials(first, 100.0) == [2, 0]


def test_a_slow_exchange_of_an_earlier_minute_still_counts() -> None:
    first = FirstStartedExchanges()
    first.offer(sample(1, started=70.0, took=1.0))
    assert serials(first, 80.0) == [1]
    first.offer(sample(2, started=10.0, took=300.0))
    assert serials(first, 400.0) == [2]


def test_idle_units_are_forgotten() -> None:
    first = FirstStartedExchanges()
    first.offer(sample(1, started=0.0, took=1.0))
    assert serials(first, 2.0) == [1]
    first.forget_before(600.0)
    assert first.minutes
    first.forget_before(1000.0)
    assert not first.minutes


def test_the_queue_is_bounded_and_the_oldest_go_first() -> None:
    first = FirstStartedExchanges()
    for serial in range(PENDING + 5):
        first.offer(sample(serial, started=1000.0, took=serial * 1e-6, unit=f"u{serial}"))
    assert serials(first, 0.0) == [0, 1, 2, 3, 4]


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 400), st.floats(0, 90)), min_size=1, max_size=40)
)
def test_waiting_long_enough_takes_exactly_the_first_started_of_every_minute(
    exchanges: list[tuple[str, float, float]],
) -> None:
    samples = [sample(i, started=s, took=t, unit=u) for i, (u, s, t) in enumerate(exchanges)]
    first = FirstStartedExchanges()
    for one in sorted(samples):
        first.offer(one)
    taken = list(first.release(1e9))
    earliest: dict[tuple[str, int], float] = {}
    for one in samples:
        key = (one.unit, int(one.started // MINUTE_S))
        earliest[key] = min(earliest.get(key, one.started), one.started)
    assert {(t.unit, int(t.started // MINUTE_S)): t.started for t in taken} == earliest
    assert len(taken) == len(earliest)
    assert taken == sorted(taken)


def test_the_queue_survives_a_checkpoint() -> None:
    first = FirstStartedExchanges()
    first.offer(sample(1, started=0.0, took=1.0))
    assert serials(first, 2.0) == [1]
    first.offer(sample(2, started=1.0, took=3.0))
    first.offer(sample(3, started=100.0, took=3.0))
    document = msgspec.json.decode(msgspec.json.encode(msgspec.to_builtins(first, str_keys=True)))
    again = msgspec.convert(document, FirstStartedExchanges, str_keys=True)
    assert serials(again, 1000.0) == serials(first, 1000.0) == [3]
