"""Parsers for the quantities in a config (durations as "10m", shares as "5%", scales as "1-7", addresses);
its names: their patterns, and what a mistyped one meant."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)")
_SCALE = re.compile(r"(-?\d+(?:\.\d+)?)\s*(?:-|\.\.|–|to)\s*(-?\d+(?:\.\d+)?)")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_ADDRESS = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.%]+)\]|(?P<host>[^\s:/\[\]]+)):(?P<port>\d{1,5})")


def parse_duration(text: object) -> float:
    """Seconds from "250ms", "5s", "10m", "1h", "3d" or "1w". Raises ValueError."""
    match = _DURATION.fullmatch(str(text).strip())
    if match:
        return float(match[1]) * _UNITS_S[match[2]]
    if _NUMBER.fullmatch(str(text).strip()):
        raise ValueError(f'a duration needs a unit: write "{text}s" for seconds (or ms, m, h, d, w)')
    raise ValueError(
        f'"{text}" is not a duration; write a number with ms, s, m, h, d or w, for example 90s or 3d'
    )


def parse_share(text: object) -> float:
    """A share in [0, 1] from "5%" or "0.05". Raises ValueError."""
    written = str(text).strip()
    number = written.removesuffix("%").rstrip()
    if not _NUMBER.fullmatch(number):
        raise ValueError(f'"{text}" is not a share; write, for example, 5% or 0.05')
    percent = written.endswith("%")
    share = float(number) / 100 if percent else float(number)
    if not percent and share > 1:
        raise ValueError(f"{text} is more than 100%; did you mean {text}%?")
    if not 0 <= share <= 1:
        raise ValueError(f"{text} is not a share; a share lies between 0% and 100%")
    return share


def parse_risk(value: object, named: Mapping[str, float]) -> float:
    """A risk in (0, .5] from a name, "10%" or "0.1". Raises ValueError."""
    written = str(value).strip()
    right = f"write {', '.join(named)}, or a share above 0% and up to 50%, for example 10%"
    if written in named:
        return named[written]
    try:
        risk = parse_share(written)
    except ValueError:
        raise ValueError(f'"{value}" is not a risk; {right}') from None
    if not 0 < risk <= 0.5:
        raise ValueError(f"{value} is not a risk that a plan can take; {right}")
    return risk


def parse_scale(value: object) -> tuple[float, float]:
    """Lowest and highest value from "1-7" or [1, 7]. Raises ValueError."""
    if isinstance(value, list):
        value = "-".join(str(end) for end in value)
    match = _SCALE.fullmatch(str(value).strip())
    if not match:
        raise ValueError("cannot read this scale; write its ends, for example 1-7 or [1, 7]")
    low, high = float(match[1]), float(match[2])
    if low >= high:
        raise ValueError("the scale's first end must be below its second")
    return low, high


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPort:
    """A host and TCP port to listen on. Port 0 lets the system choose a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


DEFAULT_TRAFFIC = HostPort(host="127.0.0.1", port=8080)
DEFAULT_ADMIN = HostPort(host="127.0.0.1", port=8081)


def parse_address(text: object) -> HostPort:
    """An address from "HOST:PORT" or "[IPV6]:PORT". Raises ValueError."""
    match = _ADDRESS.fullmatch(str(text).strip())
    if not match or int(match["port"]) > 65535:
        right = (
            f"127.0.0.1:{text}" if str(text).strip().isdecimal() else "HOST:PORT, for example 127.0.0.1:8080"
        )
        raise ValueError(f'"{text}" is not an address; write {right}')
    return HostPort(host=match["six"] or match["host"], port=int(match["port"]))


def is_loopback(host: str) -> bool:
    """True for an address that only this machine can reach."""
    return host in ("localhost", "::1") or host.startswith("127.")


CANARY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
METRIC_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
TAG_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")

COMPUTED: tuple[str, ...] = (
    "error_rate",
    "refused",
    "cut_off",
    "empty",
    "invalid_output",
    "answer_faults",
    "abandoned",
    "cost_per_request",
    "cost_total",
    "tokens",
    "session_cost",
    "session_exchanges",
    "session_length_s",
    "session_tokens",
    "session_tool_calls",
    "session_faults",
    "session_abandoned",
    "session_cache_hits",
    "session_repeats",
    *(f"{time}_{level}" for time in ("latency", "ttft") for level in ("p50", "p90", "p95", "p99")),
)
"""The metrics that `verdict.sample.observations` computes from the traffic."""


_CUTOFF = 0.6
"""Minimum difflib similarity for a suggestion; "shar" and "share" have .89."""


def nearest(wrong: str, right: Iterable[str]) -> str | None:
    """The most similar valid name, or None."""
    from difflib import get_close_matches

    names = {name.lower(): name for name in right}
    found = get_close_matches(wrong.lower(), names, n=1, cutoff=_CUTOFF)
    return names[found[0]] if found else None


def suggestion(wrong: str, right: Iterable[str]) -> str:
    """Text to append to a message: the nearest name, else all names, else nothing."""
    names = list(right)
    found = nearest(wrong, names)
    if found is not None:
        return f'; did you mean "{found}"?'
    return f"; known names: {', '.join(names)}" if names else ""
