"""A small file is there whole or as it was, and what the disk refuses leaves nothing behind."""

import subprocess
import sys
from pathlib import Path

import pytest

from common.whole_file import write_whole
from tests.reliability.test_r04_spool_full import namespaces_work

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


ON_A_FULL_DISK = """
import sys
from contextlib import suppress
from pathlib import Path
from common.whole_file import FileWatch, write_whole
file, big = Path("/mnt/file"), Path("/mnt/big")
write_whole(file, b"first" + b" " * 4096, durable=False)
watch = FileWatch(file, bytes.strip)
assert watch.replacement() == b"first"
with suppress(OSError), big.open("wb", buffering=0) as ballast:
    while ballast.write(b"x" * 4096):
        pass
for text in (b"second", b"x" * 8000, b"third one"):
    write_whole(file, text, durable=False)
    assert watch.replacement() == text
    assert file.stat().st_size >= 4096
with suppress(OSError):
    write_whole(file, b"y" * 9000, durable=False)
    sys.exit("more than the file had")
assert file.read_bytes().strip() == b"third one"
assert sorted(Path("/mnt").iterdir()) == [big, file]
"""
SMALL_DISK = 'mount -t tmpfs -o size=64k small /mnt && exec "$@"'


@pytest.mark.skipif(not namespaces_work(), reason="needs root and `unshare -m` for a small disk")
def test_on_a_full_disk_a_text_that_fits_goes_over_the_old_one() -> None:
    run = ["unshare", "-m", "sh", "-c", SMALL_DISK, "sh", sys.executable, "-c", ON_A_FULL_DISK]
    ran = subprocess.run(run, timeout=120, check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
