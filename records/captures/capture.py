"""Captured exchanges: redacted requests and answers for datasets. Off unless the config has `capture`.

A worker records the answer while relaying it (`proxy.answers.recorder`) and pipes it with the request to its
capture process. That process redacts both (`redaction`) and writes them to a file, so no text reaches a disk
before redaction. The admin process moves the files into the database (`records.store.captures`) and deletes
expired captures.
"""

import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import msgspec

from common.whole_file import write_whole
from routing.canary import ArmName

CaptureReason = Literal["rate", "category"]
"""Why an exchange was captured: by a random draw of it or its session, or among the first of its category on
that day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureRule:
    """What is captured for a canary, or for a model without one: the first `per_category` exchanges of each
    category and day, and a random part `rate`, in [0, 1], of all others: of sessions, each whole, and of
    exchanges without a session. `redact` holds the rule's own patterns."""

    rate: float
    per_category: int = 0
    expires_after_s: float = 30 * 86400.0
    redact: tuple[str, ...] = ()


def strictest(rules: Sequence[CaptureRule], redact: Sequence[str] = ()) -> CaptureRule:
    """How texts that are no single rule's are kept: redacted by all patterns, and for the shortest time."""
    patterns = dict.fromkeys([*redact, *(pattern for rule in rules for pattern in rule.redact)])
    none = CaptureRule(rate=0.0, redact=tuple(patterns))
    return replace(none, expires_after_s=min(each.expires_after_s for each in rules or [none]))


def takes_session(session: str, rate: float) -> bool:
    """True for a session, by its hash, whose every exchange is captured at this rate."""
    return int(session[:8], 16) < rate * 2**32


class CapturedToolCall(msgspec.Struct, frozen=True, gc=False):
    """One call of a tool that the app runs. `id` is "" where the API has none.

    `arguments`: JSON text, or what the model wrote in its place; the input of a tool that takes a text is a
    JSON string.
    """

    id: str
    name: str
    arguments: str


class CapturedMessage(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One message of a request, in the form that datasets use.

    `tool_calls`: what the assistant called. A tool's result is a message of role `tool`, and names its call.
    """

    role: str
    content: str
    tool_calls: tuple[CapturedToolCall, ...] = ()
    tool_call_id: str = ""

    @property
    def said(self) -> str:
        """The text and the calls, as people and judges read them."""
        return _with_calls(self.content, self.tool_calls)


def _with_calls(text: str, calls: Sequence[CapturedToolCall]) -> str:
    return "\n".join(
        [*([text] if text else []), *(f"[calls {each.name} {each.arguments}]" for each in calls)]
    )


class WireRequest(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One request in its own wire form, so that it can be sent again.

    `path`: as callers write it (`/v1/…`), with the query but without a credential. `body`: JSON text.
    `headers`: those that change how a provider reads the body, for example `anthropic-beta`.
    """

    path: str
    body: str
    headers: Mapping[str, str] = {}


class CaptureInfo(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A captured exchange without its texts.

    `at` and `expires_at` are UTC seconds; `unit` and `session` are hashes; `kept` says why the exchange was
    captured; `rate` is the rule's; `copy_of` is the exchange that a mirror
    copy repeats, "" for a real exchange. `canary` is "" for a model that no canary takes.
    """

    exchange_id: str
    at: float
    expires_at: float
    canary: str
    run: int
    phase: int
    arm: ArmName
    kept: CaptureReason
    per_category: int = 0
    rate: float = 0.0
    copy_of: str = ""
    served_by: ArmName | None = None
    unit: str = ""
    session: str = ""
    category: str = ""
    tags: Mapping[str, str] = {}
    provider: str = ""
    model: str = ""

    @property
    def source(self) -> str:
        """What the exchange was captured for."""
        return source_of(self.canary, self.model)


def source_of(canary: str, model: str) -> str:
    """What an exchange is captured for: its canary, or without one `model:MODEL`, which names no canary."""
    return canary or f"model:{model}"


class CaptureSample(msgspec.Struct, frozen=True, kw_only=True):
    """An exchange selected for capture before its answer arrives.

    For a mirror copy, `exchange_id` is the id of the real exchange.
    """

    exchange_id: str
    kept: CaptureReason
    rule: CaptureRule


class Capture(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One captured exchange, redacted. `truncated`: the answer was longer than the capture limit.

    `answer` is the answer's text, `answer_calls` what it calls. `tools`: the tools that the request declares,
    as JSON text in the form of OpenAI's chat, "" without any. `request`: the whole request, to be sent again;
    None for a mirror copy, and for captures of earlier versions.
    """

    about: CaptureInfo
    messages: tuple[CapturedMessage, ...]
    answer: str
    answer_calls: tuple[CapturedToolCall, ...] = ()
    tools: str = ""
    truncated: bool = False
    request: WireRequest | None = None

    @property
    def said(self) -> str:
        """The answer's text and calls, as people and judges read them."""
        return _with_calls(self.answer, self.answer_calls)


class RawCapture(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A captured exchange before redaction, as sent through the pipe. Never written to disk.

    `request` is the request's body; `path` and `headers` are as in `WireRequest`. `calls` are the answer's.
    """

    about: CaptureInfo
    request: bytes
    answer: str
    calls: tuple[CapturedToolCall, ...] = ()
    truncated: bool = False
    redact: tuple[str, ...] = ()
    path: str = ""
    headers: Mapping[str, str] = {}


# Files of captured exchanges that wait for the database: written atomically, deleted once stored.


ENDING = ".capture"
CAP_BYTES = 256 << 20
_LEFT_BEHIND_S = 3600.0

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(tuple[Capture, ...]).decode


@dataclass(frozen=True, slots=True)
class UnstoredFile:
    """One file and its captures; no captures when the file is unreadable."""

    path: Path
    captures: tuple[Capture, ...]


def write_captures(folder: Path, captures: Sequence[Capture]) -> bool:
    """Write the captures to a new file. False when the folder already holds 256 MiB or the write fails."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    document = _encode(captures)
    if sum(_size(entry) for entry in os.scandir(folder)) + len(document) > CAP_BYTES:
        return False
    name = f"{time.time_ns():020}-{os.getpid()}-{secrets.token_hex(4)}{ENDING}"
    try:
        write_whole(folder / name, document)
    except OSError:
        return False
    return True


def unstored(folder: Path) -> Iterator[UnstoredFile]:
    """Yield every complete file, oldest first."""
    if not folder.is_dir():
        return
    for path in sorted(folder.glob(f"*{ENDING}")):
        try:
            yield UnstoredFile(path, _decode(path.read_bytes()))
        except FileNotFoundError:
            continue
        except (msgspec.DecodeError, UnicodeDecodeError):
            yield UnstoredFile(path, ())


def delete_left_behind(folder: Path, *, now: float) -> None:
    """Delete files whose captures have all expired, and temporary files left by a crash."""
    for file in unstored(folder):
        if all(capture.about.expires_at <= now for capture in file.captures):
            file.path.unlink(missing_ok=True)
    for path in folder.glob("*.tmp") if folder.is_dir() else ():
        if now - path.stat().st_mtime > _LEFT_BEHIND_S:
            path.unlink(missing_ok=True)


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except FileNotFoundError:  # stored and deleted just now
        return 0
