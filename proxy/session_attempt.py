"""One attempt at a realtime session: asks an arm for the upgrade and takes the session or the refusal."""

from proxy.attempt import Attempt
from proxy.call import Call
from proxy.outgoing import UpstreamRequest
from proxy.realtime.session import Session
from proxy.server import sendable
from proxy.upstream import Upstreams
from proxy.upstream.tunnel import Tunnel

_NO_REFUSAL = 400


async def open_session(
    upstreams: Upstreams, call: Call, request: UpstreamRequest, attempt: Attempt, *, covered: bool
) -> None:
    """Give the attempt a session, or the response that refused it. Raises UpstreamError.

    `covered`: hold the candidate's first event, since a provider may refuse only then.
    """
    target = attempt.target
    response = await upstreams.upgrade(
        target.provider,
        limit_key=target.key,
        target=request.target,
        headers=request.headers,
        timeout=target.timeout,
    )
    if isinstance(response, Tunnel):
        await _begin(
            Session(response, response.headers, idle_s=target.timeout.idle_s), attempt, covered=covered
        )
    else:
        attempt.opened(response, call, request, covered=covered)
        if attempt.failure is None and response.status < _NO_REFUSAL:
            attempt.failure = "provider_malformed"  # neither a session nor a refusal


async def _begin(session: Session, attempt: Attempt, *, covered: bool) -> None:
    attempt.take_session(session)
    if not sendable(session.handshake):
        attempt.failure = "provider_malformed"
    elif covered:
        wrong = await session.greeted()
        refused = wrong is not None and wrong.startswith("caller_")
        attempt.failure = "candidate_rejects" if refused else wrong
