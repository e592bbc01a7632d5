"""`exact`: the answer is the expected text, or one of several."""

from bench.example import Example
from bench.scorers.words import bare


def exact(example: Example, answer: str) -> float:
    """1 if the answer is an expected text, ignoring case, spacing and surrounding punctuation; else 0."""
    accepted = [example.expected] if isinstance(example.expected, str) else example.expected
    said = bare(answer)
    # An expected text may be punctuation only, and bare punctuation is always empty.
    return float(answer.strip() in accepted or (bool(said) and said in map(bare, accepted)))
