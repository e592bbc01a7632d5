"""A provider's list of models, page by page."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2
import pytest

from bench.models.catalogue import ListedModel, ModelsNotListed, listed, retirement, successor_in
from proxy.dialects.operation import Api
from proxy.providers.provider import Provider


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


def names(api: Api, pages: dict[str, object]) -> list[str]:
    async def asked(url: str) -> list[ListedModel]:
        async with httpx2.AsyncClient(trust_env=False) as client:
            return await listed(client, Provider(name="p", api=api, base_url=url), {"x": "y"})

    with lists({path: (200, json.dumps(body)) for path, body in pages.items()}) as url:
        return [each.name for each in asyncio.run(asked(url))]


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
            await listed(client, Provider(name="p", api="openai", base_url=url), {})

    with lists({"/models": (status, body)}) as url, pytest.raises(ModelsNotListed, match=words):
        asyncio.run(asked(url))


@pytest.mark.parametrize(
    "entry",
    [
        {"shutdown_date": "2027-02-01"},
        {"deprecation": "2027-02-01T00:00:00Z"},
        {"expiration_date": "2027-02-01"},
        {"shutdown_date": None, "deprecation": 1801440000},
    ],
)
def test_the_day_on_which_a_model_retires_is_read(entry: dict[str, object]) -> None:
    assert retirement({"id": "a", **entry}) == date(2027, 2, 1)


def test_the_successor_that_a_list_names_is_read() -> None:
    assert successor_in({"id": "a", "deprecation_replacement_model": "b"}) == "b"
    assert successor_in({"id": "a", "deprecation_replacement_model": None}) == ""


@pytest.mark.parametrize(
    "value", [None, "", "soon", "2027-13-01", True, {"inference": 1}, 1e30, float("nan")]
)
def test_a_day_that_cannot_be_read_is_unknown(value: object) -> None:
    assert retirement({"id": "a", "shutdown_date": value}) is None
