"""What one reader of a spool folder has decoded, kept for the folder's other reader. Thread-safe, bounded."""

import threading

from records.frame import Scan

MOST = 2_500
"""Records kept, some 5 MiB: a quarter of a second of a busy machine. What is dropped is decoded twice."""


class Decoded:
    """Scans by file and the offset at which they begin. Each is taken once; the oldest are dropped."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._scans: dict[tuple[str, int], Scan] = {}
        self._records = 0

    def put(self, file: str, start: int, scan: Scan) -> None:
        """Keep a scan. One with damage is left to the other reader, which may have to quarantine it."""
        if scan.bad or not scan.records:
            return
        with self._lock:
            self._scans[file, start] = scan
            self._records += len(scan.records)
            while self._records > MOST:
                self._records -= len(self._scans.pop(next(iter(self._scans))).records)

    def take(self, file: str, start: int) -> Scan | None:
        """Take the scan that begins here; None if there is none."""
        with self._lock:
            scan = self._scans.pop((file, start), None)
            if scan is not None:
                self._records -= len(scan.records)
            return scan

    def next_start(self, file: str, after: int) -> int | None:
        """The offset at which the file's next scan begins; None if there is none."""
        with self._lock:
            return min((at for name, at in self._scans if name == file and at > after), default=None)
