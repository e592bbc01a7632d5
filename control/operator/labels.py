"""Which captured pair a person labels next, and how far the labels have come.

Pairs come in the random order of their places, each category as often as the traffic has it: such labels
estimate what people prefer.

Labelling is blind: of the judge's word and of other people's labels nothing is handed out but counts.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from control.operator.orders import BadOrder, must_be_storable
from judge.judgements import JudgedPairs, judged_pairs, place
from records.captures.capture import Capture, CapturedMessage
from records.store import Store
from records.store.captures import CaptureStore, KnownPair, Label, Labels, comparable

SITTING_S = 12 * 3600.0
"""How long a label can be taken back: as long as a session of the page lasts."""

_REMEMBERED = 20
"""Of how many of a person's last pairs the system prompts count as read."""

Pair = tuple[Capture, Capture]
"""The real exchange, and the candidate's answer to its copy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairWanted:
    """What a person wants to label. Without a name, pairs that nobody has labelled.

    `second`: only pairs that another person has labelled. `disagreements`: first those on which the judge and
    another person differ, or of which the order decided. `again` is the pair whose label was taken back.
    """

    who: str = ""
    category: str | None = None
    second: bool = False
    disagreements: bool = False
    again: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelProgress:
    """`labelled` pairs; `judged` pairs of this run that the newest judge marked with its newest words,
    `on_judged` of them with a label that tells what that judge is worth; `twice`: pairs that two people
    labelled, of which they `agree` on."""

    labelled: int
    judged: int
    on_judged: int
    twice: int
    agree: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PairToLabel:
    """The next pair for `who`, None if none is left. `prompt_read`: a pair that they labelled a moment ago
    had the same system prompt. `last` is the pair of their last label, which they can take back, or ""."""

    who: str
    pair: Pair | None
    prompt_read: bool
    last: str
    progress: LabelProgress


def next_pair(store: Store, canary: str, run: int, wanted: PairWanted, *, now: float) -> PairToLabel:
    """The pair to show. Raises StoreDown."""
    votes, captures = Labels(store).given(canary), CaptureStore(store)
    judged = judged_pairs(store, canary, run)
    who = spelled(wanted.who, votes)
    mine = [each.exchange_id for each in votes if each.who == who and each.at > now - SITTING_S]
    done = (wanted.again, who) in {(each.exchange_id, each.who) for each in votes}
    usual = next_id(captures.pairs_known(canary, wanted.category), votes, judged, who=who, wanted=wanted)
    pair = captures.pair(canary, usual if done else wanted.again) or captures.pair(canary, usual)
    prompts = {system_prompt(each) for each in captures.messages(mine[-_REMEMBERED:])}
    return PairToLabel(
        who=who,
        pair=pair,
        prompt_read=pair is not None and system_prompt(pair[0].messages) in prompts,
        last=mine[-1] if mine else "",
        progress=progress(votes, judged),
    )


def keep(store: Store, label: Label, *, run: int, disagreements: bool) -> None:
    """Store a person's label of a pair. `disagreements` says that they asked for these first. Raises
    StoreDown, BadOrder (404)."""
    must_be_storable(label.exchange_id, label.who)
    if CaptureStore(store).pair(label.canary, label.exchange_id) is None:
        raise BadOrder(404, "Not saved: this pair does not exist, or its texts have expired.")
    votes = Labels(store).given(label.canary)
    label = replace(label, who=spelled(label.who, votes))
    if disagreements:
        others = [each for each in votes if each.exchange_id == label.exchange_id and each.who != label.who]
        if judged_pairs(store, label.canary, run).disputed(label.exchange_id, others):
            label = replace(label, chosen="disagreement")
    Labels(store).add(label)


def withdraw(store: Store, canary: str, exchange_id: str, who: str, *, now: float) -> None:
    """Take back a person's label of a pair. Raises StoreDown, BadOrder (409)."""
    must_be_storable(exchange_id, who)
    votes = Labels(store).given(canary)
    name = spelled(who, votes)
    found = next((each for each in votes if (each.exchange_id, each.who) == (exchange_id, name)), None)
    if found is None:
        raise BadOrder(409, f"Nothing was undone: this pair has no label of {name}.")
    if found.at <= now - SITTING_S:
        raise BadOrder(409, "Nothing was undone: a label can be taken back for 12 hours.")
    Labels(store).withdraw(found, at=now)


def spelled(who: str, votes: Iterable[Label]) -> str:
    """The name as this person's labels have it already: capitals and spaces make nobody a second person."""
    name = " ".join(who.split())
    return next((each.who for each in votes if each.who.casefold() == name.casefold()), name)


def next_id(
    pairs: Sequence[KnownPair],
    votes: Iterable[Label],
    judged: JudgedPairs,
    *,
    who: str,
    wanted: PairWanted,
) -> str:
    """The pair of these that this person labels next; "" if none is left.

    Those come first that the newest judge marked, of them those that nobody has labelled but for a
    disagreement, and of these the next in the random order, which each category's traffic stretches.
    """
    labelled: dict[str, list[Label]] = {}
    for each in votes:
        labelled.setdefault(each.exchange_id, []).append(each)

    def waits(pair: str) -> bool:
        labels = labelled.get(pair, [])
        mine = any(each.who == who for each in labels) if who else bool(labels)
        return not mine and (bool(labels) or not wanted.second)

    stretched = _stretched(pairs, judged)

    def rank(pair: KnownPair) -> tuple[bool, bool, bool, float]:
        id = pair.exchange_id
        labels = labelled.get(id, [])
        first = wanted.disagreements and judged.disputed(id, labels)
        in_turn = any(not each.chosen for each in labels)
        return not first, id not in judged.better, in_turn, place(id) * stretched[pair.category]

    waiting = [pair for pair in pairs if waits(pair.exchange_id)]
    return min(waiting, key=rank).exchange_id if waiting else ""


def _stretched(pairs: Sequence[KnownPair], judged: JudgedPairs) -> Mapping[str, float]:
    """By category, how many times more often its pairs are judged than its traffic would have it."""
    marked = Counter(pair.category for pair in pairs if pair.exchange_id in judged.better)
    traffic = Counter(pair.category for pair in pairs if pair.by_rate)
    every = Counter(pair.category for pair in pairs)
    return {name: (marked[name] or every[name]) / max(traffic[name], 1) for name in every}


def progress(votes: Sequence[Label], judged: JudgedPairs) -> LabelProgress:
    """Count the labels. Of more than two people who labelled a pair the first two count."""
    known = comparable(votes)
    twice = [found for found in known.values() if len(found) > 1]
    return LabelProgress(
        labelled=len({each.exchange_id for each in votes}),
        judged=len(judged.better),
        on_judged=len(known.keys() & judged.better.keys()),
        twice=len(twice),
        agree=sum(first.better == second.better for first, second, *_ in twice),
    )


def system_prompt(messages: Iterable[CapturedMessage]) -> tuple[str, ...]:
    """The texts of a request's system messages."""
    return tuple(each.content for each in messages if is_system(each))


def is_system(message: CapturedMessage) -> bool:
    """Whether a message is the app's own instruction."""
    return message.role in ("system", "developer")
