"""The list of prices that a machine keeps beside the built-in one (`prices.json` in its data folder), and how
a newer one takes its place. Not what a request costs: that is `prices`.

    fetched, whole and not older    replaces the kept one in one step
    anything else                   leaves it: no answer, an error, a bad or an older list, no room
"""

import asyncio
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
import structlog

from common.clock import every
from common.whole_file import Stamp, file_stamp, write_whole

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, Provider

log = structlog.get_logger()

FILE = "prices.json"
"""In the data folder."""
LOOK_EVERY_S = 5.0
DAY_S = 86400.0
AGAIN_AFTER_S = 3600.0
"""From a failed attempt to the next."""
LATE_AFTER_S = 2 * DAY_S
"""Without a good list for so long, somebody is told."""
WITHIN_S = 10.0
"""For the whole answer. The process cannot end before."""
CONNECT_WITHIN_S = 5.0
MOST_BYTES = 32 << 20


class ListRefused(Exception):
    """Why a list does not take the place of the last good one, in a sentence for a person."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceList:
    """A list to keep up to date: `kept` is its file in the data folder. It comes from `file` or from `url`;
    without either it is the newest one of the library's authors."""

    kept: Path
    url: str = ""
    file: Path | None = None

    @property
    def is_own(self) -> bool:
        """True for somebody's own list, which counts also where the built-in one is newer."""
        return bool(self.url) or self.file is not None

    @property
    def source(self) -> str:
        """Where it comes from, to be shown: a URL without a password and a query."""
        if self.file is not None:
            return str(self.file)
        parts = urlsplit(self._address)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    @property
    def _address(self) -> str:
        _load_library()
        from genai_prices.update_prices import DEFAULT_UPDATE_URL

        return self.url or DEFAULT_UPDATE_URL

    def read(self) -> tuple[bytes, float | None]:
        """What is there now, and the UTC second of its last change if that is said. Raises ListRefused."""
        return _read(self.file) if self.file is not None else _answer(self._address, self.source)


class KeptList(msgspec.Struct, frozen=True, kw_only=True):
    """A good list as it was fetched from `source` at UTC second `fetched_at`.

    `changed_at`: when it was changed there, by the file or the server.
    `providers`: its text.
    """

    source: str
    fetched_at: float
    changed_at: float | None
    providers: msgspec.Raw


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """A list that was read. `starts`: the days on which its prices begin, some of them in the future."""

    providers: list["Provider"]
    starts: frozenset[date]

    def newest(self, today: date) -> date | None:
        """The last day by today on which one of its prices began."""
        return max((day for day in self.starts if day <= today), default=None)

    def is_older_than(self, other: "_Read", today: date) -> bool:
        """True where its newest price began before the other list's. A list announces prices that begin
        later, so two lists can be compared only as of the same day."""
        mine, theirs = self.newest(today), other.newest(today)
        return theirs is not None and (mine is None or mine < theirs)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListInForce:
    """The list by which models are priced; without `kept` it is the built-in one.

    `newest`: the last day by today on which one of its prices began.
    """

    providers: list["Provider"]
    newest: date | None
    kept: KeptList | None = None


def in_force(wanted: PriceList | None, today: date) -> ListInForce:
    """The kept list, if there is a good one of this source that is not older than the built-in one."""
    built_in = _built_in()
    if wanted is not None and (good := _last_good(wanted)) is not None:
        kept, read = good
        if wanted.is_own or not read.is_older_than(built_in, today):
            return ListInForce(providers=read.providers, newest=read.newest(today), kept=kept)
    return ListInForce(providers=built_in.providers, newest=built_in.newest(today))


def list_stamp(wanted: PriceList | None) -> Stamp:
    """A value that changes with the kept list; empty without one."""
    return () if wanted is None else _stamp(wanted.kept)


def prices_stamp(wanted: PriceList | None, now: float) -> tuple[int, Stamp]:
    """A value that changes when prices may: with the UTC day, and with the kept list."""
    return int(now // DAY_S), list_stamp(wanted)


def kept_list(wanted: PriceList) -> KeptList | None:
    """The last good list of this source; None without one, or where it cannot be read."""
    stamp = list_stamp(wanted)
    try:
        kept = _kept_of(wanted.kept, stamp) if stamp else None
    except ListRefused:
        return None
    if kept is None:
        return None
    return kept if kept.source == wanted.source else None


def fetch(wanted: PriceList, now: float) -> KeptList:
    """Fetch the list and keep it. Raises ListRefused, and leaves the last good one in place then."""
    data, changed_at = wanted.read()
    read, today = _parsed(data, wanted.source), datetime.fromtimestamp(now, UTC).date()
    fetched = KeptList(
        source=wanted.source, fetched_at=now, changed_at=changed_at, providers=msgspec.Raw(data)
    )
    if older := _older(fetched, read, wanted, today):
        raise ListRefused(f"{wanted.source} is older than {older}, which stays")
    try:
        write_whole(wanted.kept, msgspec.json.encode(fetched))
    except OSError as problem:
        raise ListRefused(f"{wanted.kept} cannot be written: {problem.strerror}") from problem
    return fetched


class PriceListUpdates:
    """Keeps the list of this machine up to date: a list from a URL once a day, a file when it changes."""

    def __init__(self, wanted: Callable[[], PriceList | None]) -> None:
        self._wanted = wanted
        self._tried: tuple[PriceList, Stamp] | None = None
        self._tried_at = 0.0
        self._problem = ""
        self._late = False

    async def follow(self) -> None:
        """Look again and again whether a list is due. Waits for servers and disks in a thread."""
        await every(LOOK_EVERY_S, lambda: asyncio.to_thread(self.look, time.time()), at_once=True)

    def troubles(self) -> list[str]:
        """Why there has been no good list for two days, or none at all."""
        return [f"the price list is not up to date: {self._problem}"] if self._problem and self._late else []

    def look(self, now: float) -> None:
        """Fetch the list if it is due."""
        wanted = self._wanted()
        if wanted is None:
            self._problem = ""
            return
        kept = kept_list(wanted)
        if self._is_due(wanted, kept, now):
            self._try(wanted, now)
            kept = kept_list(wanted)
        self._late = kept is None or now - kept.fetched_at > LATE_AFTER_S

    def _is_due(self, wanted: PriceList, kept: KeptList | None, now: float) -> bool:
        seen = (wanted, _stamp(wanted.file))
        if seen == self._tried:
            return abs(now - self._tried_at) >= (AGAIN_AFTER_S if self._problem else DAY_S)
        self._tried, self._tried_at, self._problem = seen, now if kept is None else kept.fetched_at, ""
        return wanted.file is not None or kept is None or abs(now - kept.fetched_at) >= DAY_S

    def _try(self, wanted: PriceList, now: float) -> None:
        self._tried_at = now
        try:
            fetched = fetch(wanted, now)
        except ListRefused as problem:
            self._problem = str(problem)
            log.warning("prices.not_updated", problem=self._problem)
        else:
            self._problem = ""
            log.info("prices.updated", source=fetched.source)


def _load_library() -> None:
    """Import genai-prices from its top. Its modules import each other, so of two threads that begin at
    different ones, one would find a half of it."""
    import_module("genai_prices")


def _stamp(path: Path | None) -> Stamp:
    try:
        return () if path is None else file_stamp(path)
    except OSError:
        return ()


def _read(path: Path) -> tuple[bytes, float]:
    try:
        if not path.is_file():  # a pipe would be waited for
            raise ListRefused(f"{path}: there is no such file")
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        changed_at = path.stat().st_mtime
    except OSError as problem:
        raise ListRefused(f"{path} cannot be read: {problem.strerror}") from problem
    if len(data) > MOST_BYTES:
        raise ListRefused(f"{path} has more than {MOST_BYTES >> 20} MiB")
    return data, changed_at


def _answer(url: str, shown: str) -> tuple[bytes, float | None]:
    """Ask once. The whole answer has its time, so that no server holds the thread by a byte now and then."""
    import httpx2

    from common.bounded_http import PLAIN, refuse_packed

    until, data = time.monotonic() + WITHIN_S, bytearray()
    try:
        time_limits = httpx2.Timeout(WITHIN_S / 2, connect=CONNECT_WITHIN_S)
        with httpx2.stream("GET", url, headers=PLAIN, timeout=time_limits) as answer:
            refuse_packed(answer.headers)
            if answer.status_code != 200:
                raise ListRefused(f"{shown} answers {answer.status_code}")
            for piece in answer.iter_raw():
                data += piece
                if len(data) > MOST_BYTES or time.monotonic() > until:
                    raise ListRefused(
                        f"{shown} takes more than {WITHIN_S:g} s or sends more than {MOST_BYTES >> 20} MiB"
                    )
    except httpx2.DecodingError as problem:
        raise ListRefused(f"{shown} is not read: {problem}") from problem
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError, ImportError) as problem:
        # The last two: a proxy in the environment that this client cannot use.
        raise ListRefused(f"{shown} does not answer: {str(problem) or type(problem).__name__}") from problem
    return bytes(data), _moment(answer.headers.get("last-modified"))


def _moment(header: str | None) -> float | None:
    try:
        return None if header is None else parsedate_to_datetime(header).timestamp()
    except ValueError:
        return None


@lru_cache(maxsize=1)
def _built_in() -> _Read:
    _load_library()
    from genai_prices.data import providers

    return _Read(providers=providers, starts=_starts(providers))


def _last_good(wanted: PriceList) -> tuple[KeptList, _Read] | None:
    """The last good list of this source, and what it has; None without one, or where it cannot be read."""
    stamp = list_stamp(wanted)
    try:
        good = _kept(wanted.kept, stamp) if stamp else None
    except ListRefused:
        return None
    return good if good is not None and good[0].source == wanted.source else None


@lru_cache(maxsize=2)
def _kept(path: Path, stamp: Stamp) -> tuple[KeptList, _Read]:
    """The kept list of this stamp, and what it has. Raises ListRefused."""
    kept = _kept_of(path, stamp)
    return kept, _parsed(bytes(kept.providers), str(path))


@lru_cache(maxsize=2)
def _kept_of(path: Path, stamp: Stamp) -> KeptList:
    """The kept list of this stamp, with its providers as they stand. Raises ListRefused."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=KeptList)
    except (OSError, msgspec.DecodeError) as problem:
        raise ListRefused(f"{path}: {problem}") from problem


def _parsed(data: bytes, shown: str) -> _Read:
    """Read a list whose every model can be looked up and priced. Raises ListRefused."""
    _load_library()
    # The only reader that the library has for its own JSON; its updater uses it too.
    from genai_prices.types import _providers_from_raw

    try:
        raw: Any = msgspec.json.decode(data)
        if not isinstance(raw, list):
            raise ListRefused(f"{shown} is no list of providers, as genai-prices writes it")
        providers = _providers_from_raw(raw)
        priced = [
            _is_sound(model) for each in providers if re.compile(each.api_pattern) for model in each.models
        ]
    except msgspec.DecodeError as problem:
        raise ListRefused(f"{shown} is not JSON: {problem}") from problem
    except ListRefused:
        raise
    except Exception as problem:  # whatever the library's reader makes of foreign JSON
        first = str(problem).partition("\n")[0]
        raise ListRefused(f"{shown} is not a list that genai-prices can read: {first}") from problem
    if not any(priced):
        raise ListRefused(f"{shown} prices no model")
    return _Read(providers=providers, starts=_starts(providers))


def _is_sound(model: "ModelInfo") -> bool:
    """True for a model with prices. Raises ValueError for one that is negative, or no number."""
    model.is_match("")  # a bad regular expression shows
    for rate in _rates(model):
        if not (rate.is_finite() and rate >= 0):
            raise ValueError(f"{model.id} has a price of {rate}")
    return bool(model.prices)


def _rates(model: "ModelInfo") -> Iterator[Any]:
    from genai_prices.types import TieredPrices

    all_prices = [each.prices for each in model.prices] if isinstance(model.prices, list) else [model.prices]
    for rate in (rate for prices in all_prices for rate in vars(prices).values() if rate is not None):
        if isinstance(rate, TieredPrices):
            yield from (rate.base, *(tier.price for tier in rate.tiers))
        else:
            yield rate


def _starts(providers: Sequence["Provider"]) -> frozenset[date]:
    """The days on which prices of the list begin."""
    from genai_prices.types import StartDateConstraint

    conditions = (
        each.constraint
        for provider in providers
        for model in provider.models
        if isinstance(model.prices, list)
        for each in model.prices
    )
    return frozenset(each.start_date for each in conditions if isinstance(each, StartDateConstraint))


def _older(fetched: KeptList, read: _Read, wanted: PriceList, today: date) -> str:
    """Which list it is older than: by when it was changed, or by the newest price; "" if by neither."""
    if (good := _last_good(wanted)) is not None:
        before, read_before = good
        last = before.changed_at
        if last is not None and fetched.changed_at is not None and fetched.changed_at < last:
            return "the last good one"
        if read.is_older_than(read_before, today):
            return "the last good one"
    if not wanted.is_own and read.is_older_than(_built_in(), today):
        return "the built-in one"
    return ""
