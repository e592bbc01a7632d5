"""A demo model's behaviour, and its effect on one request. Random draws depend only on seed and request.

fault          effect for the caller
status         the API's own error with `status` (and Retry-After where one belongs)
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
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Literal, TypeVar

Fault = Literal[
    "status",
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
    `snapshot` is the model name in answers (None: as asked). `slice_bytes` cuts the body at that size, across
    events and characters; `gzip` compresses it for callers that accept it.
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
    slice_bytes: int | None = None
    gzip: bool = False

    def __post_init__(self) -> None:
        for rates in (self.faults, self.answer_faults):
            if sum(rates.values()) > 1.0 + 1e-9 or min(rates.values(), default=0.0) < 0.0:
                raise ValueError("the rates in faults must be between 0 and 1, and at most 1 together")


@dataclass(frozen=True, slots=True, kw_only=True)
class Conduct:
    """One request's fault, if any, and times."""

    fault: Fault | None
    ttfb_s: float
    ttft_s: float
    pace_s: float


def chance(seed: int, model: str, body: bytes, nth: int) -> Random:
    """The random source for the nth identical request (from 0), the same in every process."""
    digest = hashlib.sha256(f"{seed}\0{model}\0{nth}\0".encode() + body).digest()
    return Random(digest)  # noqa: S311 - repeatable draws are the point


def conduct(behaviour: Behaviour, draws: Random) -> Conduct:
    """Decide one request's fault and times."""
    fault = drawn(behaviour.faults, draws.random())
    stretch = draws.lognormvariate(0.0, behaviour.spread) if behaviour.spread else 1.0
    late = behaviour.slow_s if fault == "slow" else 0.0
    return Conduct(
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
