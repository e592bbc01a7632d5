"""A small file is there whole or as it was, and what the disk refuses leaves nothing behind."""

import subprocess
import sys
from pathlib import Path

from common.whole_file import write_whole

FULL = """
import resource, signal, sys
from pathlib import Path
from common.whole_file import write_whole
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    write_whole(Path(sys.argv[1]), b"x" * 1000)
except OSError:
    sys.exit(3)
"""


def test_it_takes_the_place_of_what_was_there(tmp_path: Path) -> None:
    for data in (b"first", b"second"):
        write_whole(tmp_path / "file", data)
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("file", b"second")]


def test_what_a_full_disk_refuses_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", b"first")
    ran = subprocess.run([sys.executable, "-c", FULL, str(tmp_path / "file")], timeout=120, check=False)
    assert ran.returncode == 3
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("file", b"first")]
