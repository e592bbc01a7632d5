"""A demo model's answer, independent of wire formats: text in pieces or a tool call, with token counts."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from string import ascii_letters, digits
from typing import Any, Literal

import msgspec

from demo.behaviour import Behaviour

Finish = Literal["stop", "length", "tool"]

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
    """A prompt, independent of the API. `tool` is the tool to call, if any; `echo` has the parts of the
    request that the answer repeats."""

    model: str
    text: str
    images: int = 0
    stream: bool = False
    include_usage: bool = False
    tool: Tool | None = None
    max_tokens: int | None = None
    choices: int = 1
    echo: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Token counts as OpenAI counts them: `input` includes `cached`, `output` includes `reasoning`."""

    input: int
    cached: int
    output: int
    reasoning: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalReply:
    """One answer. `pieces` are text, or JSON arguments when `tool` is set; `id` has 29 characters."""

    id: str
    model: str
    pieces: tuple[str, ...]
    tool: str | None
    finish: Finish
    tokens: Tokens

    @property
    def text(self) -> str:
        """The whole answer, or the whole arguments."""
        return "".join(self.pieces)


def answer(prompt: Prompt, behaviour: Behaviour, draws: Random) -> LocalReply:
    """The model's answer to a prompt; the same draws give the same answer."""
    finish: Finish = "tool" if prompt.tool else "stop"
    pieces = _arguments(prompt.tool) if prompt.tool else _answer_words(prompt, behaviour, draws)
    if prompt.max_tokens is not None and len(pieces) > prompt.max_tokens:
        pieces, finish = pieces[: prompt.max_tokens], "length"
    return LocalReply(
        id=alnum(draws, 29),
        model=behaviour.snapshot or prompt.model,
        pieces=pieces,
        tool=prompt.tool.name if prompt.tool else None,
        finish=finish,
        tokens=_tokens(prompt, len(pieces) * prompt.choices, behaviour.reasoning_tokens),
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
            return tuple(re.findall(r"\s*\S+", answer))
    return _words(behaviour.words, draws)


def _words(length: int, draws: Random) -> tuple[str, ...]:
    words: list[str] = []
    while len(words) < length:
        words += draws.choice(SENTENCES).split(" ")
    return tuple(word if place == 0 else f" {word}" for place, word in enumerate(words[:length]))


def _arguments(tool: Tool) -> tuple[str, ...]:
    text = msgspec.json.encode(_sample(tool.parameters)).decode()
    return tuple(text[start : start + 8] for start in range(0, len(text), 8))


def _sample(schema: Mapping[str, Any]) -> Any:
    """A value that satisfies the keywords type, properties, items and enum of a JSON Schema."""
    if schema.get("enum"):
        return schema["enum"][0]
    match str(schema.get("type", "object")).lower():
        case "object":
            return {name: _sample(part) for name, part in schema.get("properties", {}).items()}
        case "array":
            return [_sample(schema.get("items", {"type": "string"}))]
        case "integer" | "number":
            return 1
        case "boolean":
            return True
        case _:
            return "Zürich"
