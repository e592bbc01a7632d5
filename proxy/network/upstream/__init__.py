"""The upstream side: an HTTP/1.1 connection pool over llhttp. Its interface is `Upstreams`."""

from proxy.network.upstream.pool import Upstreams
from proxy.network.upstream.response import UpstreamError, UpstreamResponse

__all__ = ["UpstreamError", "UpstreamResponse", "Upstreams"]
