"""The upstream side: an HTTP/1.1 connection pool over llhttp. One seam: `Upstreams.send`."""

from proxy.upstream.errors import UpstreamError
from proxy.upstream.pool import Upstreams
from proxy.upstream.upstream_response import UpstreamResponse

__all__ = ["UpstreamError", "UpstreamResponse", "Upstreams"]
