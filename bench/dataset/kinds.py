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
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

from records.captures.capture import Capture

LEAST_STOP_WORDS = 2
"""With fewer stop words of a language, the language of a text is unknown."""

_STOP_WORDS: Mapping[str, frozenset[str]] = {
    language: frozenset(words.split())
    for language, words in {
        "de": "der die das den dem ein eine ist und nicht ich wir sie mein meine wo wann wie für mit auf",
        "en": "the a an is are and not i we you my your where when how what for with on please to of it",
        "es": "el la los las un una es y no yo mi su dónde cuándo cómo para con en por favor que está del",
        "fr": "le la les un une est et ne pas je nous mon ma mes où quand comment pour avec sur que des",
        "it": "il lo la gli un una è e non io mio mia dove quando come per con che sono del della mi",
        "nl": "de het een is en niet ik wij mijn waar wanneer hoe voor met op wat van alstublieft naar",
        "pl": "i nie jest się na do to co gdzie kiedy jak mój moja proszę czy dla z mam",
        "pt": "o a os as um uma é e não eu meu minha onde quando como para com em por favor que está do da",
        "tr": "ve bir bu ne nerede zaman nasıl için ile değil benim lütfen mi var yok",
    }.items()
}
_SAME_SCRIPT = {"HIRAGANA": "CJK", "KATAKANA": "CJK"}


def script(text: str) -> str | None:
    """The script of most letters, for example LATIN, CYRILLIC or CJK; None without letters."""
    names = (unicodedata.name(letter, "").partition(" ")[0] for letter in text if letter.isalpha())
    found = Counter(_SAME_SCRIPT.get(name, name) for name in names)
    return found.most_common(1)[0][0] if found else None


def language(words: Sequence[str]) -> str | None:
    """The language with the most stop words among lower-case `words`; None if it is not clear."""
    counts = {name: sum(word in known for word in words) for name, known in _STOP_WORDS.items()}
    (first, most), (_, second) = sorted(counts.items(), key=lambda item: -item[1])[:2]
    return first if most >= LEAST_STOP_WORDS and most > second else None


def majority(values: Iterable[str | None]) -> str | None:
    """The most common known value; None if none is known."""
    found = Counter(value for value in values if value is not None)
    return found.most_common(1)[0][0] if found else None


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
        self._script = majority(script(text) for text in texts)
        self._language = majority(language(each) for each in words)
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
        written, spoken = script(text), language(words)
        if written is not None and written != self._script:
            return True
        return spoken is not None and spoken != self._language

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
