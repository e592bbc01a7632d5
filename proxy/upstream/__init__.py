"""The upstream side: an HTTP/1.1 connection pool over llhttp. Its interface is `Upstreams`."""

from proxy.upstream.errors import UpstreamError
from proxy.upstream.pool import Upstreams
from proxy.upstream.upstream_response import UpstreamResponse

__all__ = ["UpstreamError", "UpstreamResponse", "Upstreams"]
