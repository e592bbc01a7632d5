"""A demo model's behaviour, its effect on one request, and its reply, whatever the wire format.

Random draws depend only on seed and request.

fault          effect for the caller
status         the API's own error with `status` (and Retry-After where one belongs)
throttled      429 in the API's words for a rate that is used up, with Retry-After and 0 as what remains
reset, close   the connection ends before the first byte: RST, FIN
hang           nothing, until the caller leaves
slow           a good answer, `slow_s` later
empty, html    200 without a body; 200 with a gateway's HTML page
bad_json       200 with correct framing, but not JSON (in a stream: its last event)
truncate, cut  the answer ends in the middle: FIN, RST
stall          the answer stops in the middle until the caller leaves
stream_error   the API's own error event in the middle (outside streams: as `status`)

answer fault          effect: a complete answer with status 200, in the form of each API
empty                 no text and no tool call
spent                 no text: the length limit was reached while the model reasoned
cut_off               half of the text or arguments, then the length limit
refused               a refusal by the model (Gemini, which has none: SAFETY)
filtered              a content filter (Anthropic, which has none: a refusal; Gemini: the prompt is blocked)
tool_args_invalid     arguments without their last brace (Gemini: MALFORMED_FUNCTION_CALL)
tool_args_off_schema  arguments of other types than the tool's schema wants
tool_unknown          a call of a tool that the request does not have
json_invalid          the wanted JSON inside a Markdown fence
json_off_schema       JSON of other types than the wanted schema

Those of tools need a request with a tool, those of JSON a request for JSON without a tool, `…_off_schema` a
schema with properties. Other requests are answered well.
"""

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from string import ascii_letters, digits
from typing import Any, Literal, TypeVar

import msgspec

Fault = Literal[
    "status",
    "throttled",
    "reset",
    "close",
    "hang",
    "slow",
    "empty",
    "html",
    "bad_json",
    "truncate",
    "cut",
    "stall",
    "stream_error",
]

AnswerFault = Literal[
    "empty",
    "spent",
    "cut_off",
    "refused",
    "filtered",
    "tool_args_invalid",
    "tool_args_off_schema",
    "tool_unknown",
    "json_invalid",
    "json_off_schema",
]
Name = TypeVar("Name", bound=str)


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """One model's behaviour.

    Times in seconds: `ttfb_s` to the answer's head, `ttft_s` to the first token (its median; `spread` is the
    sigma of the logarithm, 0 for a constant), `pace_s` from token to token. `faults` gives each fault's rate
    in [0, 1], together at most 1; so does `answer_faults`, for requests that meet none of `faults`.
    `after_events` is the number of events before a stream breaks. `rejects` names body
    fields refused with `reject_status`. `states_usage`: the last chunk of a chat stream has the usage, also
    unasked, as Mistral's has. `words` is the answer's length; `reasoning_tokens` are added.
    `hop_words`: words that one request of an interaction decodes, after which its caller asks for more.
    `sure` maps a text in the prompt to the probability of each token of the answer, where a request asks for
    log probabilities; it is 0.9 for other prompts.
    `means`: texts by the text whose meaning they have, so whose embedding.
    `batch_s`: seconds from a batch's creation until all its questions are answered; a question that meets
    `hang` expires.
    `says` maps a text in the prompt to the answer; other prompts get `words` meaningless words.
    `snapshot` is the model name in answers (None: as asked). `gzip` compresses the body for callers that
    accept it.
    """

    ttfb_s: float = 0.0
    ttft_s: float = 0.0
    spread: float = 0.0
    pace_s: float = 0.0
    words: int = 24
    hop_words: int | None = None
    sure: Mapping[str, float] = field(default_factory=dict)
    means: Mapping[str, str] = field(default_factory=dict)
    batch_s: float = 0.0
    says: Mapping[str, str] = field(default_factory=dict)
    reasoning_tokens: int = 0
    faults: Mapping[Fault, float] = field(default_factory=dict)
    answer_faults: Mapping[AnswerFault, float] = field(default_factory=dict)
    status: int = 500
    retry_after_s: float | None = None
    slow_s: float = 5.0
    after_events: int = 3
    rejects: tuple[str, ...] = ()
    reject_status: int = 400
    states_usage: bool = False
    snapshot: str | None = None
    gzip: bool = False

    def __post_init__(self) -> None:
        for rates in (self.faults, self.answer_faults):
            if sum(rates.values()) > 1.0 + 1e-9 or min(rates.values(), default=0.0) < 0.0:
                raise ValueError("the rates in faults must be between 0 and 1, and at most 1 together")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestConduct:
    """One request's fault, if any, and times."""

    fault: Fault | None
    ttfb_s: float
    ttft_s: float
    pace_s: float


def chance(seed: int, model: str, body: bytes, nth: int) -> Random:
    """The random source for the nth identical request (from 0), the same in every process."""
    digest = hashlib.sha256(f"{seed}\0{model}\0{nth}\0".encode() + body).digest()
    return Random(digest)  # noqa: S311 - repeatable draws are the point


def conduct(behaviour: Behaviour, draws: Random) -> RequestConduct:
    """Decide one request's fault and times."""
    fault = drawn(behaviour.faults, draws.random())
    stretch = draws.lognormvariate(0.0, behaviour.spread) if behaviour.spread else 1.0
    late = behaviour.slow_s if fault == "slow" else 0.0
    return RequestConduct(
        fault=fault,
        ttfb_s=behaviour.ttfb_s + late,
        ttft_s=max(behaviour.ttft_s * stretch, behaviour.ttfb_s) + late,
        pace_s=behaviour.pace_s * stretch,
    )


def drawn(rates: Mapping[Name, float], draw: float) -> Name | None:
    """The fault on which a draw in [0, 1) falls, or None."""
    for name, rate in rates.items():
        draw -= rate
        if draw < 0.0:
            return name
    return None


# A demo model's answer, independent of wire formats: text in pieces or a tool call, with token counts.


def sample(schema: Mapping[str, Any]) -> Any:
    """A value that satisfies the keywords type, properties, items and enum of a JSON Schema."""
    if schema.get("enum"):
        return schema["enum"][0]
    match _type(schema):
        case "object":
            return {name: sample(part) for name, part in schema.get("properties", {}).items()}
        case "array":
            return [sample(schema.get("items", {"type": "string"}))]
        case "integer" | "number":
            return 1
        case "boolean":
            return True
        case _:
            return "Zürich"


def misfit(schema: Mapping[str, Any]) -> Any:
    """An object whose properties all have another type than the schema's; {} for a schema without any."""
    properties = schema.get("properties", {})
    return {name: 7 if _type(part) == "string" else "seven" for name, part in properties.items()}


def _type(schema: Mapping[str, Any]) -> str:
    return str(schema.get("type", "object")).lower()


LocalFinish = Literal["stop", "length", "tool", "refusal", "filter", "hop"]
APOLOGY = "I'm sorry, but I can't help with that."
REASONED_AWAY = 64
"""Reasoning tokens of an answer that is spent, unless its model has more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOutput:
    """What the model wrote. `pieces` are text, or JSON arguments when `tool` is set."""

    pieces: tuple[str, ...] = ()
    tool: str | None = None
    finish: LocalFinish = "stop"
    reasoning_tokens: int = 0


def spoilt(output: ModelOutput, fault: AnswerFault | None, schema: Mapping[str, Any] | None) -> ModelOutput:
    """The output with a fault; unchanged if it cannot have that one. `schema`: of the arguments or the JSON
    that the request wants, None when it wants text."""
    if fault is None:
        return output
    if fault in ("empty", "spent", "cut_off", "refused", "filtered"):
        return _cut_short(output, fault)
    if fault.startswith("tool_") == (output.tool is not None) and schema is not None:
        return _malformed(output, fault, schema)
    return output


def _cut_short(output: ModelOutput, fault: AnswerFault) -> ModelOutput:
    match fault:
        case "spent":
            reasoning = max(output.reasoning_tokens, REASONED_AWAY)
            return ModelOutput(finish="length", reasoning_tokens=reasoning)
        case "cut_off":
            return replace(output, pieces=output.pieces[: len(output.pieces) // 2 or 1], finish="length")
        case "refused":
            return ModelOutput(pieces=words_of(APOLOGY), finish="refusal")
        case "filtered":
            return ModelOutput(finish="filter")
        case _:
            return ModelOutput()


def _malformed(output: ModelOutput, fault: AnswerFault, schema: Mapping[str, Any]) -> ModelOutput:
    text = "".join(output.pieces)
    match fault:
        case "tool_unknown":
            return replace(output, tool="no_such_tool")
        case "tool_args_invalid":
            return replace(output, pieces=slices(text[:-1]))
        case "json_invalid":
            return replace(output, pieces=slices(f"```json\n{text}\n```"))
        case _:
            wrong = misfit(schema)
            return replace(output, pieces=slices(encoded(wrong))) if wrong else output


def encoded(value: Any) -> str:
    """The value as compact JSON."""
    return msgspec.json.encode(value).decode()


def slices(text: str) -> tuple[str, ...]:
    """JSON as a stream has it, in slices of eight characters."""
    return tuple(text[start : start + 8] for start in range(0, len(text), 8))


def words_of(text: str) -> tuple[str, ...]:
    """Prose as a stream has it, word by word."""
    return tuple(re.findall(r"\s*\S+", text))


def is_json(text: str) -> bool:
    """True when the text is one JSON value."""
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return False
    return True


def answer_fault(rates: Mapping[AnswerFault, float], draws: Random) -> AnswerFault | None:
    """Draw one answer's fault. Without rates nothing is drawn, so that answers stay the same."""
    return drawn(rates, draws.random()) if rates else None


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


def first_tool(offered: Sequence[Mapping[str, Any]], *schemas: str) -> Tool | None:
    """The first of the offered tools, None without any; `schemas` name the members that may have its
    schema."""
    if not offered:
        return None
    return Tool(name=offered[0]["name"], parameters=next(filter(None, map(offered[0].get, schemas)), {}))


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
