"""How close a text is to the expected one, by the words they share. It knows no synonyms."""

import math
from collections import Counter
from itertools import pairwise

from bench.example import Example
from bench.scorers.words import tokens


def similar(example: Example, answer: str) -> float:
    """The cosine of the answer's and an expected text's counts of words and pairs of words; of several
    expected texts the closest. From 0 to 1."""
    accepted = [example.expected] if isinstance(example.expected, str) else example.expected
    said = grams(answer)
    return max(cosine(said, grams(each)) for each in accepted)


def grams(text: str) -> Counter[tuple[str, ...]]:
    """How often each word, and each pair of neighbours, stands in a text."""
    words = tokens(text)
    return Counter([(word,) for word in words]) + Counter(pairwise(words))


def cosine(one: Counter[tuple[str, ...]], other: Counter[tuple[str, ...]]) -> float:
    """The cosine of two counts; 0 where either is empty."""
    shared = sum(count * other[gram] for gram, count in one.items())
    lengths = math.sqrt(sum(n * n for n in one.values()) * sum(n * n for n in other.values()))
    return min(1.0, shared / lengths) if lengths else 0.0
