"""What a model answers, and what an answer fault makes of that. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Literal

import msgspec

from demo.behaviour import AnswerFault, drawn
from demo.sample_json import misfit

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
