"""A demo model's answer, independent of wire formats: text in pieces or a tool call, with token counts."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from string import ascii_letters, digits
from typing import Any

from demo.answer_fault import LocalFinish, ModelOutput, answer_fault, encoded, slices, spoilt, words_of
from demo.behaviour import Behaviour
from demo.sample_json import sample

SENTENCES = (
    "Your refund was approved and reaches your account within three days.",
    "You can change the delivery address until the parcel leaves our warehouse.",
    "The café in Zürich opens at 9 – naïve guesses won't help, ask 東京 too. 🙂",
    "Please restart the router, wait a minute, and try the update again.",
    "The invoice shows both months because the plan changed on the first.",
)
CACHE_FROM, CACHE_STEP = 1024, 128  # OpenAI caches prompts of 1,024 tokens and more, in steps of 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool: a function and the JSON Schema of its arguments."""

    name: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A prompt, independent of the API.

    `tool`: the tool to call, if any. `schema`: of the JSON that the request wants; {} for any JSON, None for
    text. `echo`: the parts of the request that the answer repeats. `account`: the caller's credential.
    `logprobs`: the answer is to carry its tokens' log probabilities.
    `shows_reasoning`: the answer is to carry the reasoning, sealed for the account.
    """

    model: str
    text: str
    images: int = 0
    stream: bool = False
    include_usage: bool = False
    tool: Tool | None = None
    schema: Mapping[str, Any] | None = None
    max_tokens: int | None = None
    choices: int = 1
    echo: Mapping[str, Any] = field(default_factory=dict)
    account: str = ""
    shows_reasoning: bool = False
    logprobs: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Token counts as OpenAI counts them: `input` includes `cached`, `output` includes `reasoning`."""

    input: int
    cached: int
    output: int
    reasoning: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalReply:
    """One answer. `pieces` are text, JSON arguments when `tool` is set, or a refusal when `finish` says so;
    `id` has 29 characters. `hop`: the words of an interaction that have been decoded, where more follow.
    `logprob` is that of each piece, None if not asked for.
    """

    id: str
    model: str
    pieces: tuple[str, ...]
    tool: str | None
    finish: LocalFinish
    tokens: Tokens
    states_usage: bool = False
    hop: int = 0
    logprob: float | None = None

    @property
    def text(self) -> str:
        """The whole answer, or the whole arguments."""
        return "".join(self.pieces)

    @property
    def silent(self) -> bool:
        """True without text, refusal or tool call."""
        return not self.pieces


def answer(prompt: Prompt, behaviour: Behaviour, draws: Random) -> LocalReply:
    """The model's answer to a prompt; the same draws give the same answer."""
    fault = answer_fault(behaviour.answer_faults, draws)
    schema = prompt.schema if prompt.tool is None else prompt.tool.parameters
    output = spoilt(_output(prompt, behaviour, draws), fault, schema)
    return LocalReply(
        id=alnum(draws, 29),
        model=behaviour.snapshot or prompt.model,
        pieces=output.pieces,
        tool=output.tool,
        finish=output.finish,
        tokens=_tokens(prompt, len(output.pieces) * prompt.choices, output.reasoning_tokens),
        states_usage=behaviour.states_usage,
        logprob=_logprob(prompt, behaviour),
    )


def _logprob(prompt: Prompt, behaviour: Behaviour) -> float | None:
    found = (sure for asked, sure in behaviour.sure.items() if asked in prompt.text)
    return math.log(next(found, 0.9)) if prompt.logprobs else None


def _output(prompt: Prompt, behaviour: Behaviour, draws: Random) -> ModelOutput:
    """A good answer, cut off where the prompt's limit ends it."""
    tool = prompt.tool
    pieces = _arguments(tool) if tool else _answer_words(prompt, behaviour, draws)
    longest = prompt.max_tokens
    late = longest is not None and len(pieces) > longest
    return ModelOutput(
        pieces=pieces[:longest] if late else pieces,
        tool=tool.name if tool else None,
        finish="length" if late else "tool" if tool else "stop",
        reasoning_tokens=behaviour.reasoning_tokens,
    )


def count(text: str) -> int:
    """An estimate of a text's tokens: one per four characters, plus three."""
    return 3 + -(-len(text) // 4)


def alnum(draws: Random, length: int) -> str:
    """Random letters and digits, like providers' ids."""
    return "".join(draws.choices(ascii_letters + digits, k=length))


def _tokens(prompt: Prompt, output: int, reasoning: int) -> Tokens:
    read = count(prompt.text) + 85 * prompt.images
    cached = read // CACHE_STEP * CACHE_STEP if read >= CACHE_FROM else 0
    return Tokens(input=read, cached=cached, output=output + reasoning, reasoning=reasoning)


def _answer_words(prompt: Prompt, behaviour: Behaviour, draws: Random) -> tuple[str, ...]:
    for asked, answer in behaviour.says.items():
        if asked in prompt.text:
            return words_of(answer)
    if prompt.schema is not None:
        return slices(encoded(sample(prompt.schema)))
    return _words(behaviour.words, draws)


def _words(length: int, draws: Random) -> tuple[str, ...]:
    words: list[str] = []
    while len(words) < length:
        words += draws.choice(SENTENCES).split(" ")
    return tuple(word if place == 0 else f" {word}" for place, word in enumerate(words[:length]))


def _arguments(tool: Tool) -> tuple[str, ...]:
    return slices(encoded(sample(tool.parameters)))
