"""R40: answers that unpack to a quarter of a gigabyte, and long plain ones, at each client of the admin."""

import asyncio
import gzip
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import brotli
import pytest

from alerts.incidents.notice import Receiver
from alerts.incidents.notifier import Announcement, announce, notifier_client
from bench.models.asker import Asker, client_for, direct
from bench.models.catalogue import ModelsNotListed, models_of
from console.access.openid import OpenIdProvider
from console.access.openid_settings import OidcSettings, SignInFailed
from records.captures.capture import CapturedMessage
from records.facts.price_list import ListRefused, PriceList
from tests.bench.asking import PRICES, entry

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

UNPACKED = 256 << 20
MOST_GROWTH = 32 << 20
NEWS = Announcement(kind="verdict_reached", about={"canary": "support"}, headline="ship", at=1.0)


@dataclass(slots=True)
class Hostile:
    url: str
    coding: str = "br"


@pytest.fixture(scope="module")
def hostile() -> Iterator[Hostile]:
    """A server that answers everything with 200 and very many zeros, packed as it is told."""
    zeros = bytes(UNPACKED)
    answers = {
        "br": brotli.compress(zeros, quality=5),
        "gzip": gzip.compress(zeros, 9),
        "zstd": zstd.compress(zeros),
        "plain": zeros,
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", "0")))
            body = answers[said.coding]
            self.send_response(200)
            if said.coding != "plain":
                self.send_header("content-encoding", said.coding)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            try:
                for start in range(0, len(body), 1 << 16):
                    self.wfile.write(memoryview(body)[start : start + (1 << 16)])
            except OSError:
                pass  # it was left, as it should be

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        said = Hostile(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield said
        finally:
            server.shutdown()
            thread.join()


def webhook(url: str) -> str:
    async def told() -> str | None:
        async with notifier_client() as client:
            return await announce(client, Receiver(kind="webhook", url=url), NEWS)

    return asyncio.run(told()) or "taken"


def model_list(url: str) -> str:
    with pytest.raises(ModelsNotListed) as refused:
        asyncio.run(models_of(entry(url), {}))
    return str(refused.value)


def sign_in(url: str) -> str:
    settings = OidcSettings(
        issuer=url, client_id="canary", client_secret="secret", redirect_uri=f"{url}/oidc/callback"
    )

    async def asked() -> None:
        await OpenIdProvider(lambda: 0.0).authorization_url(settings, state="s", nonce="n", verifier="v" * 43)

    with pytest.raises(SignInFailed) as refused:
        asyncio.run(asked())
    return str(refused.value)


def price_list(url: str) -> str:
    with pytest.raises(ListRefused) as refused:
        PriceList(kept=Path("unused"), url=url).read()
    return str(refused.value)


def judge(url: str) -> str:
    provider = entry(url)

    async def asked() -> str | None:
        async with client_for(provider, at_once=1) as client:
            answer = await Asker(client, direct(provider, "new", PRICES, {})).ask(
                (CapturedMessage("user", "Which is better?"),)
            )
            return answer.failure

    return str(asyncio.run(asked()))


CLIENTS: dict[str, tuple[Callable[[str], str], str]] = {
    "webhook": (webhook, "taken"),
    "model list": (model_list, "packed answer|longer than"),
    "sign-in": (sign_in, "packed answer|longer than"),
    "price list": (price_list, "packed answer|more than 32 MiB"),
    "judge": (judge, "provider_malformed"),
}


@pytest.mark.parametrize("coding", ["br", "gzip", "zstd", "plain"])
@pytest.mark.parametrize("name", CLIENTS)
def test_an_answer_of_a_quarter_gigabyte_costs_the_admin_no_memory(
    hostile: Hostile, name: str, coding: str
) -> None:
    hostile.coding = coding
    ask, said = CLIENTS[name]
    before = _from_now_on()
    told = ask(hostile.url)
    grown = _peak() - before
    print(f"\nR40: {name}, {coding}: grew by {grown / 2**20:.0f} MiB; {told}")
    assert re.search(said, told)
    most = MOST_GROWTH if (name, coding) != ("price list", "plain") else 2 * MOST_GROWTH
    assert grown <= most


def test_an_answer_of_a_quarter_gigabyte_costs_the_process_of_apprise_a_bounded_memory(
    hostile: Hostile,
) -> None:
    hostile.coding = "gzip"
    url = hostile.url.replace("http:", "json:")
    done = subprocess.run(
        [sys.executable, "-c", TELL_APPRISE, url], capture_output=True, text=True, check=True, timeout=120
    )
    most, _, said = done.stdout.strip().partition(" ")
    print(f"\nR40: Apprise's process had at most {most} MiB: {said}")
    assert int(most) <= 350


TELL_APPRISE = """
import asyncio, resource, sys
from alerts.incidents import apprise_receiver
result = asyncio.run(apprise_receiver.send(sys.argv[1], {"title": "t", "body": "b", "type": "info"}))
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10, result.problem or "taken")
"""
"""In a process of its own, whose only child is Apprise's: what its largest child had counts."""


def _from_now_on() -> int:
    Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is resident
    return _peak()


def _peak() -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) << 10
