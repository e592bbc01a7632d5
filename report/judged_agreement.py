"""A judge's votes beside people's, and two people's beside each other, on the pairs of one run. Pure."""

from collections.abc import Iterator

from records.judgements import JudgedExchange
from records.labels import Label
from report.judge_figures import LabelAgreement
from report.judged_exchanges import Judging
from report.label_agreement import Vote, agreement, vote

_JUDGED: dict[str, Vote] = {"candidate": "candidate", "baseline": "baseline", "tie": "tie"}


def with_people(judging: Judging) -> LabelAgreement:
    """The judge's agreement with people: of each pair its result, and the newest label. Pairs without a
    readable result, and unclear labels, are left out."""
    newest = {label.exchange_id: label for label in judging.labels}
    return agreement([*_beside(judging.of("pair"), newest)])


def _beside(pairs: list[JudgedExchange], newest: dict[str, Label]) -> Iterator[tuple[Vote, Vote]]:
    for pair in pairs:
        ours, label = _JUDGED.get(pair.result), newest.get(pair.exchange_id)
        theirs = vote(label.right) if label is not None else None
        if ours is not None and theirs is not None:
            yield ours, theirs


def between_people(judging: Judging) -> LabelAgreement:
    """The agreement of two people: of each pair of the run that several labelled, the newest labels of the
    two who labelled it last."""
    run = {each.exchange_id for each in judging.exchanges}
    by_person: dict[str, dict[str, Label]] = {}
    for label in judging.labels:
        if label.exchange_id in run:
            people = by_person.setdefault(label.exchange_id, {})
            people.pop(label.who, None)  # so that the last in the order is who labelled last
            people[label.who] = label
    return agreement([*_last_two(by_person)])


def _last_two(by_person: dict[str, dict[str, Label]]) -> Iterator[tuple[Vote, Vote]]:
    for people in by_person.values():
        votes = [vote(label.right) for label in people.values()][-2:]
        first, second = votes if len(votes) > 1 else (None, None)
        if first is not None and second is not None:
            yield first, second
