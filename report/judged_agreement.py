"""A judge's votes beside people's, and two people's beside each other, on the pairs of one run. Pure."""

from collections.abc import Iterator, Mapping, Sequence

from records.judgements import JudgedExchange
from records.labels import Better, Label, comparable
from report.judge_figures import LabelAgreement
from report.judged_exchanges import Judging
from report.label_agreement import agreement

_RESULTS: Mapping[str, Better] = {"candidate": "candidate", "baseline": "baseline", "tie": "tie"}


def with_people(judging: Judging) -> LabelAgreement:
    """The judge's agreement with people: of each pair its result, and its first label that was not asked for
    because the two differ. Pairs without a readable result, and unclear labels, are left out."""
    return agreement([*_beside(judging.of("pair"), comparable(judging.labels))])


def _beside(
    pairs: Sequence[JudgedExchange], labels: Mapping[str, Sequence[Label]]
) -> Iterator[tuple[Better, Better]]:
    for pair in pairs:
        ours, votes = _RESULTS.get(pair.result), labels.get(pair.exchange_id)
        theirs = votes[0].better if votes else None
        if ours is not None and theirs is not None:
            yield ours, theirs


def between_people(judging: Judging) -> LabelAgreement:
    """The agreement of two people: of each pair of the run that several labelled, the labels of the first two
    whose choice was not asked for because others differ."""
    run = {each.exchange_id for each in judging.exchanges}
    labels = comparable(each for each in judging.labels if each.exchange_id in run)
    return agreement([*_first_two(labels)])


def _first_two(labels: Mapping[str, Sequence[Label]]) -> Iterator[tuple[Better, Better]]:
    for votes in labels.values():
        known: list[Better] = [each.better for each in votes[:2] if each.better is not None]
        if len(known) > 1:
            yield known[0], known[1]
