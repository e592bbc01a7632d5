"""Sends an arm one minimal request of each operation, and says whether its provider takes it."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx2
import msgspec

from bench.models import NamedModel
from bench.settings import BenchSettings
from bench.targets import NoKey, client_for, key_of
from bench.wires import WIRES
from proxy.dialects import target_of
from proxy.provider import Api
from routing.canary import ArmName, Canary

WITHIN_S = 30.0
_QUOTED = 300
_NOT_OFFERED = (400, 404, 405, 422)
"""What providers answer to an operation that a model does not have."""

_COUNTING = ("/v1/messages/count_tokens", "countTokens")
"""Operations that need no model, and often work when the model does not."""

_FEW = 16
"""The least output tokens that every provider accepts as a limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeAnswer:
    """What came to one request. `operation` is its path, for Gemini the method. `status` is None without an
    answer. `said` are the provider's words, or what broke. `needed`: a refusal is a fault."""

    operation: str
    status: int | None
    said: str
    took_s: float
    needed: bool = True

    @property
    def accepted(self) -> bool:
        return self.status is not None and self.status < 300


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbedArm:
    """One arm of a canary, and the answers; without a key there are none, and `no_key` says so."""

    arm: ArmName
    model: str
    answers: tuple[ProbeAnswer, ...] = ()
    no_key: str = ""


async def probe(
    settings: BenchSettings, canary: Canary, environment: Mapping[str, str]
) -> tuple[ProbedArm, ProbedArm]:
    """Ask the baseline, then the candidate.

    The paths of `match` are needed of both. Without paths the baseline tells what its model offers (a chat
    model has no embeddings), and the candidate needs the same.
    """
    models = [
        NamedModel(provider=settings.providers[arm.provider], model=arm.model)
        for arm in (canary.baseline, canary.candidate)
    ]
    api = models[0].provider.api
    wanted = {operation_of(api, path) for path in canary.match.paths}
    every = [each for each in _minimal(api, "") if not wanted or each in wanted]
    baseline = await _probed("baseline", models[0], every, environment, strict=bool(wanted))
    offered = [each.operation for each in baseline.answers if each.accepted]
    needed = every if wanted else offered or every[:1]
    return baseline, await _probed("candidate", models[1], needed, environment, strict=True)


def operation_of(api: Api, path: str) -> str:
    """An operation's name in a probe, for a path as callers write it."""
    return path.rpartition(":")[2] if api == "gemini" else target_of(api, path)


async def _probed(
    arm: ArmName,
    model: NamedModel,
    operations: Sequence[str],
    environment: Mapping[str, str],
    *,
    strict: bool,
) -> ProbedArm:
    """Unless `strict`, an operation that the model does not offer is no fault where another one works."""
    try:
        key = key_of(model.provider, environment)
    except NoKey as problem:
        return ProbedArm(arm=arm, model=model.name, no_key=str(problem))
    async with client_for(model.provider, at_once=len(operations)) as client:
        answers = await asyncio.gather(*(_asked(client, model, key, each) for each in operations))
    works = any(each.accepted for each in answers if each.operation not in _COUNTING)
    told = (replace(each, needed=strict or not works or each.status not in _NOT_OFFERED) for each in answers)
    return ProbedArm(arm=arm, model=model.name, answers=tuple(told))


async def _asked(client: httpx2.AsyncClient, model: NamedModel, key: str, operation: str) -> ProbeAnswer:
    api = model.provider.api
    path, body = _minimal(api, model.model)[operation]
    began = time.perf_counter()
    try:
        response = await client.post(
            model.provider.base_url + path,
            json=body,
            headers=dict(WIRES[api].credential(key)),
            timeout=WITHIN_S,
        )
        status, said = response.status_code, "" if response.is_success else words_in(response.text)
    except httpx2.TimeoutException:
        status, said = None, f"no answer within {WITHIN_S:g} s"
    except httpx2.HTTPError as problem:
        status, said = None, f"no answer: {str(problem) or type(problem).__name__}"
    return ProbeAnswer(operation=operation, status=status, said=said, took_s=time.perf_counter() - began)


def words_in(text: str) -> str:
    """The provider's code and message in an error answer; the text itself if it has another form."""
    try:
        found = msgspec.json.decode(text)
        error = (found[0] if isinstance(found, list) else found)["error"]
        code = error.get("status") or error.get("code") or error.get("type") or ""
        return f"{code}: {error['message']}"[:_QUOTED]
    except (msgspec.DecodeError, LookupError, TypeError, AttributeError):
        return text[:_QUOTED]


def _minimal(api: Api, model: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """The path below the base URL and the body of each operation. OpenAI's chat has no limit of tokens: its
    name differs by model."""
    messages = [{"role": "user", "content": "ping"}]
    contents = {"contents": [{"role": "user", "parts": [{"text": "ping"}]}]}
    few = {**contents, "generationConfig": {"maxOutputTokens": _FEW}}
    if api == "openai":
        return {
            "/chat/completions": ("/chat/completions", {"model": model, "messages": messages}),
            "/responses": (
                "/responses",
                {"model": model, "input": "ping", "max_output_tokens": _FEW, "store": False},
            ),
            "/completions": ("/completions", {"model": model, "prompt": "ping", "max_tokens": _FEW}),
            "/embeddings": ("/embeddings", {"model": model, "input": "ping"}),
        }
    if api == "anthropic":
        body = {"model": model, "messages": messages}
        return {
            "/v1/messages": ("/v1/messages", {**body, "max_tokens": _FEW}),
            "/v1/messages/count_tokens": ("/v1/messages/count_tokens", body),
        }
    bodies: dict[str, dict[str, Any]] = {
        "generateContent": few,
        "streamGenerateContent": few,
        "countTokens": contents,
        "embedContent": {"content": contents["contents"][0]},
    }
    return {method: (f"/v1beta/models/{model}:{method}", body) for method, body in bodies.items()}
