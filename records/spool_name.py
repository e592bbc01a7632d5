"""A spool folder's own name, by which a store that many machines write into tells their spools apart.

The names of spool files are unique to one machine only: containers share boot ids and process ids.
"""

import secrets
from pathlib import Path

from records.whole_file import write_whole


def of(folder: Path) -> str:
    """The folder's name: 32 hex digits in a file beside it, drawn when they are first asked for."""
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
