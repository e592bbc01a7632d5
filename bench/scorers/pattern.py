"""`regex`: the answer has a match of a regular expression. `json`: the answer is JSON that fits a schema."""

import json
import re

from bench.example import Example


def regex(example: Example, answer: str) -> float:
    """1 if the expected pattern (Python's `re`) matches anywhere in the answer, else 0."""
    return float(re.search(example.expected, answer) is not None)


def fitting_json(example: Example, answer: str) -> float:
    """1 if the whole answer is JSON that fits the expected JSON Schema, else 0. Nothing is fetched for it."""
    import jsonschema_rs

    schema = jsonschema_rs.validator_for(example.expected, offline=True)
    try:
        return float(schema.is_valid(json.loads(answer)))
    except (ValueError, RecursionError):  # no JSON, or with half of a surrogate pair
        return 0.0
