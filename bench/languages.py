"""The script and the language of a text, by its letters and its stop words. None when unclear."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

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
