"""What a judge does for one run of a canary: which captures wait for it, and the questions about each."""

from dataclasses import dataclass

from bench.judge import Subject, answer_subject, pair_subject
from bench.judge_sampling import choose
from records.capture_store import CaptureStore
from records.judgements import Judgements, Kind
from records.store import Store
from records.unjudged import NEWEST, Unjudged, unjudged

_DAY_S = 86400


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What is judged `now`, and why more has to wait for another day or hour ("" if nothing has)."""

    now: list[Unjudged]
    held: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedRun:
    """One run of a canary and how it is judged. `number` is how many pairs or answers of it a UTC day has;
    `redact` are the canary's own patterns."""

    canary: str
    run: int
    kind: Kind
    number: int
    criteria: str
    redact: tuple[str, ...] = ()

    def due(self, store: Store, now: float, *, most: int) -> Due:
        """What is judged next at `now`, UTC seconds. May raise StoreDown."""
        begun = Judgements(store).begun(self.canary, self.run, self.kind, now=now)
        if sum(begun.values()) >= self.number:
            return Due(now=[], held=f"the day's `{self.kind}s: {self.number}` is used up")
        waiting = unjudged(store, self.canary, self.run, self.kind, each=most, newest=NEWEST)
        chosen = choose(waiting, begun, number=self.number, of_day=now % _DAY_S / _DAY_S, most=most)
        held = len(chosen) < min(len(waiting), most)
        words = f"{self.kind}s wait, because their categories' part of today is used"
        return Due(now=chosen, held=words if held else "")

    def more(self, store: Store) -> list[Unjudged]:
        """`number` more, whatever the day has had: evenly, and the rest from those that have more."""
        waiting = unjudged(store, self.canary, self.run, self.kind, each=self.number)
        return choose(waiting, {}, number=self.number, of_day=1.0, most=self.number)

    def subject(self, store: Store, exchange_id: str, judge: str) -> Subject | None:
        """The questions about it; None once its texts have expired. May raise StoreDown."""
        captures = CaptureStore(store)
        if self.kind == "answer":
            real = captures.one(exchange_id)
            if real is None:
                return None
            return answer_subject(real, judge=judge, criteria=self.criteria, redact=self.redact)
        pair = captures.pair(self.canary, exchange_id)
        if pair is None:
            return None
        return pair_subject(*pair, judge=judge, criteria=self.criteria, redact=self.redact)
