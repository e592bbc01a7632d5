"""The providers' sides of one socket: the first line, those of candidates at other entries, who made what."""

from proxy.attempt import status_failure
from proxy.outgoing import UpstreamRequest
from proxy.realtime.messages import MessageCutter, Piece, frame
from proxy.realtime.session import SessionStream
from proxy.routes import ArmTarget
from proxy.upstream import UpstreamError, Upstreams
from proxy.upstream.tunnel import Tunnel

_MOST_MADE = 1024
"""Responses of one socket whose maker is remembered."""


class ProviderLine:
    """One provider's side of a socket. `name` is that of the provider entry."""

    __slots__ = ("cutter", "name", "stream")

    def __init__(self, name: str, stream: SessionStream) -> None:
        self.name = name
        self.stream = stream
        self.cutter = MessageCutter()

    async def ask(self, piece: Piece, request: UpstreamRequest) -> None:
        """Send a request: the caller's own bytes where nothing has changed."""
        body = request.body
        assert isinstance(body, bytes)  # noqa: S101 - a message is whole
        self.stream.write(piece.raw if body == piece.data else frame(body, to_provider=True))
        await self.stream.drain()


class ProviderLines:
    """The lines of one socket, by provider entry. A line is opened when it is first needed."""

    def __init__(self, upstreams: Upstreams, first: ProviderLine) -> None:
        self.first = first
        self._upstreams = upstreams
        self._open = {first.name: first}
        self._made: dict[str, ProviderLine] = {}  # by the response's id

    def known(self, target: ArmTarget) -> ProviderLine | None:
        """The open line to an arm's entry."""
        return self._open.get(target.provider.name)

    async def open(self, target: ArmTarget, request: UpstreamRequest) -> ProviderLine:
        """Open a line to an arm's entry. Raises UpstreamError, also for a refusal."""
        answer = await self._upstreams.upgrade(
            target.provider,
            limit_key=target.key,
            target=request.target,
            headers=request.headers,
            timeout=target.timeout,
        )
        if not isinstance(answer, Tunnel):
            failure = status_failure(answer.status, candidate=True) or "provider_malformed"
            raise UpstreamError(failure, f"the provider answered the upgrade with {answer.status}")
        line = self._open[target.provider.name] = ProviderLine(target.provider.name, answer)
        return line

    def drop(self, line: ProviderLine) -> None:
        """Close a line whose provider has ended it."""
        if self._open.get(line.name) is line:
            del self._open[line.name]
        line.stream.close()

    def maker_of(self, response_id: str | None) -> ProviderLine:
        """The line that made a response, so that what follows it goes there; else the first."""
        return self._made.get(response_id or "", self.first)

    def remember(self, response_id: str, line: ProviderLine) -> None:
        """Remember which line made a response."""
        if len(self._made) >= _MOST_MADE:
            del self._made[next(iter(self._made))]
        self._made[response_id] = line

    def close(self) -> None:
        """Close all lines after what was written has been sent."""
        for line in self._open.values():
            line.stream.close()

    def abort(self) -> None:
        """Close all lines at once."""
        for line in self._open.values():
            line.stream.abort()
