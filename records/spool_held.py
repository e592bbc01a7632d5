"""Frames held in a worker's memory while the spool's disk hangs (ADR 8), lost if the worker is killed."""

import structlog

log = structlog.get_logger()

HELD_BYTES = 32 << 20


class Held:
    """Held frames in order, up to a bound: `size` bytes. `records` counts their outcomes and feedback."""

    def __init__(self, most_bytes: int = HELD_BYTES) -> None:
        self.records = self.size = 0
        self._frames = bytearray()
        self._most_bytes = most_bytes

    def put(self, frame: bytes, records: int) -> bool:
        """Hold a frame. False when the bound is reached."""
        if self.size + len(frame) > self._most_bytes:
            return False
        if not self.size:
            log.warning("spool.disk_hangs", effect="records wait in memory, feedback is refused")
        self._frames += frame
        self.size += len(frame)
        self.records += records
        return True

    def take(self) -> tuple[bytearray, int]:
        """Return all held frames and the number of their records, and hold none."""
        taken = self._frames, self.records
        self._frames, self.records, self.size = bytearray(), 0, 0
        log.warning("spool.disk_answers", records=taken[1])
        return taken
