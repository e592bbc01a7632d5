"""The real server before a provider that is a raw socket, the ways through it, and what its store says."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.shapes import Ask, Shape
from tests.e2e.wires import Caller, RawProvider
from tests.records.stored import stored_in
from tests.serving import Running, eventually

APIS = ("openai", "anthropic", "gemini")
SHARES = {"kept": "1%", "tried": "100%", "bare": "100%"}
"""Of the canaries of each API: our unit is not in the cohort, all are in it, all are with nobody to cover."""

SECRET = "the cohorts are the same in every run"
UNIT = "unit-1"


def config(url: str) -> str:
    """Entries of each API (`two-…` has no canary, `keyed-…` a key of its own), three canaries of each."""
    lines = ["providers:"]
    for prefix, more in (("", ""), ("two-", ""), ("keyed-", ", api_key: sk-own")):
        for api in APIS:
            base = url + ("/v1" if api == "openai" else "")
            lines.append(f'  {prefix}{api}: {{api: {api}, base_url: "{base}"{more}}}')
    lines.append("canaries:")
    for api in APIS:
        for kind, share in SHARES.items():
            name = f"{kind}-{api}"
            lines += [
                f"  - name: {name}",
                f"    match: {{models: [{name}]}}",
                f"    baseline: {{provider: {api}, model: {name}-baseline}}",
                f"    candidate: {{provider: {api}, model: {name}-candidate}}",
                f"    share: {share}",
                f"    on_candidate_failure: {'error' if kind == 'bare' else 'baseline'}",
                "    guardrails: []",
            ]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way through. `canary`: whose, "" for none; `named`: by `/PROVIDER/…`; `stripped`: the caller does
    not ask for usage, so that canary does."""

    name: str
    canary: str = ""
    arm: str = "baseline"
    named: bool = False
    held: bool = False
    stripped: bool = False


BASELINE = Way(name="baseline", canary="kept")
CANDIDATE = Way(name="candidate", canary="tried", arm="candidate", held=True)
BARE = Way(name="candidate-alone", canary="bare", arm="candidate")
PLAIN = Way(name="no-canary")
NAMED = Way(name="named-provider", named=True)
BASELINE_INJECTED = Way(name="baseline-usage-injected", canary="kept", stripped=True)
INJECTED = Way(name="candidate-usage-injected", canary="tried", arm="candidate", held=True, stripped=True)

_ASKS: dict[Ask, tuple[str, str, str, str]] = {
    # ask: (API, method, path, body); MODEL is the way's
    "chat": ("openai", "POST", "/v1/chat/completions", '{"model":"MODEL","messages":[]}'),
    "chat-stream": (
        "openai",
        "POST",
        "/v1/chat/completions",
        '{"model":"MODEL","messages":[],"stream":true}',
    ),
    "completions": ("openai", "POST", "/v1/completions", '{"model":"MODEL","prompt":"a"}'),
    "embeddings": ("openai", "POST", "/v1/embeddings", '{"model":"MODEL","input":"a"}'),
    "responses": ("openai", "POST", "/v1/responses", '{"model":"MODEL","input":"a"}'),
    "responses-stream": ("openai", "POST", "/v1/responses", '{"model":"MODEL","input":"a","stream":true}'),
    "messages": ("anthropic", "POST", "/v1/messages", '{"model":"MODEL","messages":[]}'),
    "messages-stream": ("anthropic", "POST", "/v1/messages", '{"model":"MODEL","messages":[],"stream":true}'),
    "generate": ("gemini", "POST", "/v1beta/models/MODEL:generateContent", '{"contents":[]}'),
    "generate-sse": (
        "gemini",
        "POST",
        "/v1beta/models/MODEL:streamGenerateContent?alt=sse",
        '{"contents":[]}',
    ),
    "generate-array": ("gemini", "POST", "/v1beta/models/MODEL:streamGenerateContent", '{"contents":[]}'),
    "models": ("openai", "GET", "/v1/models", ""),
    "head": ("openai", "HEAD", "/v1/models/m", ""),
    "delete": ("openai", "DELETE", "/v1/files/f", ""),
    "file": ("openai", "POST", "/v1/audio/speech", '{"model":"tts","input":"a"}'),
}
PASSING = frozenset({"models", "head", "delete", "file"})
"""Asks that no canary takes."""


def ways_of(shape: Shape) -> tuple[Way, ...]:
    """The ways that an answer of this shape is relayed by."""
    if shape.ask in PASSING:
        return (PLAIN, NAMED)
    ways: tuple[Way, ...] = (BASELINE, BARE, NAMED) if shape.uncovered else (BASELINE, CANDIDATE, BARE, NAMED)
    if shape.ask == "chat-stream":
        ways += (BASELINE_INJECTED,) if shape.uncovered else (BASELINE_INJECTED, INJECTED)
    return ways


def asking(ask: Ask, way: Way, version: str = "1.1") -> bytes:
    """The caller's request, whole."""
    api, method, path, body = _ASKS[ask]
    if way.canary or ask not in PASSING:
        model = f"{way.canary or 'none'}-{api}"
        path, body = path.replace("MODEL", model), body.replace("MODEL", model)
    if way.named:
        path = f"/two-{api}{path}"
    if ask == "chat-stream" and not way.stripped:
        body = body[:-1] + ',"stream_options":{"include_usage":true}}'
    head = f"{method} {path} HTTP/{version}\r\nHost: canary\r\nX-Canary-Unit: {UNIT}\r\n"
    if body:
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}\r\n{body}".encode()


@dataclass
class Stage:
    """`declared`: by exchange id, what the store must say of an exchange, and whose it was."""

    provider: RawProvider
    server: Running
    declared: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)

    def caller(self) -> Caller:
        """A new connection of a caller."""
        return Caller(self.server.traffic)

    def outcomes(self) -> dict[str, dict[str, Any]]:
        """The stored outcome of each declared exchange, once all are stored."""
        return eventually(self._outcomes)

    def _outcomes(self) -> dict[str, dict[str, Any]] | None:
        rows = {row["exchange_id"]: row for row in stored_in(self.server.data)}
        return rows if self.declared.keys() <= rows.keys() else None


@contextmanager
def raised(folder: Path) -> Iterator[Stage]:
    """The stage, up, with one worker."""
    with RawProvider() as provider:
        server = Running(folder, config(provider.url), workers=1, grace_s=5.0, env={"CANARY_SECRET": SECRET})
        try:
            yield Stage(provider, server)
        finally:
            server.kill()
