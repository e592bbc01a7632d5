"""The sign-in by OpenID Connect, against a real provider: there, its own forms, and back."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit, urlunsplit

import httpx2
import pytest
from prometheus_client import CollectorRegistry

from console.access.guard import Access
from console.access.openid_settings import OidcSettings
from console.app import admin_app
from tests.servers.openid_provider import CLIENT_ID, CLIENT_SECRET, OpenIdServer

HERE = "http://127.0.0.1:8081"
CALLBACK = f"{HERE}/oidc/callback"
NOT_OURS = "The sign-in was not begun in this browser, or took too long."


@pytest.fixture(scope="module")
def provider() -> Iterator[OpenIdServer]:
    with OpenIdServer(CALLBACK) as up:
        yield up


@pytest.fixture
def settings(provider: OpenIdServer) -> OidcSettings:
    return OidcSettings(
        issuer=provider.issuer,
        client_id=CLIENT_ID,
        client_secret=CLIENT_SECRET,
        redirect_uri=CALLBACK,
        viewers=("llm-viewers",),
        operators=("llm-operators",),
    )


class Browser:
    """A person's browser: it keeps the cookies of the console and of the provider."""

    def __init__(self, console: httpx2.AsyncClient, web: httpx2.AsyncClient) -> None:
        self.console = console
        self.web = web

    async def begin(self, onwards: str = "/") -> httpx2.Response:
        """The console's answer to a click on the link."""
        return await self.console.get("/oidc/login", params={"onwards": onwards})

    async def through_forms(self, url: str, person: str) -> str:
        """The address to which the provider sends the person back, after its login and consent."""
        answer = await self.web.get(url)
        while not (location := answer.headers.get("location", "")).startswith(HERE):
            if answer.is_redirect:
                answer = await self.web.get(urljoin(str(answer.url), location))
                continue
            assert answer.status_code == 200, answer.text
            action = re.findall(r'<form[^>]* action="([^"]+)"', answer.text)[0]
            fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', answer.text))
            answer = await self.web.post(
                urljoin(str(answer.url), action), data={**fields, "login": person, "password": "any"}
            )
        return location

    async def back(self, location: str) -> httpx2.Response:
        """The console's answer to the person who comes back."""
        return await self.console.get(location)

    async def sign_in(self, person: str, onwards: str = "/") -> httpx2.Response:
        """All of it."""
        began = await self.begin(onwards)
        assert began.status_code == 303, began.text
        return await self.back(await self.through_forms(began.headers["location"], person))


def console(settings: OidcSettings | None, admin_token: str = "token") -> Any:
    """An admin process's app; nothing behind its pages is asked."""
    nobody: Any = None
    access = Access(
        admin_token=lambda: admin_token, metrics_token=lambda: None, loopback=True, oidc=lambda: settings
    )
    return admin_app(nobody, CollectorRegistry(), access)


def in_browser(app: Any, act: Callable[[Browser], Awaitable[None]]) -> None:
    async def run() -> None:
        async with AsyncExitStack() as stack:
            transport = httpx2.ASGITransport(app=app)
            ours = httpx2.AsyncClient(transport=transport, base_url=HERE)
            web = httpx2.AsyncClient(trust_env=False, timeout=60.0)
            await act(Browser(await stack.enter_async_context(ours), await stack.enter_async_context(web)))

    asyncio.run(run())


def changed(url: str, **parameters: str) -> str:
    """The URL with other values of these parameters."""
    parts = urlsplit(url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    assert query.keys() >= parameters.keys()
    return urlunsplit(parts._replace(query=urlencode({**query, **parameters})))


@pytest.mark.parametrize(
    ("person", "shown", "order"),
    [
        ("ann", "Ann Operator (ann@example.com), operator.", "This form is not from your session."),
        ("ben", "Ben Viewer (ben), viewer.", "A viewer may only read."),
        (
            "dan",
            "dan@example.com, operator.",
            "This form is not from your session.",
        ),  # groups in the user info
        ("eva", "eva, viewer.", "A viewer may only read."),
    ],
)
def test_the_groups_give_the_role_and_the_provider_the_name(
    settings: OidcSettings, person: str, shown: str, order: str
) -> None:
    async def act(browser: Browser) -> None:
        done = await browser.sign_in(person, onwards="/canaries/support-nov")
        assert (done.status_code, shown in done.text) == (200, True), done.text
        assert 'content="0;url=/canaries/support-nov"' in done.text
        cookie = next(each for each in done.headers.get_list("set-cookie") if "canary_session" in each)
        assert all(word in cookie.lower() for word in ("httponly", "samesite=strict", f"max-age={12 * 3600}"))
        refused = await browser.console.post("/canaries/support-nov/pause")
        assert (refused.status_code, order in refused.text) == (403, True)
        assert (await browser.console.get("/api/status")).status_code == 401

    in_browser(console(settings), act)


def test_somebody_in_no_group_gets_a_page_that_says_which_would_do(settings: OidcSettings) -> None:
    async def act(browser: Browser) -> None:
        refused = await browser.sign_in("cleo")
        assert refused.status_code == 403
        assert "operators: llm-operators; viewers: llm-viewers" in refused.text
        assert "Cleo &lt;b&gt;Nobody&lt;/b&gt; (cleo) is in none of the groups" in refused.text
        assert "canary_session" not in browser.console.cookies
        assert (await browser.console.get("/nothing")).status_code == 401

    in_browser(console(settings), act)


def test_what_is_asked_of_the_provider_has_state_nonce_and_pkce_of_its_own(settings: OidcSettings) -> None:
    async def act(browser: Browser) -> None:
        urls = [(await browser.begin()).headers["location"] for _ in range(2)]
        one, other = (
            {name: value[0] for name, value in parse_qs(urlsplit(url).query).items()} for url in urls
        )
        assert one["response_type"] == "code"
        assert one["code_challenge_method"] == "S256"
        assert one["redirect_uri"] == CALLBACK
        assert set(one["scope"].split()) == {"openid", "profile", "email", "groups"}
        assert all(one[name] != other[name] for name in ("state", "nonce", "code_challenge"))
        cookie = browser.console.cookies["canary_oidc"]
        assert not any(other[name] in cookie for name in ("nonce", "code_challenge"))

    in_browser(console(settings), act)


@pytest.mark.parametrize("parameter", ["nonce", "code_challenge"])
def test_a_code_of_another_sign_in_opens_nothing(settings: OidcSettings, parameter: str) -> None:
    async def act(browser: Browser) -> None:
        url = changed((await browser.begin()).headers["location"], **{parameter: "x" * 43})
        refused = await browser.back(await browser.through_forms(url, "ann"))
        assert (refused.status_code, "The sign-in failed" in refused.text) == (403, True)
        assert "canary_session" not in browser.console.cookies

    in_browser(console(settings), act)


def test_a_callback_that_this_browser_did_not_begin_opens_nothing(settings: OidcSettings) -> None:
    async def act(browser: Browser) -> None:
        began = await browser.begin()
        back = await browser.through_forms(began.headers["location"], "ann")
        kept = browser.console.cookies["canary_oidc"]
        for url, cookie in (
            (back, ""),
            (back, f"canary_oidc={kept}x"),
            (changed(back, state="guessed"), f"canary_oidc={kept}"),
            (CALLBACK, f"canary_oidc={kept}"),
        ):
            browser.console.cookies.clear()
            refused = await browser.console.get(url, headers={"cookie": cookie})
            assert (refused.status_code, NOT_OURS in refused.text) == (403, True)
        other = await browser.console.get(
            changed(back, iss="https://evil.example"), headers={"cookie": f"canary_oidc={kept}"}
        )
        assert (other.status_code, "another provider answered" in other.text) == (403, True)
        done = await browser.console.get(back, headers={"cookie": f"canary_oidc={kept}"})
        assert done.status_code == 200
        again = await browser.console.get(back, headers={"cookie": f"canary_oidc={kept}"})
        assert (again.status_code, "The sign-in failed" in again.text) == (403, True)  # a code is for once

    in_browser(console(settings), act)


def test_what_the_provider_refuses_is_told(settings: OidcSettings) -> None:
    async def act(browser: Browser) -> None:
        state = parse_qs(urlsplit((await browser.begin()).headers["location"]).query)["state"][0]
        said = {"state": state, "error": "access_denied", "error_description": "End-User <i>aborted</i>"}
        refused = await browser.back(f"{CALLBACK}?{urlencode(said)}")
        assert refused.status_code == 403
        assert "The sign-in provider refused: End-User &lt;i&gt;aborted&lt;/i&gt;." in refused.text

    in_browser(console(settings), act)


def test_any_admin_process_ends_the_sign_in_that_another_began(settings: OidcSettings) -> None:
    cookies: dict[str, str] = {}
    backs: list[str] = []

    async def there(browser: Browser) -> None:
        began = await browser.begin("/audit")
        backs.append(await browser.through_forms(began.headers["location"], "ann"))
        cookies.update(browser.console.cookies)

    async def back(browser: Browser) -> None:
        browser.console.cookies.update(cookies)
        done = await browser.back(backs[0])
        assert (done.status_code, 'url=/audit"' in done.text) == (200, True)
        cookies.update(browser.console.cookies)

    async def known(browser: Browser) -> None:
        browser.console.cookies.update(cookies)
        assert (await browser.console.get("/nothing")).status_code == 404

    async def unknown(browser: Browser) -> None:
        browser.console.cookies.update(cookies)
        assert (await browser.console.get("/nothing")).status_code == 401

    in_browser(console(settings), there)
    in_browser(console(settings), back)
    in_browser(console(settings), known)
    in_browser(console(settings, admin_token="another"), unknown)
    in_browser(console(replace(settings, operators=("others",))), unknown)
    in_browser(console(None), unknown)


def test_new_keys_of_the_provider_are_taken_and_while_it_is_down_the_token_works(
    settings: OidcSettings, provider: OpenIdServer
) -> None:
    async def act(browser: Browser) -> None:
        assert (await browser.sign_in("ann")).status_code == 200
        began = await browser.begin()
        back = await browser.through_forms(began.headers["location"], "ann")
        provider.stop()
        down = await browser.back(back)
        assert (down.status_code, "cannot be used now" in down.text) == (503, True)
        provider.start()
        browser.web.cookies.clear()
        assert (await browser.sign_in("ann")).status_code == 200

    async def undiscovered(browser: Browser) -> None:
        provider.stop()
        try:
            down = await browser.begin("/audit")
            assert (down.status_code, settings.issuer in down.text) == (503, True)
            assert "Sign in with SSO" in down.text
            fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', down.text))
            entered = await browser.console.post("/login", data={**fields, "token": "token"})
            assert (entered.status_code, entered.headers["location"]) == (303, "/audit")
        finally:
            provider.start()
        assert (await browser.begin()).status_code == 303

    in_browser(console(settings), act)
    in_browser(console(settings), undiscovered)


def test_a_wrong_issuer_or_secret_is_told_in_words(settings: OidcSettings) -> None:
    async def otherwise_named(browser: Browser) -> None:
        down = await browser.begin()
        assert down.status_code == 503
        assert f"it calls itself {settings.issuer}; write exactly that as `oidc.issuer`" in down.text

    async def not_there(browser: Browser) -> None:
        down = await browser.begin()
        assert "/nowhere/.well-known/openid-configuration answered 404" in down.text

    async def unknown_client(browser: Browser) -> None:
        refused = await browser.sign_in("ann")
        assert (refused.status_code, "invalid_client" in refused.text) == (403, True)

    in_browser(console(replace(settings, issuer=f"{settings.issuer}/")), otherwise_named)
    in_browser(console(replace(settings, issuer=f"{settings.issuer}/nowhere")), not_there)
    in_browser(console(replace(settings, client_secret="wrong")), unknown_client)


def test_without_oidc_there_is_neither_link_nor_page() -> None:
    async def act(browser: Browser) -> None:
        assert "SSO" not in (await browser.console.get("/login")).text
        assert (await browser.begin()).status_code == 404
        assert (await browser.back(f"{CALLBACK}?code=x&state=y")).status_code == 404

    in_browser(console(None), act)


ELSEWHERE = (
    "//evil.example",
    "///evil.example",
    "https://evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "/\r\n/evil.example",
    "/\x0b/evil.example",
    "/\x00/evil.example",
    "/\x85/evil.example",
    "/ /evil.example",
    "/\u200b/evil.example",
    "/\u2215evil.example",
    " //evil.example",
    "\t//evil.example",
    "javascript:alert(1)",
    "/" + "a" * 3000,
    "",
)
"""What a browser may take for another host, as `onwards` arrives once its %xx are decoded."""


@pytest.mark.parametrize("onwards", ELSEWHERE)
def test_a_sign_in_leads_to_no_other_host(settings: OidcSettings, onwards: str) -> None:
    async def act(browser: Browser) -> None:
        assert 'content="0;url=/"' in (await browser.sign_in("ann", onwards)).text

    in_browser(console(settings), act)
