"""Exactly the expected text, or one of them."""

from bench.example import Example
from bench.scorers.words import bare


def exact(example: Example, answer: str) -> float:
    """1 where the answer is an expected text but for case, blanks and punctuation around it; else 0."""
    accepted = [example.expected] if isinstance(example.expected, str) else example.expected
    said = bare(answer)
    # Punctuation may be all that is expected; bare texts of it are all equal.
    return float(answer.strip() in accepted or (bool(said) and said in map(bare, accepted)))
