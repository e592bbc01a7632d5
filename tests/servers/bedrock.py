"""A local Bedrock of one region, which checks credentials as the real one does, and answers in its forms.

Signatures are computed again by botocore from the request as it arrived.
"""

import hmac
import json
import re
import threading
import time
from calendar import timegm
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import unquote

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.servers import bedrock_answers
from tests.servers.bedrock_answers import Answer, Behaviour, refused

BEARER_KEY = "bedrock-api-key-of-the-entry"
ACCESS_KEY, SECRET_KEY = "AKIAENTRY", "the entry's secret"
DATE_WITHIN_S = 300.0
_MODEL = re.compile(r"/model/(?P<model>[^?]+)/(?P<method>[a-z-]+)")
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 "
    r"Credential=(?P<key>[^/]+)/(?P<day>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request, "
    r"SignedHeaders=(?P<names>[^,]+), Signature=(?P<signature>[0-9a-f]{64})"
)


class BedrockRequest(NamedTuple):
    """A request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def members(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body or b"{}")
        return found

    @property
    def is_signed(self) -> bool:
        return self.headers.get("authorization", "").startswith("AWS4-HMAC-SHA256 ")


@dataclass
class LocalBedrock:
    """The server of one region. `taken` has the requests whose credentials were good, `refused` the others.

    `tokens`: session tokens that are accepted, by access key; "" for a user's own key.
    """

    region: str = "eu-west-1"
    service: str = "bedrock"
    secrets: dict[str, str] = field(default_factory=lambda: {ACCESS_KEY: SECRET_KEY})
    tokens: dict[str, str] = field(default_factory=dict)
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    taken: list[BedrockRequest] = field(default_factory=list)
    refused: list[BedrockRequest] = field(default_factory=list)

    def behave(self, model: str, behaviour: Behaviour) -> None:
        """Change what a model does from the next request on."""
        self.behaviours[model] = behaviour

    @property
    def url(self) -> str:
        """Its address, without a trailing slash."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "LocalBedrock":
        bedrock = self

        class Handler(_Handler):
            local = bedrock

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="local-bedrock")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, request: BedrockRequest) -> Answer:
        """The answer to one request."""
        if (wrong := self._wrong_with(request)) is not None:
            self.refused.append(request)
            return wrong
        self.taken.append(request)
        path = request.target.partition("?")[0]
        if found := _MODEL.fullmatch(path):
            model = unquote(found["model"])
            behaviour = self.behaviours.get(model, "text")
            return bedrock_answers.answered(found["method"], model, request.members, behaviour)
        if path == "/anthropic/v1/messages":
            behaviour = self.behaviours.get(request.members["model"], "text")
            return bedrock_answers.anthropics(request.members, behaviour)
        if path == "/openai/v1/chat/completions":
            return bedrock_answers.openais(request.members)
        if path.startswith("/guardrail/"):
            return bedrock_answers.whole({"action": "NONE", "outputs": [], "assessments": [], "usage": {}})
        return refused(404, "UnknownOperationException", "unknown operation")

    def _wrong_with(self, request: BedrockRequest) -> Answer | None:
        """Why the credential is refused; None for a good one."""
        given = request.headers.get("authorization", "")
        if request.is_signed:
            return self._wrong_with_signature(request)
        if BEARER_KEY in (given.removeprefix("Bearer "), request.headers.get("x-api-key")):
            return None
        if given.startswith("Bearer "):
            return refused(403, "AccessDeniedException", "Authentication failed: the API key is not valid.")
        return refused(403, "MissingAuthenticationTokenException", "Missing Authentication Token")

    def _wrong_with_signature(self, request: BedrockRequest) -> Answer | None:
        found = _AUTHORIZATION.fullmatch(request.headers["authorization"])
        if found is None:
            return refused(403, "IncompleteSignatureException", "Authorization header is incomplete.")
        secret = self.secrets.get(found["key"])
        token = request.headers.get("x-amz-security-token", "")
        if secret is None or token != self.tokens.get(found["key"], ""):
            return refused(
                403, "UnrecognizedClientException", "The security token included in the request is invalid."
            )
        if (found["region"], found["service"]) != (self.region, self.service):
            message = (
                f"Credential should be scoped to a valid region and service: {self.region}, {self.service}."
            )
            return refused(403, "InvalidSignatureException", message)
        moment = request.headers.get("x-amz-date", "19700101T000000Z")
        if abs(timegm(time.strptime(moment, "%Y%m%dT%H%M%SZ")) - time.time()) > DATE_WITHIN_S:
            return refused(403, "InvalidSignatureException", f"Signature expired: {moment}")
        names = set(found["names"].split(";"))
        unsigned = {name for name in request.headers if name.startswith("x-amz-")} - names
        if not {"host", "x-amz-date"} <= names or unsigned or moment[:8] != found["day"]:
            return refused(403, "InvalidSignatureException", "Host and every x-amz- header must be signed.")
        if not hmac.compare_digest(self._signature(request, names, secret, moment), found["signature"]):
            message = "The request signature we calculated does not match the signature you provided."
            return refused(403, "InvalidSignatureException", message)
        return None

    def _signature(self, request: BedrockRequest, names: set[str], secret: str, moment: str) -> str:
        """The signature that botocore computes from what arrived."""
        again = AWSRequest(
            method=request.method,
            url=f"http://{request.headers['host']}{request.target}",
            data=request.body,
            headers={name: value for name, value in request.headers.items() if name in names},
        )
        again.context["timestamp"] = moment
        signer = SigV4Auth(Credentials("", secret), self.service, self.region)
        text = signer.string_to_sign(again, signer.canonical_request(again))
        return str(signer.signature(text, again))


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    local: LocalBedrock
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and whole body go out together

    def do_POST(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self._body(headers)
        answer = self.local.answer(BedrockRequest(self.command, self.path, headers, body))
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if len(answer.pieces) == 1:
            self.send_header("content-length", str(len(answer.pieces[0])))
            self.end_headers()
            self.wfile.write(answer.pieces[0])
            return
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for piece in answer.pieces:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    do_GET = do_POST  # noqa: N815 - the library's names

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(headers.get("content-length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body
