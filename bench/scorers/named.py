"""`choice` and `classify`: the choice or class that an answer names. An answer with two names none."""

import re

from bench.example import LETTERS, Example, place_of
from bench.scorers.words import bare, plain

_SAID = re.compile(
    r"\b(?:answer|choice|option|choose|pick|select(?:ed)?)\b[^\w\n]*+(?:is|was|would be|should be)?[^\w\n]*+"
    r"(?:option|choice|letter)?[^\w\n]*+\b([A-Z])\b(?!['’])"
)
_OPENS = re.compile(r"^[\s*_`(\[]*([A-Z])(?:[\s*_`]*[).:,\]–-]|[*_`]+|\s*$|\s*\n)")
_ALONE = re.compile(r"(?<![\w'’])\(?\b([A-Z])\)(?!\w)|\*\*([A-Z])\*\*")


def choice(example: Example, answer: str) -> float:
    """1 if the answer names the right choice, by letter ("B", "(B) blue", "The answer is B.") or by text."""
    named = chosen(answer, example.choices)
    return float(named is not None and named == place_of(example.expected, example.choices))


def chosen(answer: str, choices: tuple[str, ...]) -> int | None:
    """The index of the choice that an answer names; None for none or several."""
    letters, said = LETTERS[: len(choices)], bare(answer)
    whole = place_by(said, choices)
    if whole is not None:
        return whole
    if len(said) == 1 and said.upper() in letters:
        return letters.index(said.upper())
    for pattern in (_SAID, _OPENS, _ALONE):
        found = {group for match in pattern.finditer(answer) for group in match.groups() if group}
        if pattern is _SAID and found:  # the conclusion counts, not the reasoning before it
            found = {pattern.findall(answer)[-1]}
        named = {letters.index(each) for each in found if each in letters}
        if len(named) == 1:
            return named.pop()
        if named:
            return None
    return _only([place for place, each in enumerate(choices) if _mentions(answer, each)], choices)


def classify(example: Example, answer: str) -> float:
    """1 if the answer names the expected class; see `label`."""
    return float(label(answer, example.classes) == example.expected)


def label(answer: str, classes: tuple[str, ...]) -> str | None:
    """The class that the answer is, or else mentions as a whole word; None for none or several.

    With only one known class, a mention is not enough, because the answer may mention unknown classes too.
    """
    whole = place_by(bare(answer), classes)
    if whole is not None:
        return classes[whole]
    if len(classes) < 2:
        return None
    place = _only([place for place, each in enumerate(classes) if _mentions(answer, each)], classes)
    return None if place is None else classes[place]


def place_by(said: str, texts: tuple[str, ...]) -> int | None:
    """The index of the text that equals a bare answer; None for none."""
    for place, text in enumerate(texts):
        if said and said == bare(text):
            return place
    return None


def _mentions(answer: str, text: str) -> bool:
    words = re.escape(plain(text))
    return bool(re.search(rf"(?<!\w){words}(?!\w)", plain(answer)))


def _only(places: list[int], texts: tuple[str, ...]) -> int | None:
    """The only mentioned text; a text within a longer mentioned one does not count."""
    longest = [
        place
        for place in places
        if not any(place != other and plain(texts[place]) in plain(texts[other]) for other in places)
    ]
    return longest[0] if len(longest) == 1 else None
