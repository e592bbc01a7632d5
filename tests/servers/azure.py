"""A local Azure resource: both forms of OpenAI's URLs, Foundry's Claude, and Azure's refusals.

https://learn.microsoft.com/azure/ai-foundry/openai/reference
"""

import re
from collections.abc import Collection
from typing import Any
from urllib.parse import unquote

from demo.provider.connection import Request
from tests.servers.cloud import CloudRefusal, LocalCloud, members_of, path_of, rewritten

_DEPLOYMENT = re.compile(
    r"/openai/deployments/(?P<name>[^/]+)/(?P<operation>chat/completions|completions|embeddings)"
)
_CREDENTIALS = frozenset({"authorization", "api-key", "x-api-key"})


class LocalAzure(LocalCloud):
    """One resource: its key, an Entra token that it accepts, and its deployments."""

    def __init__(self, *, key: str, deployments: Collection[str], entra: str = "", **options: Any) -> None:
        super().__init__(**options)
        self.key = key
        self.entra = entra
        self.deployments = deployments

    def in_plain_form(self, request: Request) -> Request:
        path = path_of(request)
        if found := _DEPLOYMENT.fullmatch(path):
            self._authorise(request, keys=("api-key",))
            if not request.query("api-version"):
                raise _refusal(404, "404", "Resource not found")
            name = unquote(found["name"])
            return self._openai(request, f"/v1/{found['operation']}", name)
        if path.startswith("/openai/v1/"):
            self._authorise(request, keys=("api-key", "authorization"))
            return self._openai(request, path.removeprefix("/openai"), members_of(request)["model"])
        if path in ("/anthropic/v1/messages", "/anthropic/v1/messages/count_tokens"):
            return self._claude(request, path.removeprefix("/anthropic"))
        raise _refusal(404, "404", "Resource not found")

    def _authorise(self, request: Request, *, keys: Collection[str]) -> None:
        """The key is accepted in these headers only; as Bearer, the older form takes Entra's tokens alone."""
        sent = [request.header(name) for name in keys]
        if self.key in sent or f"Bearer {self.key}" in sent:
            return
        if self.entra and request.header("authorization") == f"Bearer {self.entra}":
            return
        message = "Access denied due to invalid subscription key or wrong API endpoint."
        raise _refusal(401, "401", message)

    def _openai(self, request: Request, path: str, deployment: str) -> Request:
        self._known(deployment)
        members = {**members_of(request), "model": deployment}
        return rewritten(request, path, members, {"authorization": "Bearer local"}, drop=_CREDENTIALS)

    def _claude(self, request: Request, path: str) -> Request:
        self._authorise(request, keys=("api-key", "x-api-key"))
        if request.header("anthropic-version") is None:
            raise CloudRefusal(400, _claudes_error("anthropic-version: header is required"))
        members = members_of(request)
        self._known(members["model"])
        return rewritten(request, path, members, {"x-api-key": "local"}, drop=_CREDENTIALS)

    def _known(self, deployment: str) -> None:
        if deployment not in self.deployments:
            message = "The API deployment for this resource does not exist."
            raise _refusal(404, "DeploymentNotFound", message)


def _refusal(status: int, code: str, message: str) -> CloudRefusal:
    return CloudRefusal(status, {"error": {"code": code, "message": message}})


def _claudes_error(message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
