"""Debian's Chromium without a window, driven by Playwright: one browser, and pages that are logged in."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright

WITHIN_MS = 30_000
expect.set_options(timeout=WITHIN_MS)  # a loaded machine may take its time

PROGRAMS = ("chromium-headless-shell", "chromium")
"""The first that is here: the shell does with half the processor's time."""
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
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    assert program is not None, "Chromium is not installed: `make test-programs`"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*ARGUMENTS])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Browser, admin: str, token: str, *, at: str = "/", **options: Any) -> Iterator[Page]:
    """A page of a browser profile of its own, logged in; empty where `at` is. `options` are the profile's."""
    context = browser.new_context(base_url=admin, **options)
    context.set_default_timeout(WITHIN_MS)
    try:
        fields = re.findall(r'name="(check|onwards)" value="([^"]*)"', context.request.get("/login").text())
        context.request.post("/login", form={**dict(fields), "token": token}, headers={"origin": admin})
        page = context.new_page()
        if at:
            page.goto(at)
        yield page
    finally:
        context.close()
