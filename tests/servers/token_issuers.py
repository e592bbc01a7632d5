"""Token servers of clouds on the loopback: they check what the real ones check, and their tokens expire."""

import json
import ssl
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import jwt
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

RESOURCE = "https://cognitiveservices.azure.com"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
AUDIENCE = "https://oauth2.googleapis.com/token"
IDENTITY_HEADER = "planted-identity-header"


class TokenIssuer(ThreadingHTTPServer):
    """Gives tokens that live for whole seconds. `down`: answers 503. `wrong`: what a client asked badly."""

    daemon_threads = True

    def __init__(self, handler: type["_Asked"]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.life_s = 3600
        self.down = False
        self.wrong: list[str] = []
        self.issued: dict[str, int] = {}
        """Tokens, and when they expire in Unix seconds."""
        self._serials = count(1)
        self._thread = Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})

    def issue(self) -> tuple[str, int]:
        """A new token and its end."""
        token, ends = f"planted-token-{next(self._serials)}", int(time.time()) + self.life_s
        self.issued[token] = ends
        return token, ends

    def accepts(self, token: str) -> bool:
        """True while the token lives."""
        return time.time() < self.issued.get(token, 0)

    def __enter__(self) -> "TokenIssuer":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Asked(BaseHTTPRequestHandler):
    server: TokenIssuer

    def answer(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def settle(self, wrong: str, document: dict[str, Any]) -> None:
        """Answer with the token, or with what is wrong, quoting it as a careless server would."""
        if self.server.down:
            self.answer(503, {"error": "temporarily_unavailable", "error_description": "try again later"})
        elif wrong:
            self.server.wrong.append(wrong)
            self.answer(400, {"error": "invalid_request", "error_description": wrong})
        else:
            self.answer(200, document)

    def log_message(self, *_: Any) -> None: ...


class _ManagedIdentity(_Asked):
    """Azure App Service's endpoint of 2019-08-01."""

    def do_GET(self) -> None:
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        wrong = ""
        if self.headers["x-identity-header"] != IDENTITY_HEADER:
            wrong = "no X-IDENTITY-HEADER of this machine"
        elif query.get("resource") != RESOURCE or query.get("api-version") != "2019-08-01":
            wrong = f"not for this resource: {self.path}"
        token, ends = ("", 0) if wrong or self.server.down else self.server.issue()
        document = {"access_token": token, "expires_on": str(ends), "resource": RESOURCE}
        self.settle(wrong, {**document, "token_type": "Bearer"})


class _WorkloadIdentity(_Asked):
    """Entra's token endpoint for a federated assertion, as a Kubernetes service account has one in a file."""

    assertion: ClassVar[str]
    """The assertion that is valid now."""

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
        asked = {name: values[0] for name, values in form.items()}
        expected = {
            "client_id": "client",
            "scope": f"{RESOURCE}/.default",
            "grant_type": "client_credentials",
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        }
        wrong = ""
        if self.path != "/tenant/oauth2/v2.0/token" or not expected.items() <= asked.items():
            wrong = f"not this request: {self.path} {sorted(asked)}"
        elif asked["client_assertion"] != type(self).assertion:
            wrong = f"AADSTS700024: the assertion is not valid: {asked['client_assertion']}"
        token, ends = ("", 0) if wrong or self.server.down else self.server.issue()
        life_s = ends - int(time.time())
        self.settle(wrong, {"access_token": token, "expires_in": life_s, "token_type": "Bearer"})


class _ServiceAccounts(_Asked):
    """Google's token endpoint for a service account's signed assertion (RFC 7523)."""

    public_key: ClassVar[rsa.RSAPublicKey]
    email: ClassVar[str]

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
        wrong = self._wrong(form["grant_type"][0], form["assertion"][0])
        token, ends = ("", 0) if wrong or self.server.down else self.server.issue()
        life_s = ends - int(time.time())
        self.settle(wrong, {"access_token": token, "expires_in": life_s, "token_type": "Bearer"})

    def _wrong(self, grant: str, assertion: str) -> str:
        if grant != "urn:ietf:params:oauth:grant-type:jwt-bearer":
            return f"not this grant: {grant}"
        try:
            claims = jwt.decode(assertion, self.public_key, algorithms=["RS256"], audience=AUDIENCE)
        except jwt.InvalidTokenError as problem:
            return f"bad assertion {assertion}: {problem}"
        return (
            "" if (claims["iss"], claims["scope"]) == (self.email, SCOPE) else f"not these claims: {claims}"
        )


def entra() -> tuple[TokenIssuer, dict[str, str]]:
    """Azure's managed identity, and the environment in which Azure's library finds it."""
    issuer = TokenIssuer(_ManagedIdentity)
    return issuer, {
        "IDENTITY_ENDPOINT": f"{issuer.url}/msi/token",
        "IDENTITY_HEADER": IDENTITY_HEADER,
        "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
    }


class KubernetesIdentity:
    """A federated identity's file, and Entra's endpoint for it over TLS, as Azure's library demands."""

    def __init__(self, folder: Path) -> None:
        class Known(_WorkloadIdentity):
            assertion = ""

        self._known = Known
        self._file = folder / "assertion"
        self.issuer = TokenIssuer(Known)
        authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        authority.cert_pem.write_to_path(folder / "ca.pem")
        self.issuer.socket = context.wrap_socket(self.issuer.socket, server_side=True)
        self.environment = {
            "AZURE_AUTHORITY_HOST": self.issuer.url.replace("http://127.0.0.1", "https://localhost"),
            "AZURE_TENANT_ID": "tenant",
            "AZURE_CLIENT_ID": "client",
            "AZURE_FEDERATED_TOKEN_FILE": str(self._file),
            "AZURE_TOKEN_CREDENTIALS": "WorkloadIdentityCredential",
            "REQUESTS_CA_BUNDLE": str(folder / "ca.pem"),
        }

    def mounts(self, assertion: str, *, is_valid: bool = True) -> None:
        """Kubernetes replaces the file."""
        self._file.write_text(assertion)
        self._known.assertion = assertion if is_valid else "another"


def service_account(folder: Path) -> tuple[TokenIssuer, dict[str, str]]:
    """Google's token endpoint, and the environment with a service account that it knows."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    owner = f"canary-{id(key)}@project.iam.gserviceaccount.com"

    class Known(_ServiceAccounts):
        public_key = key.public_key()
        email = owner

    issuer = TokenIssuer(Known)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / "service-account.json"
    account = {"type": "service_account", "client_email": owner, "token_uri": f"{issuer.url}/token"}
    file.write_text(json.dumps({**account, "private_key": pem.decode(), "project_id": "project"}))
    return issuer, {"GOOGLE_APPLICATION_CREDENTIALS": str(file), "NO_GCE_CHECK": "true"}
