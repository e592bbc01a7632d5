"""The prompt of an example: its input, then the choices and how to answer."""

from bench.example import LETTERS, Example
from records.capture import CapturedMessage


def prompt(example: Example) -> tuple[CapturedMessage, ...]:
    """The messages to send. Without choices they are the input alone."""
    *before, last = example.messages
    how = _how(example)
    return (*before, CapturedMessage(last.role, f"{last.content}\n\n{how}")) if how else example.messages


def _how(example: Example) -> str:
    if not example.choices:
        return ""
    lettered = "\n".join(f"{letter}. {each}" for letter, each in zip(LETTERS, example.choices, strict=False))
    match example.task:
        case "choice":
            return f"{lettered}\n\nAnswer with the letter of the right choice only."
        case "classify":
            return f"Answer with one of these only: {', '.join(example.choices)}."
        case "rank":
            listed = "\n".join(f"- {each}" for each in example.choices)
            return f"{listed}\n\nAnswer with these, best first, one a line, and nothing else."
        case _:
            return ""
