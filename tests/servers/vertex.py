"""A local Vertex AI of one project and region: Gemini's and Claude's paths, OAuth tokens, Google's refusals.

https://cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude/use-claude
"""

import re
from typing import Any
from urllib.parse import unquote

from demo.provider.connection import Request
from tests.servers.cloud import CloudRefusal, LocalCloud, members_of, path_of, rewritten

_PATH = re.compile(
    r"/(?P<version>v1|v1beta1)/projects/(?P<project>[^/]+)/locations/(?P<region>[^/]+)"
    r"/publishers/(?P<publisher>google|anthropic)/models/(?P<model>[^/:]+):(?P<method>\w+)"
)
_GEMINI_METHODS = ("generateContent", "streamGenerateContent", "countTokens")
_CREDENTIALS = frozenset({"authorization", "x-goog-api-key", "x-api-key"})


class LocalVertex(LocalCloud):
    """One project and region, and the only access token that they accept."""

    def __init__(self, *, project: str, region: str, token: str, **options: Any) -> None:
        super().__init__(**options)
        self.project = project
        self.region = region
        self.token = token

    def in_plain_form(self, request: Request) -> Request:
        found = _PATH.fullmatch(path_of(request))
        if found is None:
            raise _refusal(404, "NOT_FOUND", "The requested URL was not found on this server.")
        if request.header("authorization") != f"Bearer {self.token}":
            raise _refusal(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
        if (found["project"], found["region"]) != (self.project, self.region):
            raise _refusal(403, "PERMISSION_DENIED", f"Permission denied on project {found['project']}.")
        if found["publisher"] == "google":
            return self._gemini(request, found)
        return self._claude(request, found)

    def _gemini(self, request: Request, found: re.Match[str]) -> Request:
        if found["method"] not in _GEMINI_METHODS:
            raise _refusal(404, "NOT_FOUND", f"{found['method']} is not found.")
        path = f"/v1beta/models/{found['model']}:{found['method']}"
        return rewritten(request, path, members_of(request), {"x-goog-api-key": "local"}, drop=_CREDENTIALS)

    def _claude(self, request: Request, found: re.Match[str]) -> Request:
        members = members_of(request)
        if not members.pop("anthropic_version", None):
            raise _refusal(400, "INVALID_ARGUMENT", "anthropic_version: Field required")
        path = "/v1/messages/count_tokens"
        if found["model"] != "count-tokens":
            if "model" in members:
                raise _refusal(400, "INVALID_ARGUMENT", "model: Extra inputs are not permitted")
            streams = found["method"] == "streamRawPredict"
            if members.get("stream", streams) is not streams:
                raise _refusal(400, "INVALID_ARGUMENT", "stream: does not fit the method")
            path = "/v1/messages"
            members |= {"model": unquote(found["model"]), "stream": streams}
        headers = {"x-api-key": "local", "anthropic-version": "2023-06-01"}
        return rewritten(request, path, members, headers, drop=_CREDENTIALS)


def _refusal(status: int, word: str, message: str) -> CloudRefusal:
    return CloudRefusal(status, {"error": {"code": status, "message": message, "status": word}})
