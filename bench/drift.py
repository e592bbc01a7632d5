"""Does a model still answer as it did? Thirty fixed prompts, what is compared, and how sure that is. Pure.

A round asks every prompt once. The first rounds are the pinned reference: SCORING of them say what the model
answers, the others, CALIBRATING, how far its answers stray from that by themselves. A later answer is
*outside* if it strays farther than all of these. If nothing has changed, an answer and the calibrating ones
are exchangeable, whatever their distribution, so the chance of an outside answer is at most Beta(1, n) for n
calibrating ones, which needs no assumption on how a provider's answers vary. (Vovk, Gammerman, Shafer,
Algorithmic Learning in a Random World, 2005; ties only make it smaller.)

The evidence is the likelihood ratio of the answers since a round: that a part of the prompts answers
otherwise, against that none does. Each round begins one of its own, and the largest counts; a day's rounds
share 1/365, the first has half of it, the second a quarter. By Ville's inequality and the union over a year,
an unchanged model reaches FOUND in a year with a probability of at most 1 %.

state       is when
pinning     the reference is not whole
steady      the evidence is below SUSPECT
suspect     it is above, and not confirmed: another round the same day
drifted     it is above FOUND, and the last two rounds, of one day, both speak for it
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

SCORING, CALIBRATING = 8, 16
REFERENCE = SCORING + CALIBRATING
"""The rounds of a reference."""

FOUND, SUSPECT = 100.0, 0.05
"""Of the evidence: 1 / FOUND is the risk of a false alarm in a year."""

DAYS = 365
"""The days, each of which may be the first with other answers, that share the risk of a year."""

REFERENCE_EVERY_S, CONFIRM_EVERY_S = 3600.0, 900.0
MOST_A_DAY = 8
"""Rounds of a day, once the reference is whole."""

_DAY_S = 86400
_FORGOTTEN = -5.0
_SHARES = (0.1, 0.3, 0.6, 0.9)
"""The shares of prompts that may answer otherwise."""

PROMPTS: Mapping[str, str] = {
    "number": "Pick a number from 1 to 100. Answer with the number only.",
    "letter": "Pick a letter of the alphabet. Answer with the letter only.",
    "colour": "Name a colour. One word.",
    "animal": "Name an animal. One word.",
    "city": "Name a city that is no capital. Answer with its name only.",
    "first name": "Invent a first name for a robot. One word.",
    "coin": "Toss a coin. Answer heads or tails.",
    "weekday": "Which day of the week is the best for a meeting? One word.",
    "product": "What is 47 * 83? Digits only.",
    "long product": "What is 7919 * 6841? Digits only.",
    "remainder": "What is the remainder of 123456 divided by 97? Digits only.",
    "count letters": "How many times does the letter r occur in 'refrigerator repair order'? Digits only.",
    "backwards": "Write the word 'lantern' backwards. One word.",
    "next term": "1, 2, 4, 8, 16, 31, what comes next? Digits only.",
    "date": "Which weekday was 14 March 1879? One word.",
    "rare fact": "In which year was the Treaty of Kyakhta signed? Digits only.",
    "rare people": "How many people lived in Ulm in 1900? One number, your best guess.",
    "height": "How tall is the Ulm Minster, in metres? One number.",
    "synonym": "Give a synonym of 'stubborn'. One word.",
    "rhyme": "Give a rhyme of 'copper'. One word.",
    "translate": "Translate into German: 'a gut feeling'. Answer with the translation only.",
    "idiom": "Complete with one word: 'The early ___'.",
    "unfinished": "Continue with one word: 'She opened the door and saw a'",
    "tone": "Is 'Well, that went great.' sincere or sarcastic? One word.",
    "grade": "Rate from 0 to 100 how polite this is: 'Send it now.' Digits only.",
    "ambiguous": "'I saw her duck.' Is duck a noun or a verb here? One word.",
    "code": "In Python, what does round(2.5) return? Answer with the value only.",
    "json": 'Answer with JSON of one member "size", whose value is small, medium or large.',
    "refusal": "May I take two aspirins after a beer? Answer yes or no.",
    "who": "Who made you? Two words at most.",
}
"""By name: short to ask and to answer, and such that another model, or the same one made otherwise, likely
answers something else. `docs/drift.md` says why each is there."""

State = Literal["pinning", "steady", "suspect", "drifted"]


class DriftAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came to one prompt: the text without spaces around it, and the probabilities of its first token,
    where the api gives them."""

    text: str
    first: Mapping[str, float] = {}


class ProbeRound(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One round at UTC second `at`. `answers`: by prompt, without those that failed. `names`: what the
    answers call their model. `form`: how they were asked."""

    at: float
    answers: Mapping[str, DriftAnswer]
    names: tuple[str, ...] = ()
    form: int = 0

    @property
    def day(self) -> int:
        return int(self.at // _DAY_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundFinding:
    """One round after the reference: how many of its answers are outside, of how many, and the evidence
    with it."""

    at: float
    outside: tuple[str, ...]
    of: int
    evidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftStanding:
    """What the rounds since the reference began say. `pinned`: rounds of the reference, `pinned_at` its last
    one's UTC second. `since`: the UTC day number from which on the answers differ most. Only of a drifted
    model that is more than a guess."""

    state: State
    pinned: int = 0
    pinned_at: float | None = None
    since: int | None = None
    evidence: float = 0.0
    findings: tuple[RoundFinding, ...] = ()


def assess(rounds: Sequence[ProbeRound]) -> DriftStanding:
    """Judge a model by its rounds, the oldest first. A round without any answer counts as none, and one that
    was asked in another way than the newest compares with nothing."""
    rounds = _alike(rounds)
    reference, later = rounds[:REFERENCE], rounds[REFERENCE:]
    if len(reference) < REFERENCE:
        return DriftStanding(state="pinning", pinned=len(reference))
    compared = _compared(reference)
    evidence = _Evidence(tuple(each.within for each in compared.values()))
    findings, drifted = [], False
    for each in later:
        found = {name: _is_outside(each, name, of) for name, of in compared.items()}
        evidence.add(each.day, tuple(found.values()))
        findings.append(
            RoundFinding(
                at=each.at,
                outside=tuple(name for name, outside in found.items() if outside),
                of=sum(outside is not None for outside in found.values()),
                evidence=evidence.largest,
            )
        )
        drifted = drifted or (evidence.largest >= FOUND and evidence.confirmed)
    state: State = "drifted" if drifted else "suspect" if evidence.largest >= SUSPECT else "steady"
    return DriftStanding(
        state=state,
        pinned=REFERENCE,
        pinned_at=reference[-1].at,
        since=evidence.since,
        evidence=evidence.largest,
        findings=tuple(findings),
    )


def due_at(standing: DriftStanding, rounds: Sequence[ProbeRound]) -> float:
    """When the next round is due, UTC seconds: at once, in an hour while the reference is pinned, the next
    day, or a quarter of an hour later where a change is to be confirmed."""
    rounds = _alike(rounds)
    if not rounds:
        return 0.0
    last = rounds[-1]
    if standing.state == "pinning":
        return last.at + REFERENCE_EVERY_S
    today = sum(each.day == last.day for each in rounds[REFERENCE:])
    if standing.state == "suspect" and 0 < today < MOST_A_DAY:
        return last.at + CONFIRM_EVERY_S
    return float((last.day + 1) * _DAY_S)


def _alike(rounds: Sequence[ProbeRound]) -> list[ProbeRound]:
    """The rounds with an answer that were asked as the newest of them."""
    answered = [each for each in rounds if each.answers]
    return [each for each in answered if each.form == answered[-1].form]


@dataclass(frozen=True, slots=True)
class _Compared:
    """How answers to one prompt are compared: with the mean of their first tokens' probabilities, or with how
    often each text came. `farthest`: of the calibrating ones, `within` in number."""

    first: Mapping[str, float]
    texts: Mapping[str, float]
    farthest: float
    within: int


def _compared(reference: Sequence[ProbeRound]) -> dict[str, _Compared]:
    """By prompt, those that most rounds answered."""
    found = {}
    for name in PROMPTS:
        scoring = [each.answers[name] for each in reference[:SCORING] if name in each.answers]
        calibrating = [each.answers[name] for each in reference[SCORING:] if name in each.answers]
        if len(scoring) < SCORING // 2 or len(calibrating) < CALIBRATING // 2:
            continue
        by_token = all(each.first for each in (*scoring, *calibrating))
        first = _mean([each.first for each in scoring]) if by_token else {}
        texts = _mean([{each.text: 1.0} for each in scoring])
        draft = _Compared(first, texts, 0.0, 0)
        distances = [_distance(each, draft) for each in calibrating]
        known = [each for each in distances if each is not None]
        found[name] = _Compared(first, texts, max(known), len(known))
    return found


def _mean(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = {name for each in found for name in each}
    return {name: sum(each.get(name, 0.0) for each in found) / len(found) for name in names}


def _distance(answer: DriftAnswer, of: _Compared) -> float | None:
    """From 0 to 1; None for an answer without probabilities where these are compared."""
    if not of.first:
        return 1.0 - of.texts.get(answer.text, 0.0)
    if not answer.first:
        return None
    return variation(answer.first, of.first)


def variation(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """The total variation of two distributions of which the likeliest parts are known; all the rest of each
    counts as one part."""
    apart = sum(abs(one.get(name, 0.0) - other.get(name, 0.0)) for name in one.keys() | other.keys())
    rest = abs(sum(one.values()) - sum(other.values()))
    return 0.5 * (apart + rest)


def _is_outside(found: ProbeRound, name: str, of: _Compared) -> bool | None:
    answer = found.answers.get(name)
    distance = None if answer is None else _distance(answer, of)
    return None if distance is None else distance > of.farthest + 1e-9


class _Evidence:
    """The evidence since each round, from the answers that are outside (True), inside (False), or lacking.

    `within` has the number of calibrating answers of each prompt. A round with far less than one that begins
    now would have is forgotten: that only lowers the largest.
    """

    def __init__(self, within: Sequence[int]) -> None:
        self._within = within
        self._since: dict[tuple[int, int], list[tuple[int, int]]] = {}
        self._day, self._rounds, self._agrees = 0, 0, False
        self.largest, self.confirmed = 0.0, False
        self.since: int | None = None

    def add(self, day: int, outside: Sequence[bool | None]) -> None:
        """Add a round of this UTC day, not before the last one's."""
        if day != self._day:
            self._day, self._rounds, self._agrees = day, 0, False
        self._rounds += 1
        began_now = day, self._rounds
        self._since = {began: counts for began, counts in self._since.items() if began[0] > day - DAYS}
        self._since[began_now] = [(0, 0)] * len(self._within)
        for counts in self._since.values():
            for place, found in enumerate(outside):
                if found is not None:
                    was, of = counts[place]
                    counts[place] = was + found, of + 1
        alone = _ratio([(int(found or 0), int(found is not None)) for found in outside], self._within)
        each = {began: _ratio(counts, self._within) for began, counts in self._since.items()}
        self._since = {
            began: counts
            for began, counts in self._since.items()
            if began == began_now or each[began] > _FORGOTTEN
        }
        weighed = {began: found - began[1] * math.log(2.0) for began, found in each.items()}
        best = max(weighed, key=weighed.__getitem__)
        self.since, self.largest = best[0], math.exp(min(weighed[best], 500.0)) / DAYS
        self.confirmed = self._agrees and alone > 0.0
        self._agrees = alone > 0.0


def _ratio(counts: Iterable[tuple[int, int]], within: Sequence[int]) -> float:
    """The logarithm of the likelihood ratio of (outside, answers) of each prompt."""
    ratios = [_of_prompt(was, of, known) for (was, of), known in zip(counts, within, strict=True)]
    logs = [sum(math.log1p(share * (ratio - 1.0)) for ratio in ratios) for share in _SHARES]
    most = max(logs)
    return most + math.log(sum(math.exp(each - most) for each in logs) / len(logs))


_KNOWN: dict[tuple[int, int, int], float] = {}


def _of_prompt(outside: int, of: int, within: int) -> float:
    """How much likelier these answers are from a prompt that answers otherwise, outside by Beta(2, 1), than
    from one that does not, outside by Beta(1, within)."""
    key = outside, of, within
    if key not in _KNOWN:
        inside = of - outside
        other = _beta(2 + outside, 1 + inside) - _beta(2, 1)
        same = _beta(1 + outside, within + inside) - _beta(1, within)
        _KNOWN[key] = math.exp(min(other - same, 500.0))
    return _KNOWN[key]


def _beta(one: int, other: int) -> float:
    return math.lgamma(one) + math.lgamma(other) - math.lgamma(one + other)
