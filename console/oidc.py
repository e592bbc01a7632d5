"""The pages of a sign-in by OpenID Connect: there to the provider, and back.

A cookie of ten minutes carries the sign-in from one to the other, so that any admin process can end it. Nonce
and PKCE verifier are derived from its state by the server's key, and so never are in the browser's hands.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from console.claims import SignInFailed, admitted
from console.guard import OIDC_CALLBACK, OIDC_LOGIN
from console.login import Login, onwards_of, set_cookie
from console.oidc_settings import OidcSettings
from console.rendering import Templates
from console.session import Sessions, same

if TYPE_CHECKING:
    from console.openid import OpenIdProvider

STARTED = "canary_oidc"
STARTED_FOR_S = 600

log = structlog.get_logger()


class OidcPages:
    """Both pages. Without `oidc` in the config there are none (404)."""

    def __init__(
        self,
        settings: Callable[[], OidcSettings | None],
        sessions: Sessions,
        login: Login,
        templates: Templates,
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._signer = sessions.signer
        self._login = login
        self._templates = templates
        self._made: OpenIdProvider | None = None

    def routes(self) -> list[Route]:
        """Both routes."""
        return [Route(OIDC_LOGIN, self.begin), Route(OIDC_CALLBACK, self.callback)]

    async def begin(self, request: Request) -> Response:
        """Send the person to the provider. `onwards` is the page to show afterwards."""
        settings, onwards = self._configured(), onwards_of(request.query_params.get("onwards", "/"))
        state = secrets.token_urlsafe(24)
        try:
            provider = await self._provider()
            url = await provider.authorization_url(
                settings,
                state=state,
                nonce=self._derived("nonce", state),
                verifier=self._derived("pkce", state),
            )
        except SignInFailed as problem:
            return self._failed(request, problem, onwards)
        answer = RedirectResponse(url, status_code=303)
        expires = f"{self._sessions.now() + STARTED_FOR_S:.0f}"
        started = self._signer.signed("sign-in", "oidc", expires, state, onwards)
        # Lax: the provider's page leads back here, and a strict cookie would not come with that.
        set_cookie(
            answer, request, STARTED, started, path=OIDC_CALLBACK, lasts_s=STARTED_FOR_S, samesite="lax"
        )
        return answer

    async def callback(self, request: Request) -> Response:
        """Begin the session of the person who comes back from the provider."""
        settings, onwards = self._configured(), "/"
        try:
            state, onwards = self._started(request)
            claims = await self._claims(settings, state, request.query_params)
            person = admitted(claims, settings)
        except SignInFailed as problem:
            return self._failed(request, problem, onwards)
        # The page leads on by itself: a redirect would still come from the provider's site, and the browser
        # would leave out the session's strict cookie.
        answer = self._templates.answer("signed_in.html", onwards=onwards, person=person, form_token="")
        self._login.enter(answer, request, "oidc", person)
        answer.delete_cookie(STARTED, path=OIDC_CALLBACK)
        return answer

    async def _claims(
        self, settings: OidcSettings, state: str, query: Mapping[str, str]
    ) -> Mapping[str, Any]:
        if "error" in query:
            said = query.get("error_description") or query["error"]
            raise SignInFailed(f"The sign-in provider refused: {said}.")
        if query.get("iss", settings.issuer) != settings.issuer:  # RFC 9207
            raise SignInFailed("The sign-in failed: another provider answered. Try again.")
        provider = await self._provider()
        return await provider.claims(
            settings,
            query.get("code", ""),
            nonce=self._derived("nonce", state),
            verifier=self._derived("pkce", state),
        )

    async def _provider(self) -> "OpenIdProvider":
        """What asks the provider. Its libraries take a third of a second to import, so most never do."""
        if self._made is None:
            self._made = await asyncio.to_thread(_provider)
        return self._made

    def _started(self, request: Request) -> tuple[str, str]:
        """(state, onwards) of the sign-in that this browser began. Raises SignInFailed."""
        found = self._signer.fields("sign-in", request.cookies.get(STARTED))
        if found is not None:
            expires, state, onwards = found[1]
            if float(expires) > self._sessions.now() and same(request.query_params.get("state"), state):
                return state, onwards
        raise SignInFailed("The sign-in was not begun in this browser, or took too long. Try again.")

    def _derived(self, what: str, state: str) -> str:
        return self._signer.signature(what, "oidc", state)

    def _configured(self) -> OidcSettings:
        settings = self._settings()
        if settings is None:
            raise HTTPException(404, "There is no `oidc` in the config.")
        return settings

    def _failed(self, request: Request, problem: SignInFailed, onwards: str) -> Response:
        log.warning("console.sign_in_failed", reason=str(problem))
        return self._login.page(request, onwards=onwards, status_code=problem.status, wrong=str(problem))


def _provider() -> "OpenIdProvider":
    from console.openid import OpenIdProvider

    return OpenIdProvider(time.monotonic)
