"""What the console asks an OpenID provider: where to send people, and who came back. Knows no page.

Its libraries take 8 MB, so they are imported with the first sign-in.
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx2
import msgspec
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, KeySetSerialization
from joserfc.jws import JWSRegistry

from common.bounded_http import bounded
from console.access.openid_settings import OidcSettings, SignInFailed, is_private

DISCOVERY = "/.well-known/openid-configuration"
DISCOVERED_FOR_S = 600.0
WITHIN_S = 10.0
LEEWAY_S = 60

_SIGNATURES = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"})
"""The algorithms that an ID token may be signed with: those with a public key. `none` proves nothing, and
with HS256 the client's own secret would sign."""

_FOREIGN = (
    httpx2.HTTPError,
    httpx2.InvalidURL,
    OAuthError,
    JoseError,
    msgspec.MsgspecError,
    ValueError,
    KeyError,
)


class ProviderMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider says of itself (OpenID Connect Discovery 1.0)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str = ""
    scopes_supported: tuple[str, ...] = ()
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    id_token_signing_alg_values_supported: tuple[str, ...] = ("RS256",)


class OpenIdProvider:
    """The provider of the config. Discovered when somebody signs in, and again after DISCOVERED_FOR_S."""

    def __init__(self, now: Callable[[], float]) -> None:
        """`now` gives seconds of a clock that never goes back."""
        self._now = now
        self._known: tuple[OidcSettings, float, ProviderMetadata] | None = None
        self._tls: ssl.SSLContext | None = None

    async def authorization_url(
        self, settings: OidcSettings, *, state: str, nonce: str, verifier: str
    ) -> str:
        """Where to send the browser. Raises SignInFailed (503)."""
        try:
            found = await self._metadata(settings)
            async with await self._client(settings, found) as client:
                url, _ = client.create_authorization_url(
                    found.authorization_endpoint, state=state, nonce=nonce, code_verifier=verifier
                )
        except _FOREIGN as problem:
            raise SignInFailed(_unreachable(settings, problem), 503) from problem
        return str(url)

    async def claims(
        self, settings: OidcSettings, code: str, *, nonce: str, verifier: str
    ) -> Mapping[str, Any]:
        """What the provider says of the person who came back with this code: the verified claims of the ID
        token, and those of the user info for a name or groups that are not there. Raises SignInFailed."""
        try:
            found = await self._metadata(settings)
            async with await self._client(settings, found) as client:
                token = await client.fetch_token(found.token_endpoint, code=code, code_verifier=verifier)
                keys: Any = await _document(client, found.jwks_uri, withhold_token=True)
                claims = verified(token, keys, settings, found, nonce=nonce)
                if {"groups", "name"} <= claims.keys() or not found.userinfo_endpoint:
                    return claims
                said = await _document(client, found.userinfo_endpoint)
        except httpx2.TransportError as problem:
            raise SignInFailed(_unreachable(settings, problem), 503) from problem
        except _FOREIGN as problem:
            raise SignInFailed(f"The sign-in failed: {_words(problem)}. Try again.") from problem
        if said.get("sub") != claims["sub"]:  # OpenID Connect Core 1.0, 5.3.2
            raise SignInFailed("The sign-in failed: the provider's user info is about somebody else.")
        return {**said, **claims}

    async def _metadata(self, settings: OidcSettings) -> ProviderMetadata:
        if self._known is not None and self._known[0] == settings and self._now() < self._known[1]:
            return self._known[2]
        async with httpx2.AsyncClient(**await self._options()) as http:
            answer = await http.get(settings.issuer.rstrip("/") + DISCOVERY)
        answer.raise_for_status()
        found = msgspec.json.decode(answer.content, type=ProviderMetadata)
        _must_be_usable(found, settings)
        self._known = settings, self._now() + DISCOVERED_FOR_S, found
        return found

    async def _client(self, settings: OidcSettings, found: ProviderMetadata) -> Any:
        """An `AsyncOAuth2Client`, which is an httpx2 client; Authlib has no types."""
        methods = found.token_endpoint_auth_methods_supported
        only_post = "client_secret_post" in methods and "client_secret_basic" not in methods
        return AsyncOAuth2Client(
            settings.client_id,
            settings.client_secret,
            token_endpoint_auth_method="client_secret_post" if only_post else "client_secret_basic",
            scope=" ".join(["openid", "profile", "email", *_groups_scope(found)]),
            redirect_uri=settings.redirect_uri,
            code_challenge_method="S256",
            **await self._options(),
        )

    async def _options(self) -> dict[str, Any]:
        """Authorities of the machine, no proxies: as for every other host that canary asks."""
        if self._tls is None:
            self._tls = await asyncio.to_thread(ssl.create_default_context)
        return {"timeout": WITHIN_S, **bounded(verify=self._tls)}


def verified(
    token: Mapping[str, Any],
    keys: KeySetSerialization,
    settings: OidcSettings,
    found: ProviderMetadata,
    *,
    nonce: str,
) -> dict[str, Any]:
    """The claims of the ID token in a token response: signed with one of `keys`, by this issuer, for this
    client, of this sign-in, and not expired. Raises JoseError, ValueError and KeyError."""
    registry = JWSRegistry(algorithms=_algorithms(found), strict_check_header=False)
    decoded = jwt.decode(token["id_token"], KeySet.import_key_set(keys), registry=registry)
    wanted = {
        "iss": {"essential": True, "value": settings.issuer},
        "aud": {"essential": True, "value": settings.client_id},
    }
    of_this = {
        "nonce": nonce,
        "client_id": settings.client_id,
        "access_token": token.get("access_token"),
    }
    claims = CodeIDToken(decoded.claims, decoded.header, wanted, of_this)
    claims.validate(leeway=LEEWAY_S)
    return dict(claims)


def _must_be_usable(found: ProviderMetadata, settings: OidcSettings) -> None:
    if found.issuer != settings.issuer:
        raise ValueError(f"it calls itself {found.issuer}; write exactly that as `oidc.issuer`")
    urls = (found.authorization_endpoint, found.token_endpoint, found.jwks_uri, found.userinfo_endpoint)
    for url in filter(None, urls):
        if not is_private(url):
            raise ValueError(f"its endpoint {url} is not https")


def _algorithms(found: ProviderMetadata) -> list[str]:
    algorithms = [each for each in found.id_token_signing_alg_values_supported if each in _SIGNATURES]
    if not algorithms:  # an empty list would mean the library's own
        raise ValueError(f"it signs ID tokens with none of {', '.join(sorted(_SIGNATURES))}")
    return algorithms


def _groups_scope(found: ProviderMetadata) -> Sequence[str]:
    """Some providers give groups for a scope of that name; others refuse a scope that they do not know."""
    return ["groups"] if "groups" in found.scopes_supported else []


async def _document(client: httpx2.AsyncClient, url: str, **options: Any) -> dict[str, Any]:
    answer = await client.request("GET", url, **options)
    answer.raise_for_status()
    return msgspec.json.decode(answer.content, type=dict[str, Any])


def _unreachable(settings: OidcSettings, problem: Exception) -> str:
    return (
        f"The sign-in provider {settings.issuer} cannot be used now: {_words(problem)}. Log in with a token, "
        "or try again later."
    )


def _words(problem: Exception) -> str:
    if isinstance(problem, httpx2.HTTPStatusError):
        return f"{problem.request.url.path} answered {problem.response.status_code}"
    return str(problem).rstrip(".") or type(problem).__name__
