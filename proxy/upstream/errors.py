"""The only error of the upstream side.

    Exception
    └── UpstreamError   the attempt has no complete response; `error_type` is the cause

Foreign errors (OSError, ssl, llhttp) are mapped where they arise.
"""

from records.outcome import ErrorType


class UpstreamError(Exception):
    """A failed upstream attempt, raised by `send` before the head and by `read` in the body.

    `error_type` is one of provider_connect, provider_timeout, provider_reset, provider_truncated,
    provider_malformed, provider_stale, shed (connection limit reached), proxy_no_descriptors or aborted (by
    our side).
    """

    def __init__(self, error_type: ErrorType, message: str) -> None:
        super().__init__(message)
        self.error_type: ErrorType = error_type
        self.message = message
