"""`make demo-replicas`: the demo on two replicas over a real PostgreSQL and a real Redis, both its own."""

import subprocess
import sys
from contextlib import closing

from tests.servers.postgres import Postgres
from tests.servers.redis import RedisServer


def main() -> int:
    """Start both servers, play the demo on them, end them; the demo's exit code."""
    with closing(Postgres()) as postgres, closing(RedisServer()) as redis:
        command = [sys.executable, "-m", "canary", "demo", "--store", postgres.fresh(), "--shared", redis.url]
        return subprocess.call([*command, *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
