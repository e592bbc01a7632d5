"""PostgreSQL's server-side cursor as large reads use it. Apart, because only PostgreSQL needs its driver."""

from typing import Any

import psycopg


class BinaryCursor(psycopg.ServerCursor[Any]):
    """A server-side cursor in binary format, which avoids converting numbers to text and back."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.format = psycopg.pq.Format.BINARY
