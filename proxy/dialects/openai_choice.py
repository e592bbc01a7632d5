"""Why a choice of OpenAI's API ended, and whether its members hold something. Also compatible providers'."""

from typing import Any

from proxy.answer import AnswerChoice, finish_word
from records.outcome import Fault, Finish

_REASONS: dict[str, Finish] = {
    "stop": "stop",
    "eos": "stop",
    "length": "length",
    "model_length": "length",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "safety": "content_filter",
    "refusal": "refusal",
}
"""OpenAI's reasons, and those of Mistral (`model_length`), Together (`eos`) and Anthropic (`refusal`)."""
_NAMED: tuple[tuple[str, Fault], ...] = (
    ("MALFORMED_FUNCTION_CALL", "tool_args_invalid"),
    ("UNEXPECTED_TOOL_CALL", "tool_unknown"),
)


def fills(value: Any) -> bool:
    """True when a decoded member holds text, audio or an image. A list's parts that think hold none."""
    if isinstance(value, str):
        return bool(value) and not value.isspace()
    if isinstance(value, list):
        return any(not isinstance(part, dict) or _fills_part(part) for part in value)
    return bool(value)


def _fills_part(part: dict[str, Any]) -> bool:
    kind = part.get("type")
    return fills(part.get("text")) if kind == "text" else kind not in ("thinking", "reasoning")


def note_reason(choice: AnswerChoice, reason: str) -> None:
    """Note why a choice ended. Google's compatible endpoint writes `function_call_filter: MALFORMED_…`."""
    choice.reason = _REASONS.get(reason)
    if choice.reason is not None:
        return
    choice.reason = finish_word(_REASONS, reason.partition(":")[0].lower())
    choice.named = tuple([fault for word, fault in _NAMED if word in reason])
