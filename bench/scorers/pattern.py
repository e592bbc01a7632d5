"""`regex`: the answer has a match of a regular expression. `json`: the answer is JSON that fits a schema."""

import json
import re
from typing import Any

from bench.example import Example


def regex(example: Example, answer: str) -> float:
    """1 if the expected pattern (Python's `re`) matches anywhere in the answer, else 0."""
    return float(re.search(example.expected, answer) is not None)


def fitting_json(example: Example, answer: str) -> float:
    """1 if the whole answer is JSON that fits the expected JSON Schema, else 0. Nothing is fetched for it."""
    import jsonschema_rs

    try:
        said: Any = json.loads(answer)
    except (ValueError, RecursionError):
        return 0.0
    return float(jsonschema_rs.validator_for(example.expected, offline=True).is_valid(said))
