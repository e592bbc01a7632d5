"""Publishes this machine's outcomes to the leader by the stream, in short form. The store gets everything."""

from msgspec import structs

from control.events import WorkerEvents
from records.outcome import Feedback, Heartbeat, Outcome
from records.shared.brief import brief
from records.shared.stream import RECORDS_A_DISPATCH, Dispatch, Outgoing


class StreamPublisher:
    """The listener that publishes events. It never blocks."""

    def __init__(self, outgoing: Outgoing, *, replica: str) -> None:
        self._outgoing, self._replica = outgoing, replica

    def take(self, events: WorkerEvents) -> None:
        """Publish outcomes and feedback of canaries, and each worker's last heartbeat. Exchanges in flight go
        before the outcomes that may end them."""
        self._put_in_flight(events)
        outcomes = [brief(each) for each in events.records if type(each) is Outcome and each.canary]
        feedback = [each for each in events.records if type(each) is Feedback and each.canary]
        beats = list(_last_of_each(events).values())
        if not (events.heard or outcomes or feedback or beats):
            return
        for start in range(0, max(len(outcomes), len(feedback), 1), RECORDS_A_DISPATCH):
            part = slice(start, start + RECORDS_A_DISPATCH)
            first = start == 0
            self._outgoing.put(
                Dispatch(
                    replica=self._replica,
                    heard=events.heard if first else 0,
                    outcomes=outcomes[part],
                    feedback=feedback[part],
                    beats=beats if first else (),
                    unmatched=events.unmatched if first else (),
                    callers=events.callers if first else (),
                )
            )

    def _put_in_flight(self, events: WorkerEvents) -> None:
        told = [(slot, pid, record) for (_, slot, pid), record in events.in_flight]
        for start in range(0, len(told), RECORDS_A_DISPATCH):
            part = told[start : start + RECORDS_A_DISPATCH]
            self._outgoing.put(Dispatch(replica=self._replica, in_flight=part))


def _last_of_each(events: WorkerEvents) -> dict[object, Heartbeat]:
    """Each worker's last heartbeat, with the dropped mirror copies of all its heartbeats added up."""
    last: dict[object, Heartbeat] = {}
    for key, beat in events.beats:
        before = last.get(key)
        last[key] = beat if before is None else _together(before, beat)
    return last


def _together(before: Heartbeat, beat: Heartbeat) -> Heartbeat:
    if not before.mirrors_dropped:
        return beat
    dropped = dict(before.mirrors_dropped)
    for name, count in beat.mirrors_dropped.items():
        dropped[name] = dropped.get(name, 0) + count
    return structs.replace(beat, mirrors_dropped=dropped)
