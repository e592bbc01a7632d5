"""Times an arm's own prompt in place of the caller's, in a request with a system prompt of 20 KiB.

.venv/bin/python -m benchmarks.arm_texts
"""

import json
import sys
import timeit
from collections.abc import Iterator
from typing import Any

from proxy.providers.arm_texts import ArmTexts

_LINE = 'Answer "{{name}}" politely, and never promise a refund that the shop does not give.\n'
PROMPT = "".join(f"{number}. {_LINE}" for number in range(240))
PARAGRAPH = "Ask before an order is cancelled.\n"
_SAID = [{"role": "user", "content": "Where is my order?"}]
_TIMES, _ROUNDS = 500, 15
MOST_US = 5.0


def bodies() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """What is measured, the text that is replaced, and the request that has it."""
    chat = {"model": "gpt-6.1-terra", "messages": [{"role": "system", "content": PROMPT}, *_SAID]}
    yield "OpenAI chat, the whole prompt", PROMPT, chat
    yield "Responses, the whole prompt", PROMPT, {"model": "m", "instructions": PROMPT, "input": "Where?"}
    messages = {"max_tokens": 512, "messages": _SAID, "model": "claude", "system": PROMPT}
    yield "Anthropic messages, the whole prompt", PROMPT, messages
    contents = [{"role": "user", "parts": [{"text": "Where?"}]}]
    gemini = {"contents": contents, "systemInstruction": {"parts": [{"text": PROMPT}]}}
    yield "Gemini, the whole prompt", PROMPT, gemini
    middle = PROMPT[:10_240] + PARAGRAPH + PROMPT[10_240:]
    mixed = {"model": "m", "messages": [{"role": "system", "content": middle}, *_SAID]}
    yield "OpenAI chat, a paragraph in the middle", PARAGRAPH, mixed


def cost_us(find: str, request: dict[str, Any]) -> float:
    """The least time of one replacement, in microseconds. Raises ValueError if nothing is replaced."""
    texts = ArmTexts(find, find.replace("refund", "discount"))
    body = json.dumps(request, ensure_ascii=False, separators=(",", ":")).encode()
    if texts.edited(body, texts.places(body)) is None:
        raise ValueError("the request has not the text")
    seconds = timeit.repeat(lambda: texts.edited(body, texts.places(body)), number=_TIMES, repeat=_ROUNDS)
    return min(seconds) / _TIMES * 1e6


def main() -> None:
    """Measure, and print a line each."""
    for name, find, request in bodies():
        found = cost_us(find, request)
        aim = f", aim {MOST_US:g} or less" if find is PROMPT else ""
        sys.stdout.write(f"{found:7.1f} µs  {name}{aim}\n")


if __name__ == "__main__":
    main()
