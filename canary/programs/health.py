"""A container's health check: exits 0 if the server of the data folder answers, with TLS or without.

`python -P -m canary.programs.health`. It asks the traffic listener, or the admin listener of a server without
one. It sends no secret and reads only the status, so it does not verify the certificate, which is for the
callers' names. 401 is well, too: `/healthz` of the admin listener requires the metrics token if that is set.
"""

import json
import os
import ssl
import sys
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

WITHIN_S = 2.0


def healthy(data: Path) -> bool:
    """True if the server that has `data` as its folder answers within 2 s."""
    try:
        addresses = json.loads((data / "server.json").read_text())
        server = _connection(addresses.get("traffic") or addresses["admin"])
        server.request("GET", "/healthz")
        return server.getresponse().status in (200, 401)
    except (OSError, HTTPException, ValueError, KeyError):
        return False


def _connection(url: str) -> HTTPConnection:
    scheme, place, *_ = urlsplit(url)
    if scheme == "http":
        return HTTPConnection(place, timeout=WITHIN_S)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return HTTPSConnection(place, timeout=WITHIN_S, context=context)


if __name__ == "__main__":
    sys.exit(not healthy(Path(os.environ.get("CANARY_DATA", "canary-data"))))
