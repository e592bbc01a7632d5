"""Runs TensorZero's embedded gateway in its own venv's Python, with a config and a port file.

The gateway is the HTTP server that the package starts for patched OpenAI clients; Python only waits.
"""

import signal
import sys
from pathlib import Path
from urllib.parse import urlsplit

from tensorzero import tensorzero  # type: ignore[import-not-found]  # only its own venv has it


def main(config: str, address: Path) -> None:
    """Start the gateway, write its port, and wait for the end."""
    gateway = tensorzero._start_http_gateway(
        config_file=config, clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False
    )
    written = address.with_suffix(".new")
    written.write_text(str(urlsplit(gateway.base_url).port))
    written.rename(address)
    signal.pause()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
