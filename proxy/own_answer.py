"""The answers that the proxy writes itself, and the headers that it adds to every answer."""

from proxy.attempt import Attempt
from proxy.errors import ErrorForm, Refused, error_body
from proxy.headers import Headers
from proxy.record import Record
from proxy.server import Incoming

UNAUTHORIZED = 401


def overload() -> Refused:
    """Too many requests are in flight."""
    return Refused(503, "too many requests in flight; try again", "shed", retry_after_s=1)


def no_descriptors() -> Refused:
    """This process can open no further connection."""
    message = "canary has no file descriptor left for a connection to the provider; try again"
    return Refused(503, message, "proxy_no_descriptors", retry_after_s=1)


def refuse(incoming: Incoming, record: Record, refusal: Refused) -> None:
    """Answer with the refusal. Its headers name no arm, since none was chosen."""
    headers = [(b"x-canary-exchange", record.exchange_id.encode())]
    if refusal.retry_after_s is not None:
        headers.append((b"retry-after", str(refusal.retry_after_s).encode()))
    if incoming.more or refusal.error_type == "proxy_no_descriptors":
        incoming.keep_alive = (
            False  # the rest of the request body is not read, or the caller's descriptor is needed
        )
    if refusal.status == UNAUTHORIZED:
        headers.append((b"www-authenticate", b"Bearer"))  # RFC 9110 §11.6.1
    answer(incoming, record, refusal.status, refusal.message, refusal.error_type, headers, refusal.form)


def answer(
    incoming: Incoming,
    record: Record,
    status: int,
    message: str,
    code: str,
    headers: Headers,
    form: ErrorForm | None = None,
) -> None:
    """Send the proxy's own answer, in the form of the API that was called. `form` says which that was, where
    the request was not read."""
    if record.call is not None:
        form = record.call.route.error_form
    body = error_body(form, status, message, code)
    incoming.start(status, [(b"content-type", b"application/json"), *headers], length=len(body))
    incoming.end(body)


def our_headers(record: Record, attempt: Attempt) -> list[tuple[bytes, bytes]]:
    """The exchange's id; in a canary also its name, the assigned arm, and the other arm if that answered."""
    headers = [(b"x-canary-exchange", record.exchange_id.encode())]
    trial = record.call.trial if record.call is not None else None
    if trial is not None:
        headers.append((b"x-canary-arm", record.assignment.arm.encode()))
        headers.append((b"x-canary-name", trial.canary.name.encode()))
        if attempt.target.arm != record.assignment.arm and attempt.status is not None:
            headers.append((b"x-canary-served-by", attempt.target.arm.encode()))
    return headers
