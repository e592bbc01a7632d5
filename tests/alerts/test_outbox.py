"""The queue of what is to be told: order, backoff, checkpoints."""

import json
from dataclasses import replace

import pytest

from alerts.incidents.notice import EventName, Notice, Receiver
from alerts.incidents.notifier import ENTRIES, GIVE_UP_AFTER_S, Outbox

HOOK = Receiver(kind="webhook", url="http://hook.example/secret-path")
MANAGER = Receiver(kind="alertmanager", url="http://am.example")


def notice(sequence: int, event: EventName = "update", key: str = "canary:c:1") -> Notice:
    return Notice(
        event=event,
        dedup_key=key,
        sequence=sequence,
        at=0.0,
        canary="c",
        incident="1",
        opened_at=0.0,
        headline="h",
        rules=(),
        details={},
        done="",
    )


def test_every_receiver_gets_every_notice_once() -> None:
    outbox = Outbox([HOOK, MANAGER])
    outbox.put([notice(0, "page")], 0.0)
    outbox.put([notice(0, "page")], 0.0)
    assert len(outbox.due(0.0)) == 2


def test_an_incident_s_notices_go_out_in_order_and_do_not_overtake_a_failed_one() -> None:
    outbox = Outbox([HOOK])
    outbox.put([notice(0, "page"), notice(1), notice(0, "page", key="canary:d:1")], 0.0)
    first, other = outbox.due(0.0)
    assert (first.notice.sequence, other.notice.dedup_key) == (0, "canary:d:1")
    outbox.mark_failed(first, 0.0)
    assert outbox.due(0.5) == [other]
    outbox.mark_delivered(first, 1.0)
    assert [entry.notice.sequence for entry in outbox.due(1.0)] == [1, 0]


def test_failures_back_off_to_a_minute() -> None:
    outbox = Outbox([HOOK])
    outbox.put([notice(0)], 0.0)
    (entry,) = outbox.due(0.0)
    waits = []
    now = 0.0
    for _ in range(9):
        outbox.mark_failed(entry, now)
        waits.append(entry.due_at - now)
        now = entry.due_at
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert outbox.due(now) == [entry]


def test_a_receiver_that_nothing_gets_through_to_is_told_of_until_it_does() -> None:
    outbox = Outbox([HOOK, MANAGER])
    outbox.put([notice(0)], 0.0)
    first, _ = outbox.due(0.0)
    told = []
    for _ in range(3):
        outbox.mark_failed(first, 0.0)
        told.append(outbox.troubles())
    assert told == [[], [], ["webhook does not accept pages: 3 attempts failed"]]
    outbox.mark_delivered(first, 9.0)
    assert outbox.troubles() == []


def test_a_receiver_that_says_when_is_heeded() -> None:
    outbox = Outbox([HOOK])
    outbox.put([notice(0)], 0.0)
    (entry,) = outbox.due(0.0)
    outbox.mark_failed(entry, 0.0, retry_after_s=120.0)
    assert outbox.due(119.0) == []
    assert outbox.due(120.0) == [entry]


def test_what_is_refused_or_a_day_old_is_given_up_and_counted() -> None:
    outbox = Outbox([HOOK])
    outbox.put([notice(0), notice(1)], 0.0)
    outbox.mark_failed(outbox.due(0.0)[0], 0.0, refused=True)
    outbox.mark_failed(outbox.due(0.0)[0], GIVE_UP_AFTER_S)
    assert (outbox.state.entries, outbox.state.given_up) == ([], 2)


def test_alertmanager_is_told_again_each_minute_until_it_is_over() -> None:
    outbox = Outbox([MANAGER])
    outbox.put([notice(0, "page")], 0.0)
    outbox.mark_delivered(outbox.due(0.0)[0], 0.0)
    assert outbox.due(59.0) == []
    (again,) = outbox.due(60.0)
    outbox.mark_delivered(again, 60.0)
    assert (outbox.due(119.9), len(outbox.due(120.0))) == ([], 1)
    assert outbox.state.delivered == 1
    outbox.put([notice(1, "resolved")], 100.0)
    (over,) = outbox.due(100.0)
    outbox.mark_delivered(over, 100.0)
    assert outbox.state.entries == []


def test_a_repost_that_a_newer_notice_replaced_while_it_was_under_way_is_let_go() -> None:
    outbox = Outbox([MANAGER])
    outbox.put([notice(0, "page")], 0.0)
    outbox.mark_delivered(outbox.due(0.0)[0], 0.0)
    (again,) = outbox.due(60.0)
    outbox.put([notice(1, "resolved")], 60.0)
    outbox.mark_delivered(again, 61.0)
    outbox.mark_failed(again, 61.0)
    assert [entry.notice.event for entry in outbox.due(61.0)] == ["resolved"]


def test_the_queue_survives_a_checkpoint_without_telling_where_it_sends() -> None:
    outbox = Outbox([HOOK, MANAGER])
    outbox.put([notice(0, "page"), notice(1)], 0.0)
    outbox.mark_failed(outbox.due(0.0)[0], 0.0)
    text = json.dumps(outbox.snapshot())
    assert "secret-path" not in text
    again = Outbox([HOOK, MANAGER])
    again.restore(json.loads(text))
    assert again.state == outbox.state


def test_a_receiver_that_left_the_config_is_not_waited_for() -> None:
    outbox = Outbox([HOOK, MANAGER])
    outbox.put([notice(0)], 0.0)
    fewer = Outbox([replace(HOOK)])
    fewer.restore(outbox.snapshot())
    assert (len(fewer.due(0.0)), fewer.state.given_up) == (1, 1)


def test_the_queue_is_bounded() -> None:
    outbox = Outbox([HOOK])
    outbox.put([notice(sequence) for sequence in range(ENTRIES + 3)], 0.0)
    assert outbox.state.given_up == 3
    assert outbox.due(0.0)[0].notice.sequence == 3


@pytest.mark.parametrize("receiver", [HOOK, MANAGER])
def test_a_receiver_s_address_is_in_no_repr(receiver: Receiver) -> None:
    assert "example" not in repr(receiver)
