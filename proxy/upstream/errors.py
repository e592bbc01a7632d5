"""The one error of the upstream side.

    Exception
    └── UpstreamError   the attempt has no whole answer; `error_type` says in whose words

Foreign errors (OSError, ssl, llhttp) are mapped once, where they arise.
"""

from records.outcome import ErrorType


class UpstreamError(Exception):
    """An upstream attempt that broke: before its head (raised by `send`) or in its body (by `read`).

    `error_type` is one of provider_connect, provider_timeout, provider_reset, provider_truncated,
    provider_malformed, provider_stale, shed (no room in its lane), proxy_no_descriptors, or aborted (our side
    gave it up).
    """

    def __init__(self, error_type: ErrorType, message: str) -> None:
        super().__init__(message)
        self.error_type: ErrorType = error_type
        self.message = message
