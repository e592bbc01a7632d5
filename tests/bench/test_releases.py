"""What is new in a provider's list, page by page, and what is still to be done about it."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2
import pytest

from bench.listing import Catalogue, Unlisted, listed
from bench.releases import WatchMemory, after_announcing, after_benchmark, after_listing

AT = "2026-11-25T12:00:00Z"


def look(
    memory: WatchMemory, *models: str, at: str = AT, receivers: tuple[str, ...] = ("hook",)
) -> WatchMemory:
    return after_listing(memory, "p", models, at=at, receivers=receivers, measure=True)[0]


def test_at_the_first_look_all_models_are_known_and_nobody_is_told() -> None:
    memory = look(WatchMemory(), "old", "older")
    assert memory.known == {"p": {"old": AT, "older": AT}}
    assert (memory.untold, memory.unmeasured) == ({}, ())


def test_a_new_model_is_told_and_measured_once_also_when_it_goes_and_comes_again() -> None:
    memory = look(look(WatchMemory(), "old"), "old", "new", at="later")
    assert memory.known["p"] == {"old": AT, "new": "later"}
    assert (memory.untold, memory.unmeasured) == ({"p/new": ("hook",)}, ("p/new",))
    done = after_benchmark(after_announcing(memory, {"p/new": []}), "p/new")
    assert look(look(done, "old"), "old", "new").untold == {}
    assert look(look(done, "old"), "old", "new").unmeasured == ()


def test_who_was_not_reached_is_still_to_be_told() -> None:
    memory = look(look(WatchMemory(), "old"), "old", "new", receivers=("hook", "slack"))
    assert after_announcing(memory, {"p/new": ["slack"]}).untold == {"p/new": ("slack",)}


def test_only_models_that_are_wanted_are_news() -> None:
    memory, names = after_listing(
        look(WatchMemory(), "old"),
        "p",
        ["old", "gpt-5", "tts-9"],
        at=AT,
        receivers=["hook"],
        measure=False,
        wanted=lambda model: model.startswith("gpt"),
    )
    assert names == ["p/gpt-5"]
    assert "tts-9" in memory.known["p"]
    assert memory.unmeasured == ()


@contextmanager
def lists(pages: dict[str, tuple[int, str]]) -> Iterator[str]:
    """A server that answers these paths, with their query, with (status, body)."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = pages[self.path]
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def names(api: str, pages: dict[str, object]) -> list[str]:
    async def asked(url: str) -> list[str]:
        async with httpx2.AsyncClient(trust_env=False) as client:
            return await listed(client, Catalogue(name="p", api=api, url=url, headers={"x": "y"}))

    with lists({path: (200, json.dumps(body)) for path, body in pages.items()}) as url:
        return asyncio.run(asked(url))


def test_every_page_of_a_list_is_read() -> None:
    openai = {"/models": {"data": [{"id": "a"}, {"id": "b"}]}}
    assert names("openai", openai) == ["a", "b"]
    anthropic = {
        "/v1/models": {"data": [{"id": "a"}], "has_more": True, "last_id": "a"},
        "/v1/models?after_id=a": {"data": [{"id": "b"}], "has_more": False, "last_id": "b"},
    }
    assert names("anthropic", anthropic) == ["a", "b"]
    gemini = {
        "/v1beta/models": {"models": [{"name": "models/a"}], "nextPageToken": "t"},
        "/v1beta/models?pageToken=t": {"models": [{"name": "models/b"}]},
    }
    assert names("gemini", gemini) == ["a", "b"]


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (503, "", "HTTP 503"),
        (200, "<html>", "not JSON"),
        (200, "[]", "not a list"),
        (200, "{}", "not a list"),
    ],
)
def test_a_list_that_cannot_be_had_says_why(status: int, body: str, words: str) -> None:
    async def asked(url: str) -> None:
        async with httpx2.AsyncClient(trust_env=False) as client:
            await listed(client, Catalogue(name="p", api="openai", url=url, headers={}))

    with lists({"/models": (status, body)}) as url, pytest.raises(Unlisted, match=words):
        asyncio.run(asked(url))
