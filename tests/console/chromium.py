"""Debian's Chromium, driven by Playwright: one browser, and pages that are logged in."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright

WITHIN_MS = 30_000
expect.set_options(timeout=WITHIN_MS)  # a loaded machine may take its time

ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",  # a container's is often too small, and the browser then hangs
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser, started; no other is downloaded."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=[*ARGUMENTS])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Browser, admin: str, token: str, **options: Any) -> Iterator[Page]:
    """A page of a browser profile of its own, logged in. `options` are the profile's."""
    context = browser.new_context(base_url=admin, **options)
    context.set_default_timeout(WITHIN_MS)
    try:
        page = context.new_page()
        page.goto("/")
        page.get_by_label("Admin token").fill(token)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url(re.compile(r"/$"))
        page.get_by_role("link", name="support-nov").wait_for()
        yield page
    finally:
        context.close()
