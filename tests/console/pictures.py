"""`make pictures`: draws docs/pictures from a live server with twenty canaries, some with days behind them.

Users are made up; canary's figures, charts, verdicts and guardrails are its own.
"""

import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Literal

import httpx2
import msgspec
import yaml
from playwright.sync_api import Browser, Page

from demo.history import BETTER, FIRST, PastRelease, behaviours, made_up
from demo.provider.behaviour import Behaviour
from demo.provider.server import LocalProvider
from tests.console.chromium import chromium, opened
from tests.console.showcase import Visitors
from tests.e2e.stage import SECRET, Stage
from tests.serving import ProviderThread, eventually

Theme = Literal["light", "dark"]
THEMES: tuple[Theme, ...] = ("light", "dark")
FOLDER = Path(__file__).parents[2] / "docs/pictures"
WIDE, NARROW, MARGIN = 1280, 390, 16
LOCAL: Any = {"locale": "en-GB", "timezone_id": "UTC"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A page of the showcase, from its top down to `height`, or only the `part` that a selector finds. `then`
    is the link that is followed there."""

    name: str
    path: str
    height: int = 900
    width: int = WIDE
    part: str = ""
    then: str = ""

    def file(self, theme: Theme) -> str:
        """Its file's name."""
        return f"{self.name}{'-dark' if theme == 'dark' else ''}.png"


PICTURES = (
    Picture(name="overview", path="/"),
    Picture(name="overview-narrow", path="/", width=NARROW, height=844),
    Picture(name="canary", path="/canaries/support-nov?span=run", height=1000),
    Picture(name="canary-narrow", path="/canaries/billing-mini", width=NARROW, height=844),
    Picture(name="trouble", path="/canaries/billing-mini?span=run", height=1080),
    Picture(name="guardrails", path="/canaries/billing-mini", part="[aria-label=Guardrails]"),
    Picture(name="report", path="/canaries/support-nov/report"),
    Picture(name="release", path="/releases", then="text=/assistant-4|2024-11-20/", height=1120),
    Picture(name="labelling", path="/canaries/support-nov/label", height=720),
)


def main() -> None:
    """Let users ask for a while, and look."""
    FOLDER.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        gallery(Path(folder)) as stage,
        chromium() as browser,
    ):
        for picture, theme in product(PICTURES, THEMES):
            (FOLDER / picture.file(theme)).write_bytes(small(taken(browser, stage, picture, theme)))
    written = sorted(FOLDER.glob("*.png"))
    sys.stdout.write(f"docs/pictures: {len(written)}, {sum(each.stat().st_size for each in written):,} B\n")


def taken(browser: Browser, stage: Stage, picture: Picture, theme: Theme) -> bytes:
    """The picture as a PNG."""
    screen: Any = {"width": picture.width, "height": picture.height}
    where = stage.server.admin, stage.server.token
    with opened(browser, *where, at=picture.path, viewport=screen, color_scheme=theme, **LOCAL) as page:
        if picture.then:
            page.locator(picture.then).first.click()
        _drawn(page)
        part: Any = {"clip": _around(page, picture), "full_page": True} if picture.part else {}
        return page.screenshot(**part)


def _around(page: Page, picture: Picture) -> Any:
    found: Any = page.locator(picture.part).bounding_box()
    return {"x": 0, "y": found["y"] - MARGIN, "width": picture.width, "height": found["height"] + 2 * MARGIN}


def _drawn(page: Page) -> None:
    """Wait until nothing is missing."""
    page.wait_for_load_state()
    if page.locator("#connection").count():
        page.get_by_text("Live, updated every second.").wait_for(state="attached")
    if page.locator("#charts").count():
        page.locator("#charts canvas").nth(5).wait_for()


def small(png: bytes) -> bytes:
    """The same in 256 colours."""
    command = ["pngquant", "--speed=1", "--strip", "-"]
    return subprocess.run(command, input=png, stdout=subprocess.PIPE, check=True).stdout


def size_of(png: bytes) -> tuple[int, int]:
    """Its width and height."""
    width, height = struct.unpack(">2I", png[16:24])
    return width, height


def corner_of(png: bytes) -> tuple[int, ...]:
    """The colour of its first pixel. No filter changes that: there is nothing before it."""
    depth, colours = png[24:26]
    chunks = dict(_chunks(png))
    raw = zlib.decompress(chunks[b"IDAT"])
    if colours != 3:
        return tuple(raw[1:4])
    place = raw[1] >> (8 - depth)
    return tuple(chunks[b"PLTE"][3 * place :][:3])


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    at, found = 8, b""
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        content, at = png[at + 8 : at + 8 + length], at + length + 12
        found += content if kind == b"IDAT" else b""
        yield kind, found if kind == b"IDAT" else content


# The server.


DEAR, CHEAP = (replace(each, cost_usd=each.cost_usd * 30) for each in (FIRST, BETTER))
PAST = (
    PastRelease(
        canary="search-rerank", baseline="rank-1", candidate="rank-2", ago=14, days=14, current=DEAR,
        new=replace(CHEAP, completes=0.96, delights=0.6),
    ),
    PastRelease(
        canary="translate-eu", baseline="words-3", candidate="words-4", ago=9, days=9, current=DEAR,
        new=replace(DEAR, cost_usd=0.05, completes=0.72, delights=0.3),
    ),
    PastRelease(
        canary="legal-drafts", baseline="drafts-1", candidate="drafts-2", ago=3, days=3, current=DEAR,
        new=DEAR,
    ),
    PastRelease(
        canary="support-nov", baseline="assistant-3", candidate="assistant-4", ago=6, days=6, current=DEAR,
        new=replace(CHEAP, completes=0.92),
    ),
)  # fmt: skip
"""Each goes on."""
RIGHT = {"assistant-3": 54, "assistant-4": 57, "rank-1": 50, "rank-2": 56, "words-3": 57, "words-4": 44}
TODAY = (
    "refund-agent", "onboarding-chat", "summaries", "code-review", "sql-helper", "voice-triage", "hr-answers",
    "sales-emails", "faq-bot", "tickets-routing", "catalogue-tags", "moderation", "risk-notes", "invoices",
)  # fmt: skip
RATED = (*(each.canary for each in PAST), *TODAY[:9])
OWNERS = ("payments", "search", "platform")
PRICES = {"input": 300, "output": 1_200}
"""So that a short answer costs what the made-up ones do."""
QUESTION = "Where is my parcel?"
SAYS = {
    "assistant-3": "Your parcel left our depot this morning. It should be with you tomorrow.",
    "assistant-4": "It is on its way, and arrives tomorrow between 9 and 12. You can follow it in the app.",
}
FINE = Behaviour(ttft_s=0.05, spread=0.5, pace_s=0.004, faults={"status": 0.004})
BAD = Behaviour(ttft_s=0.05, spread=0.5, pace_s=0.004, faults={"status": 0.6})
SENDING_S = 100.0
AT_ONCE = 3


@contextmanager
def gallery(folder: Path) -> Iterator[Stage]:
    """Twenty canaries after SENDING_S of traffic, at the end of which one is rolled back."""
    data = folder / "data"
    data.mkdir(mode=0o700)
    (data / "secret").write_text(SECRET)
    known = {model: msgspec.convert(each, Behaviour) for model, each in behaviours(RIGHT).items()}
    for model, said in SAYS.items():
        known[model] = replace(FINE, says={**known[model].says, QUESTION: said})
    with ProviderThread(LocalProvider(known, other=FINE)) as provider:
        added = made_up(folder, data, provider.url, SECRET.encode(), now=time.time(), releases=PAST)
        config = _config(added)
        stage = Stage(folder, provider, yaml.safe_dump(config), workers=2)
        try:
            _happen(stage, {each["name"]: each["match"]["models"][0] for each in config["canaries"]})
            yield stage
        finally:
            stage.server.kill()


def _config(added: Any) -> Any:
    """The config of all twenty."""
    going_on = [
        each | {"owner": OWNERS[number % 3], "mirror": "50%", "capture": {"rate": "50%"}}
        for number, each in enumerate(added["canaries"])
    ]
    today = [
        _canary("billing-mini", "platform", share="20%"),
        *(_canary(name, OWNERS[n % 3], share=f"{5 + n % 4 * 5}%") for n, name in enumerate(TODAY)),
        _canary("image-captions", "search", share="5%") | {"start": "manual"},
    ]
    models = {each[arm]["model"] for each in (*going_on, *today) for arm in ("baseline", "candidate")}
    prices = dict.fromkeys(sorted(models), PRICES)
    return dict(added) | {"prices": prices, "canaries": [*going_on, *today]}


def _canary(name: str, owner: str, share: str) -> dict[str, Any]:
    before, after = (
        {"provider": "made-up", "model": f"{name.partition('-')[0]}-{version}"} for version in (4, 5)
    )
    arms = {"match": {"models": [before["model"]]}, "baseline": before, "candidate": after}
    return {"name": name, "owner": owner, "share": share, **arms}


def _happen(stage: Stage, models: Mapping[str, str]) -> None:
    """Users ask all canaries, by the models that each matches, until one of them goes bad."""
    with (
        httpx2.Client(headers={"authorization": "Bearer sk-caller"}, trust_env=False, timeout=30.0) as http,
        ThreadPoolExecutor(AT_ONCE) as pool,
    ):
        visitors = Visitors(stage, http, QUESTION)

        def asked(each: tuple[int, str]) -> None:
            exchange = visitors.ask(models[each[1]], each[0])
            if each[1] in RATED:
                visitors.rate(exchange, each[0])

        deque(pool.map(asked, product(range(40), models)))
        ends, number = time.monotonic() + SENDING_S, 0
        while time.monotonic() < ends or stage.status("billing-mini")["state"] == "running":
            if time.monotonic() > ends - SENDING_S / 4:
                stage.provider.behave("billing-5", BAD)
            number += AT_ONCE
            deque(pool.map(partial(visitors.ask, models["billing-mini"]), range(number, number + AT_ONCE)))
            time.sleep(0.05)
    order = {"who": "Ann", "reason": "answers are too long for the phone"}
    stage.api("POST", "/api/canaries/faq-bot/pause", order).raise_for_status()
    eventually(lambda: stage.status("billing-mini")["open_incident"])


if __name__ == "__main__":
    main()
