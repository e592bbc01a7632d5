"""The cookies of the door, on this machine and behind a proxy that speaks TLS."""

import asyncio
import re
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client import CollectorRegistry

from console.access.guard import Access
from console.access.session import OneTimeLink
from console.app import admin_app


async def logged_in(base_url: str) -> list[str]:
    """The Set-Cookie lines of a log-in at an app that is reached by this address."""
    access = Access(admin_token=lambda: "token", metrics_token=lambda: None, loopback=False)
    nobody: Any = None
    app = admin_app(nobody, CollectorRegistry(), access)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=base_url) as browser:
        form = await browser.get("/login")
        (check,) = re.findall(r'name="check" value="([^"]+)"', form.text)
        cookies = {"canary_login": check}
        given = {"token": "token", "check": check}
        answer = await browser.post(
            "/login", data=given, headers={"cookie": f"canary_login={cookies['canary_login']}"}
        )
        assert answer.status_code == 303
        return [*form.headers.get_list("set-cookie"), *answer.headers.get_list("set-cookie")]


@pytest.mark.parametrize("host", ["canary.example", "10.0.0.7:8081", "canary.example:443"])
def test_a_session_leaves_no_other_machine_in_the_clear(host: str) -> None:
    assert all("; secure" in line.lower() for line in asyncio.run(logged_in(f"http://{host}")))


@pytest.mark.parametrize("host", ["127.0.0.1:8081", "localhost:8081", "[::1]:8081"])
def test_on_this_machine_a_browser_without_tls_keeps_its_session(host: str) -> None:
    assert not any("; secure" in line.lower() for line in asyncio.run(logged_in(f"http://{host}")))
    assert all("; secure" in line.lower() for line in asyncio.run(logged_in(f"https://{host}")))


def test_a_one_time_link_opens_one_session(tmp_path: Path) -> None:
    async def story() -> None:
        link = OneTimeLink(tmp_path / "link", lambda: 0.0)
        access = Access(
            admin_token=lambda: "token", metrics_token=lambda: None, loopback=True, redeems=link.redeem
        )
        nobody: Any = None
        app = admin_app(nobody, CollectorRegistry(), access)
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as browser:
            url = f"/login?once={link.make()}"
            assert (await browser.head(url)).status_code != 303
            guessed = await browser.get("/login?once=guess")
            first, second = await browser.get(url), await browser.get(url)
        assert (guessed.status_code, first.status_code, second.status_code) == (403, 303, 403)
        assert "The link was used already." in second.text
        assert "not this server’s newest: another replica or an earlier start printed it" in guessed.text
        assert (first.headers["location"], "operator" in first.text) == ("/", False)
        assert "canary_session=" in first.headers["set-cookie"]
        assert "canary_session=" not in second.headers["set-cookie"]

    asyncio.run(story())


def test_a_one_time_link_ends_by_itself_and_with_the_next(tmp_path: Path) -> None:
    now = 1000.0
    link = OneTimeLink(tmp_path / "link", lambda: now)
    earlier, token = link.make(), link.make()
    assert token not in (tmp_path / "link").read_text()
    assert link.redeem(earlier) == "unknown"
    now += 600
    assert link.redeem(token) == "old"
    now -= 1
    assert [link.redeem(token), link.redeem(token)] == [None, "used"]
