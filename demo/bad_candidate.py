"""The demo's candidates that go bad."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class BadCandidate:
    """A candidate that goes bad: its canary, what the app asks, and how the provider then behaves."""

    canary: str
    asks: str
    model: str
    behaviour: Mapping[str, Any]
    told: str
    members: Mapping[str, Any] = field(default_factory=dict)


FAILING = BadCandidate(
    canary="goes-bad",
    asks="gpt-5.6-terra",
    model="gpt-6.1-terra",
    behaviour={"ttft_s": 0.02, "faults": {"status": 0.5}},
    told="now half of the requests to the candidate fail with a 500 …",
)
BREAKING_TOOLS = BadCandidate(
    canary="breaks-tools",
    asks="gpt-5.6-sol",
    model="gpt-6.1-sol",
    behaviour={"ttft_s": 0.02, "answer_faults": {"tool_args_invalid": 0.5}},
    told="now every answer is a 200, and half of the candidate's tool calls are broken JSON …",
    members={
        "tool_choice": "required",
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "find_order",
                    "parameters": {
                        "type": "object",
                        "properties": {"order": {"type": "string"}},
                        "required": ["order"],
                    },
                },
            }
        ],
    },
)
