"""Whether enough users get the candidate for a rule to act, at a share of so many users. Pure."""

import math
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from alerts.evidence.exchanges import FEWEST_VALUES
from alerts.evidence.statistics import MINIMUM_UNITS, TWO_UNITS
from alerts.rules.rule import FAULT_OF, RATINGS, Rule, acts_on_two
from alerts.rules.scope import COUNT_USERS, users_needed
from common.numbers import count, set_percent

SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
"""The shares that are advised."""
SURE = 0.9
"""The chance from which enough users are said to get the candidate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FewUsers:
    """What the rules cannot do because few users get the candidate.

    Of `users`, those of both arms, `candidate` get it at this `share`. A rollback needs `needed` of them, or
    two by one of the rules `by_two`, and `lacking` says that so many are not there, or perhaps not there;
    `enough` is the least advised share at which they likely are, None for none up to a half. `silent` are the
    rules on ratings that need `raters` users in each arm and cannot have them; with `loud`, a share, they
    can, if all users rate; None for none.
    """

    users: int
    share: float
    candidate: int
    needed: int
    by_two: tuple[str, ...]
    lacking: bool
    enough: float | None
    silent: tuple[str, ...]
    raters: int
    loud: float | None

    @property
    def document(self) -> dict[str, Any]:
        """As JSON types, with the sentence."""
        return {
            **asdict(self),
            "by_two": list(self.by_two),
            "silent": list(self.silent),
            "sentence": self.sentence,
        }

    @property
    def sentence(self) -> str:
        """What cannot be done, and what would help."""
        gets = f"{count(self.candidate, 'user')} get{'s' if self.candidate == 1 else ''} the candidate"
        return f"{gets}: {'; '.join([*self._of_rollback(), *self._of_ratings()])}"

    def _of_rollback(self) -> list[str]:
        if not self.lacking:
            return []
        if self.by_two and TWO_UNITS <= self.candidate < self.needed:
            can = f"only {', '.join(self.by_two)} can roll it back, once both have many such answers"
            others = "at a share of {} the other rules can, too"
            return [can] if self.enough is None else [can, others.format(set_percent(self.enough))]
        cannot = "no rule can roll it back"
        if self.candidate >= self.needed:
            cannot = f"if fewer than {self.needed} come, {cannot}"
        if self.enough is None:
            return [cannot, "no share up to 50 % would, so have its answers read or judged"]
        would = "would" if self.candidate < self.needed else "makes sure"
        return [cannot, f"a share of {set_percent(self.enough)} {would}"]

    def _of_ratings(self) -> list[str]:
        if not self.silent:
            return []
        verb = "needs" if len(self.silent) == 1 else "need"
        needs = f"{' and '.join(self.silent)} {verb} {self.raters} users in each arm who rate"
        if self.loud is None:
            return [f"{needs}, which {count(self.users, 'user')} cannot give"]
        return [f"{needs}: a share of {set_percent(self.loud)} at least"]


def few_users(
    rules: Iterable[Rule], share: float, users: int, *, candidate: int | None = None, rated: Collection[str]
) -> FewUsers | None:
    """What so many users of both arms are too few for; None for nothing. `candidate`: the candidate's among
    them, where they are counted. `rated` are the metrics on which users rate, or are to."""
    if not 0.0 < share < 1.0:
        return None
    rules = [rule for rule in rules if not rule.category and not rule.segment]
    needed = _least(rules, share)
    counted = round(users * share) if candidate is None else candidate
    chance = _chance(users, share, needed) if candidate is None else float(candidate >= needed)
    lacking = needed > 0 and chance < SURE
    raters = {rule.rule: max(rule.minimum, FEWEST_VALUES) for rule in rules if rule.rule in rated}
    silent = [name for name in RATINGS if not _can_rate(raters.get(name, 0), share, users)]
    if not lacking and not silent:
        return None
    most = max((raters[name] for name in silent), default=0)
    more = [each for each in SHARES if each > share]
    return FewUsers(
        users=users,
        share=share,
        candidate=counted,
        needed=needed,
        by_two=tuple(rule.rule for rule in rules if rule.action == "rollback" and acts_on_two(rule)),
        lacking=lacking,
        enough=next((each for each in more if _chance(users, each, _least(rules, each)) >= SURE), None),
        silent=tuple(silent),
        raters=most,
        loud=next((each for each in more if _can_rate(most, each, users)), None),
    )


def _least(rules: Iterable[Rule], share: float) -> int:
    """The fewest users of the candidate with which one of the rules may roll back without need of many
    outcomes of each; 0 without such a rule."""
    return min((_of_rule(rule, share) for rule in rules if rule.action == "rollback"), default=0)


def _of_rule(rule: Rule, share: float) -> int:
    """A rule that compares users counts each once; one with a limit of its own counts all their outcomes."""
    fault = FAULT_OF.get(rule.rule)
    least = max(MINIMUM_UNITS, rule.minimum if rule.rule in COUNT_USERS else 0)
    if rule.rule == "error_rate" or (fault is not None and fault.absolute is not None):
        return least
    return max(least, users_needed(rule, share) or 0)


def _can_rate(raters: int, share: float, users: int) -> bool:
    return raters <= users * min(share, 1.0 - share)


def _chance(users: int, share: float, least: int) -> float:
    """The chance that at least so many of the users get the candidate: each does with the share."""
    get, keep, ways = math.log(share), math.log1p(-share), math.lgamma(users + 1)
    fewer = (
        ways - math.lgamma(k + 1) - math.lgamma(users - k + 1) + k * get + (users - k) * keep
        for k in range(min(least, users + 1))
    )
    return 1.0 - math.fsum(map(math.exp, fewer))
