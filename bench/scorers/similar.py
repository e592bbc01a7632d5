"""`similar`: closeness to the expected text by shared words, without synonyms."""

import math
from collections import Counter
from itertools import pairwise

from bench.example import Example
from bench.scorers.words import tokens


def similar(example: Example, answer: str) -> float:
    """The cosine, from 0 to 1, of the answer's and the closest expected text's counts of words and word
    pairs."""
    accepted = [example.expected] if isinstance(example.expected, str) else example.expected
    given = grams(answer)
    return max(cosine(given, grams(text)) for text in accepted)


def grams(text: str) -> Counter[tuple[str, ...]]:
    """The counts of words and of adjacent word pairs in a text."""
    words = tokens(text)
    return Counter([(word,) for word in words]) + Counter(pairwise(words))


def cosine(one: Counter[tuple[str, ...]], other: Counter[tuple[str, ...]]) -> float:
    """The cosine of two counts; 0 if either is empty."""
    shared = sum(count * other[gram] for gram, count in one.items())
    lengths = math.sqrt(sum(n * n for n in one.values()) * sum(n * n for n in other.values()))
    return min(1.0, shared / lengths) if lengths else 0.0
