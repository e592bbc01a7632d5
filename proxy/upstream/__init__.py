"""The upstream side: an HTTP/1.1 connection pool over llhttp. One seam, `Upstreams.send` → `Answer`."""

from proxy.upstream.answer import Answer
from proxy.upstream.errors import UpstreamError
from proxy.upstream.pool import Upstreams

__all__ = ["Answer", "UpstreamError", "Upstreams"]
