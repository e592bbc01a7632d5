"""An operator is told once when records are dropped or do not reach the store, and once when that is over."""

from alerts.incidents.incident import (
    LAGS_AFTER_S,
    LEAST_ROOM_BYTES,
    MANY_WAITING,
    REFUSED_FOR_S,
    RESOLVE_AFTER_S,
    RecordAlarm,
    RecordState,
)
from alerts.incidents.notice import Notice

FINE = RecordState(dropped=0, room_bytes=1 << 30, waiting=3, down="")
UTC = 1_764_000_000.0


class Clock:
    """A hand clock before the rules."""

    def __init__(self) -> None:
        self.alarm = RecordAlarm()
        self.now = 100.0

    def look(self, facts: RecordState, after_s: float = 1.0) -> list[tuple[str, str]]:
        self.now += after_s
        told: list[Notice] = self.alarm.decide(facts, now_utc=UTC + self.now, now_mono=self.now)
        return [(notice.event, notice.rules[0]) for notice in told]

    def read(self, refused: str, after_s: float = 1.0) -> list[tuple[str, str]]:
        self.now += after_s
        told = self.alarm.decide_config(refused, now_utc=UTC + self.now, now_mono=self.now)
        return [(notice.event, notice.headline) for notice in told]


def facts(dropped: int = 0, room: int | None = 1 << 30, waiting: int = 3, down: str = "") -> RecordState:
    return RecordState(dropped=dropped, room_bytes=room, waiting=waiting, down=down)


def test_all_is_quiet_while_records_are_kept() -> None:
    clock = Clock()
    assert [clock.look(FINE) for _ in range(400)] == [[]] * 400
    assert clock.alarm.troubles == []


def test_drops_page_once_and_resolve_half_an_hour_after_the_last() -> None:
    clock = Clock()
    assert clock.look(facts(dropped=7)) == [("page", "records_dropped")]
    assert clock.alarm.troubles == ["7 records were dropped in the last minute"]
    assert clock.look(facts(dropped=2)) == []
    assert clock.alarm.troubles == ["9 records were dropped in the last minute"]
    assert clock.look(FINE, 61.0) == []
    assert clock.alarm.troubles == []
    assert clock.look(FINE, RESOLVE_AFTER_S) == [("resolved", "records_dropped")]
    assert clock.look(facts(dropped=1)) == [("page", "records_dropped")]


def test_a_spool_without_room_pages_before_a_drop_can_be_counted() -> None:
    clock = Clock()
    assert clock.look(facts(room=LEAST_ROOM_BYTES)) == []
    assert clock.look(facts(room=LEAST_ROOM_BYTES - 1)) == [("page", "records_dropped")]
    assert "the spool is full" in clock.alarm.troubles[0]


def test_a_room_that_cannot_be_told_is_no_lack_of_room() -> None:
    assert Clock().look(facts(room=None)) == []


def test_a_store_that_does_not_answer_pages_after_five_minutes() -> None:
    clock = Clock()
    assert clock.look(facts(down="connection refused")) == []
    assert clock.look(facts(down="connection refused"), LAGS_AFTER_S - 1.0) == []
    assert clock.look(facts(waiting=99, down="connection refused")) == [("page", "shipping_lags")]
    assert "99 records have waited" in clock.alarm.troubles[0]
    assert "connection refused" in clock.alarm.troubles[0]
    assert clock.look(FINE) == []
    assert clock.look(FINE, RESOLVE_AFTER_S) == [("resolved", "shipping_lags")]


def test_a_backlog_that_comes_and_goes_is_no_lag() -> None:
    clock = Clock()
    for _ in range(10):
        assert clock.look(facts(waiting=MANY_WAITING + 1), LAGS_AFTER_S - 2.0) == []
        assert clock.look(FINE) == []


def test_both_can_go_wrong_at_once_and_are_two_incidents() -> None:
    clock = Clock()
    clock.look(facts(down="gone"))
    told = clock.alarm.decide(facts(dropped=1, down="gone"), now_utc=UTC, now_mono=clock.now + LAGS_AFTER_S)
    assert [notice.event for notice in told] == ["page", "page"]
    assert len({notice.dedup_key for notice in told}) == 2


def test_what_was_paged_is_known_after_a_restart() -> None:
    clock = Clock()
    clock.look(facts(dropped=1))
    again = Clock()
    again.alarm.restore(clock.alarm.snapshot())
    assert again.look(facts(dropped=1)) == []
    assert again.look(FINE, 61.0) == []
    assert again.look(FINE, RESOLVE_AFTER_S) == [("resolved", "records_dropped")]


def test_a_config_that_stays_refused_for_a_minute_pages_once_until_it_is_mended() -> None:
    clock, why = Clock(), "canary 'trial' is not the one that started"
    assert clock.read(why) == []
    assert clock.read("", 59.0) == []  # mended in time
    assert clock.read(why) == []
    assert clock.read(why, REFUSED_FOR_S - 1.0) == []
    ((event, headline),) = clock.read(why)
    assert event == "page"
    assert headline.startswith(
        "The config file is refused, and changes nothing: canary 'trial' is not the one that started"
    )
    assert clock.read(why, 3600.0) == []
    assert clock.alarm.troubles == []  # `/readyz` says it by itself
    again = Clock()
    again.alarm.restore(clock.alarm.snapshot())
    again.now = clock.now
    assert again.read("") == []
    ((event, _),) = again.read("", RESOLVE_AFTER_S)
    assert event == "resolved"
