"""What a judge said of a run's answers, with what people say of the same pairs."""

from collections.abc import Sequence
from dataclasses import dataclass

from records.judgements import JudgedExchange, Kind
from records.labels import Label


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """The judgements of one run in the order of their exchanges, and people's labels in the order in which
    they were given."""

    exchanges: Sequence[JudgedExchange] = ()
    labels: Sequence[Label] = ()

    def until(self, moment: float) -> "Judging":
        """What was asked, and labelled, before this moment, UTC seconds."""
        return Judging(
            exchanges=tuple(each for each in self.exchanges if each.asked_at < moment),
            labels=tuple(each for each in self.labels if each.at < moment),
        )

    def of(self, kind: Kind) -> list[JudgedExchange]:
        """The pairs, or the answers, that have their result from the newest judge with its newest words:
        another judge's taste, or other words, would be another metric."""
        ended = [each for each in self.exchanges if each.kind == kind and each.result]
        if not ended:
            return []
        newest = max(ended, key=lambda each: each.asked_at)
        asked = (newest.judge, newest.words_sha256)
        return [each for each in ended if (each.judge, each.words_sha256) == asked]


NOT_JUDGED = Judging()
