"""One attempt at a session: ask a lane for it, and see whether that is granted."""

from proxy.attempt import Attempt
from proxy.call import Call
from proxy.realtime.session import Session
from proxy.request import UpstreamRequest
from proxy.server import sendable
from proxy.upstream import Upstreams
from proxy.upstream.tunnel import Tunnel

_NO_REFUSAL = 400


async def open_session(
    upstreams: Upstreams, call: Call, request: UpstreamRequest, reply: Attempt, *, covered: bool
) -> None:
    """Give the reply a session, or the answer that refused it. `covered`: a candidate's first event is held,
    for what it refuses only then. Raises UpstreamError."""
    lane = reply.lane
    way = await upstreams.upgrade(
        lane.provider, lane=lane.key, target=request.target, headers=request.headers, timeout=lane.timeout
    )
    if isinstance(way, Tunnel):
        await _begin(Session(way, way.headers, idle_s=lane.timeout.idle_s), reply, covered=covered)
    else:
        reply.opened(way, call, request, covered=covered)
        if reply.failure is None and way.status < _NO_REFUSAL:
            reply.failure = "provider_malformed"  # asked for a session, it sends something else


async def _begin(session: Session, reply: Attempt, *, covered: bool) -> None:
    reply.session = session
    if not sendable(session.handshake):
        reply.failure = "provider_malformed"
    elif covered:
        wrong = await session.greeted()
        refused = wrong is not None and wrong.startswith("caller_")
        reply.failure = "candidate_rejects" if refused else wrong
