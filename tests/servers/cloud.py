"""A cloud that serves the demo provider's answers under URLs and credentials of its own."""

from dataclasses import replace
from random import Random
from typing import Any
from urllib.parse import urlsplit

import msgspec

from demo.provider.behaviour import conduct
from demo.provider.connection import LocalAnswer, LocalConnection, Request, send
from demo.provider.server import CALM, LocalProvider


class CloudRefusal(Exception):
    """The cloud's own error, before any model is asked."""

    def __init__(self, status: int, document: dict[str, Any]) -> None:
        super().__init__(document)
        self.status = status
        self.document = document


class LocalCloud(LocalProvider):
    """The base of the local clouds. `arrived` has every request as it came, `refused` those that the cloud
    itself refused; the provider's log has the requests in the API's own form."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.arrived: list[Request] = []
        self.refused: list[CloudRefusal] = []

    def in_plain_form(self, request: Request) -> Request:
        """The request as the API's own vendor would get it. Raises CloudRefusal."""
        raise NotImplementedError

    async def _serve(self, request: Request, line: LocalConnection) -> None:
        self.arrived.append(request)
        try:
            asked = self.in_plain_form(request)
        except CloudRefusal as refusal:
            self.refused.append(refusal)
            answer = LocalAnswer(status=refusal.status, body=msgspec.json.encode(refusal.document))
            await send(line, answer, conduct(CALM, Random(0)), CALM, gzip=False)
            return
        await super()._serve(asked, line)


def path_of(request: Request) -> str:
    """The raw path, without the query."""
    return urlsplit(request.target).path


def members_of(request: Request) -> dict[str, Any]:
    """The body's members."""
    found: dict[str, Any] = msgspec.json.decode(request.body, type=dict[str, Any])
    return found


def rewritten(
    request: Request, path: str, members: dict[str, Any], headers: dict[str, str], *, drop: frozenset[str]
) -> Request:
    """The request at another path, with another body, with `headers` in place of those in `drop`."""
    kept = tuple((name, value) for name, value in request.headers if name not in drop | headers.keys())
    query = urlsplit(request.target).query
    return replace(
        request,
        target=f"{path}?{query}" if query else path,
        body=msgspec.json.encode(members),
        headers=(*kept, *headers.items()),
    )
