"""What kind of input a captured exchange has, by rules over all captures.

The first rule that holds gives the kind; none may hold. All look at the user's last message.

    adversarial      it asks the model to drop its instructions (a fixed list of patterns)
    other_language   its script, or by stop words its language, is not that of most captures
    rare             its category has under 5 % of the captures
    typo             a word in no other capture is one edit from a word in at least three
    long             it has more words than 95 % of the captures (from 20 captures on)
    short            it has fewer than four words
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from bench import languages
from records.capture import Capture

Kind = Literal["adversarial", "other_language", "rare", "typo", "long", "short"]
KIND = "kind"
"""The tag with the kind."""

RARE = 0.05
FEW_WORDS = 4
LONG_QUANTILE = 0.95
FEWEST_FOR_LONG = 20
FREQUENT = 3
"""A word is frequent from so many captures on."""

SHORTEST_TYPO = 4
"""Shorter words are one edit from too many others."""

_WORD = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]|\w+")
"""A word; in Chinese and Japanese, which have no spaces, a character."""

_ADVERSARIAL = re.compile(
    r"\b(?:ignore|disregard|forget|override|bypass)\b.{0,40}"
    r"\b(?:instructions?|prompts?|rules|guidelines|restrictions|safeguards)\b"
    r"|\b(?:reveal|show|print|repeat|output|tell me)\b.{0,40}"
    r"\b(?:system|initial|hidden|original) (?:prompt|instructions?)\b"
    r"|\bjailbreak|\bdo anything now\b|\bdeveloper mode\b|\byou are now (?:dan|in|an? un)"
    r"|\bpretend\b.{0,60}\b(?:no|without|any) (?:rules|restrictions|filters?|limits)\b",
    re.IGNORECASE | re.DOTALL,
)


class Kinds:
    """The rules over these captures. `shares`: each category's share of them, in [0, 1]."""

    def __init__(self, captures: Sequence[Capture], shares: Mapping[str, float]) -> None:
        self._shares = shares
        texts = [asked(capture) for capture in captures]
        words = [words_of(text) for text in texts]
        self._script = languages.majority(languages.script(text) for text in texts)
        self._language = languages.majority(languages.language(each) for each in words)
        self._captures_with = Counter(word for each in words for word in set(each))
        self._near = _by_deletion(word for word, count in self._captures_with.items() if count >= FREQUENT)
        self._long = _quantile(sorted(len(each) for each in words))

    def of(self, capture: Capture) -> Kind | None:
        """The kind of a capture's input; None if no rule holds."""
        text, category = asked(capture), capture.about.category
        words = words_of(text)
        if _ADVERSARIAL.search(text):
            return "adversarial"
        if self._is_foreign(text, words):
            return "other_language"
        if category and self._shares.get(category, 1.0) < RARE:
            return "rare"
        if any(map(self._is_typo, words)):
            return "typo"
        if len(words) > self._long:
            return "long"
        return "short" if len(words) < FEW_WORDS else None

    def _is_foreign(self, text: str, words: Sequence[str]) -> bool:
        script, language = languages.script(text), languages.language(words)
        if script is not None and script != self._script:
            return True
        return language is not None and language != self._language

    def _is_typo(self, word: str) -> bool:
        if len(word) < SHORTEST_TYPO or not word.isalpha() or self._captures_with[word] > 1:
            return False
        near = (other for key in _deletions(word) for other in self._near.get(key, ()))
        return any(_is_one_edit(word, other) and not _is_inflected(word, other) for other in near)


def asked(capture: Capture) -> str:
    """The user's last message; "" without one."""
    return next((each.content for each in reversed(capture.messages) if each.role == "user"), "")


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return _WORD.findall(text.lower())


def _quantile(ordered: Sequence[int]) -> float:
    """The 95th percentile (inverted CDF); infinite with too few values."""
    if len(ordered) < FEWEST_FOR_LONG:
        return math.inf
    return ordered[math.ceil(LONG_QUANTILE * len(ordered)) - 1]


def _deletions(word: str) -> set[str]:
    """The word and what is left of it without one letter. Words one edit apart share one of these."""
    return {word, *(word[:place] + word[place + 1 :] for place in range(len(word)))}


def _by_deletion(words: Iterator[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for word in words:
        if len(word) >= SHORTEST_TYPO and word.isalpha():
            for key in _deletions(word):
                found.setdefault(key, []).append(word)
    return found


def _is_one_edit(one: str, other: str) -> bool:
    """True if a letter added, left out or replaced, or two neighbours swapped, make one the other."""
    if len(one) > len(other):
        one, other = other, one
    place = next((at for at, letter in enumerate(one) if letter != other[at]), len(one))
    rest, others = one[place:], other[place:]
    if len(one) < len(other):
        return len(one) + 1 == len(other) and rest == others[1:]
    swapped = rest[:2] == others[:2][::-1] and rest[2:] == others[2:]
    return rest[1:] == others[1:] or swapped


def _is_inflected(word: str, frequent: str) -> bool:
    """True if only the ending differs, as in "refunds" and "refund": no typing mistake."""
    return word[:-1] == frequent or word + "s" == frequent
