"""Files of captured exchanges, whole or not there."""

import os
import stat
from pathlib import Path

import pytest

from records.captures import capture
from records.captures.capture import (
    Capture,
    CapturedMessage,
    CaptureInfo,
    delete_left_behind,
    unstored,
    write_captures,
)


def a_capture(serial: int = 1, *, expires_at: float = 20000.0) -> Capture:
    about = CaptureInfo(
        exchange_id=f"e-{serial}",
        at=1000.0,
        expires_at=expires_at,
        canary="support",
        run=1,
        phase=0,
        arm="baseline",
        kept="rate",
    )
    return Capture(about=about, messages=(CapturedMessage("user", "Why?"),), answer="Blue.")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "captures"


def test_what_is_written_is_read_oldest_first(folder: Path) -> None:
    assert list(unstored(folder)) == []
    assert write_captures(folder, [a_capture(1), a_capture(2)]) and write_captures(folder, [a_capture(3)])
    found = [[each.about.exchange_id for each in file.captures] for file in unstored(folder)]
    assert found == [["e-1", "e-2"], ["e-3"]]
    assert next(unstored(folder)).captures[0] == a_capture(1)


def test_nobody_else_may_read_them(folder: Path) -> None:
    write_captures(folder, [a_capture()])
    (file,) = unstored(folder)
    assert (stat.S_IMODE(folder.stat().st_mode), stat.S_IMODE(file.path.stat().st_mode)) == (0o700, 0o600)


def test_a_full_folder_takes_no_more(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_captures(folder, [a_capture()])
    monkeypatch.setattr(capture, "CAP_BYTES", 400)
    assert not write_captures(folder, [a_capture(2)])
    assert len(list(unstored(folder))) == 1


def test_expired_damaged_and_half_written_files_are_cleared(folder: Path) -> None:
    write_captures(folder, [a_capture(1, expires_at=15000.0), a_capture(2, expires_at=20000.0)])
    write_captures(folder, [a_capture(3, expires_at=15000.0)])
    (folder / "9.capture").write_bytes(b"[{")
    torn = folder / "x.capture.1.tmp"
    torn.write_bytes(b"[{")
    os.utime(torn, (0, 0))
    delete_left_behind(folder, now=15000.0)
    assert [len(file.captures) for file in unstored(folder)] == [2]
    assert not torn.exists()
    delete_left_behind(folder, now=20000.0)
    assert list(unstored(folder)) == []
