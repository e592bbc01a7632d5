"""People who label pairs on the page, with nothing but what it shows them."""

import html
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx2

Person = Callable[[str, str], str]
"""What a person says who reads answers A and B: "a", "b", "both", "neither" or "unclear"."""

_FIELDS = re.compile(r'name="(check|onwards|form_token|exchange)" value="([^"]*)"')
_ANSWER = re.compile(r'aria-label="Answer [AB]">([^<]*)<')


@contextmanager
def logged_in(admin: str, token: str) -> Iterator[httpx2.Client]:
    """A browser's session with the admin page."""
    with httpx2.Client(base_url=admin, trust_env=False, timeout=20.0) as browser:
        fields = dict(_FIELDS.findall(browser.get("/login").text))
        assert browser.post("/login", data={**fields, "token": token}).status_code == 303
        yield browser


def sit(browser: httpx2.Client, canary: str, person: Person, labels: int) -> None:
    """Label so many pairs as the page asks for them."""
    for _ in range(labels):
        page = browser.get(f"/canaries/{canary}/label?who=ann").text
        first, second = map(html.unescape, _ANSWER.findall(page))
        form = {**dict(_FIELDS.findall(page)), "right": person(first, second), "who": "ann"}
        assert browser.post(f"/canaries/{canary}/label", data=form).status_code == 303
