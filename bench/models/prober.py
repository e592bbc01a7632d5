"""Asks a model the thirty prompts of `bench.drift`, directly at its provider, and reads its answers."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import httpx2

from bench.drift import PROMPTS, DriftAnswer, ProbeRound
from bench.errors import Unpriced
from bench.models.asker import Answer, Asker, EntryAuth, Target, client_for, direct
from bench.models.pair import named
from bench.models.wires import RequestExtras
from bench.settings import BenchSettings
from proxy.dialects.operation import Api
from records.captures.capture import CapturedMessage
from records.outcome import Usage

AT_ONCE = 4
WITHIN_S = 60.0

_SHORT, _THINKING = 16, 256
"""The most output tokens; a model that thinks takes more before its first word."""


@dataclass(frozen=True, slots=True)
class _Form:
    parameters: Mapping[str, Any]
    most_tokens: int


_FORMS: Mapping[Api, Sequence[_Form]] = {
    "openai": (
        _Form(
            {"max_completion_tokens": _SHORT, "temperature": 0, "logprobs": True, "top_logprobs": 10}, _SHORT
        ),
        _Form({"max_completion_tokens": _SHORT, "temperature": 0}, _SHORT),
        _Form({"max_completion_tokens": _THINKING}, _THINKING),
    ),
    "anthropic": (
        _Form({"max_tokens": _SHORT, "temperature": 0}, _SHORT),
        _Form({"max_tokens": _THINKING}, _THINKING),
    ),
    "gemini": (
        _Form(
            {
                "generationConfig": {
                    "maxOutputTokens": _SHORT,
                    "temperature": 0,
                    "responseLogprobs": True,
                    "logprobs": 10,
                }
            },
            _SHORT,
        ),
        _Form({"generationConfig": {"maxOutputTokens": _SHORT, "temperature": 0}}, _SHORT),
        _Form({"generationConfig": {"maxOutputTokens": _THINKING}}, _THINKING),
    ),
}
"""How a model is asked, the most telling form first: the next where it refuses one, or says nothing."""

_REFUSING = (400, 403, 422)


class ModelProber:
    """Asks one model. It keeps no budget; `highest_price` is for who keeps one."""

    def __init__(self, client: httpx2.AsyncClient, target: Target) -> None:
        """Raises Unpriced for a model without a known price, whose cost could not be bounded."""
        self._client, self.target = client, replace(target, timeout_s=min(target.timeout_s, WITHIN_S))
        self._asker, self._forms = Asker(client, self.target), _FORMS[target.wire.api]
        if self.target.cost(Usage(input_tokens=1, output_tokens=1)) is None:
            raise Unpriced(
                f"no price of {target.name} is known, so its budget could not be kept: see `prices`"
            )

    @classmethod
    def of(cls, settings: BenchSettings, model: str, environment: Mapping[str, str]) -> Self:
        """The prober of MODEL or PROVIDER/MODEL, with a client of its own; `close()` it. May wait for a
        cloud's token. Raises AmbiguousModel, NoKey, Unpriced."""
        known = named(settings, model)
        target = direct(known.provider, known.model, settings.known_prices(), environment)
        return cls(client_for(known.provider, at_once=AT_ONCE), target)

    async def close(self) -> None:
        """Close its connections, and end the renewal of its credential."""
        await self._client.aclose()
        if isinstance(self.target.auth, EntryAuth):
            self.target.auth.close()

    @property
    def forms(self) -> int:
        """How many ways to ask there are."""
        return len(self._forms)

    def highest_price(self, form: int) -> float:
        """The dollars of a round at most: no token is shorter than a byte."""
        most = self._forms[form].most_tokens
        bodies = (self.target.asks(_question(text), self._extras(form))[1] for text in PROMPTS.values())
        costs = (
            self.target.cost(Usage(input_tokens=len(body), output_tokens=most)) or 0.0 for body in bodies
        )
        return sum(costs)

    async def suits(self, form: int) -> bool:
        """True unless the model refuses to be asked like this, or does not say a word. One call."""
        answer = await self._ask(next(iter(PROMPTS)), form)
        return answer.status not in _REFUSING and (answer.text is None or bool(answer.text.strip()))

    async def round(self, form: int, now: float) -> tuple[ProbeRound, float | None]:
        """Ask every prompt once. The round, and what it cost; None where that is not known."""
        room = asyncio.Semaphore(AT_ONCE)

        async def ask(name: str) -> Answer:
            async with room:
                return await self._ask(name, form)

        answers = dict(zip(PROMPTS, await asyncio.gather(*map(ask, PROMPTS)), strict=True))
        said = {name: each for name, each in answers.items() if each.text is not None}
        costs = [each.cost_usd for each in said.values()]
        lost = any(each.status is None for each in answers.values())
        found = ProbeRound(
            at=now,
            answers={
                name: DriftAnswer(text=(each.text or "").strip(), first=each.first)
                for name, each in said.items()
            },
            names=tuple(sorted({name for each in said.values() for name in each.names})),
            form=form,
        )
        known = [each for each in costs if each is not None]
        return found, None if lost or len(known) < len(costs) else sum(known)

    async def _ask(self, name: str, form: int) -> Answer:
        return await self._asker.ask(_question(PROMPTS[name]), self._extras(form))

    def _extras(self, form: int) -> RequestExtras:
        return RequestExtras(parameters=self._forms[form].parameters)


def _question(text: str) -> tuple[CapturedMessage, ...]:
    return (CapturedMessage(role="user", content=text),)
