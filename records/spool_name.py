"""The name of a spool folder, which distinguishes the spools of many machines in one store.

Names of spool files are not unique across machines, because containers share boot ids and process ids.
"""

import secrets
from pathlib import Path

from records.whole_file import write_whole


def of(folder: Path) -> str:
    """Return the folder's name: 32 hex digits from a file beside the folder, created on first use."""
    path = folder.with_suffix(".name")
    try:
        name = path.read_text().strip()
    except FileNotFoundError:
        name = ""
    if not name:
        name = secrets.token_hex(16)
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, name.encode())
    return name
