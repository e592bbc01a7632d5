"""What a judge said of a run's answers, with what people say of the same pairs."""

from collections.abc import Iterable, Sequence
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

    def without(self, units: Iterable[str]) -> "Judging":
        """What was said of answers to other units than these, and what people said of those."""
        out = frozenset(units)
        exchanges = tuple(each for each in self.exchanges if each.unit not in out)
        kept = {each.exchange_id for each in exchanges}
        return Judging(
            exchanges=exchanges, labels=tuple(each for each in self.labels if each.exchange_id in kept)
        )

    def of(self, kind: Kind) -> list[JudgedExchange]:
        """The pairs, or the answers, that have their result from the newest judge with its newest words:
        another judge's taste, or other words, would be another metric."""
        newest = self._newest(kind)
        return [each for each in self._ended(kind) if newest is not None and _asked(each) == _asked(newest)]

    def left_out(self) -> int:
        """The pairs that have their result from an earlier judge, or from the same with other words."""
        return len(self._ended("pair")) - len(self.of("pair"))

    def shown(self) -> JudgedExchange | None:
        """One of the judgements that are shown: the newest pair that has its result, else such an answer;
        while none has one, the newest that was asked for. None without any."""
        asked = max(self.exchanges, key=_moment, default=None)
        return self._newest("pair") or self._newest("answer") or asked

    def _newest(self, kind: Kind) -> JudgedExchange | None:
        return max(self._ended(kind), key=_moment, default=None)

    def _ended(self, kind: Kind) -> list[JudgedExchange]:
        return [each for each in self.exchanges if each.kind == kind and each.result]


def _moment(judged: JudgedExchange) -> float:
    return judged.asked_at


def _asked(judged: JudgedExchange) -> tuple[str, str]:
    """The judge and its words."""
    return judged.judge, judged.words_sha256


NOT_JUDGED = Judging()
