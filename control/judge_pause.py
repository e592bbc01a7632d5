"""Why the judge pauses, and until when. Pure.

reason          begins when                                ends
budget          the day's budget has no room for a call    the UTC day ends, or the config changes
budget          the whole budget has no room for one       the config changes, or a shorter one is answered
provider        a call failed                              after 10 s, 20 s, … 10 min; an answer forgets it
no price        the model's price is not known             a minute later, or the config changes
no credential   its entry has none                         a minute later, or the config changes
"""

from dataclasses import dataclass
from typing import Literal

Reason = Literal["", "budget", "provider", "no price", "no credential"]

FIRST_S, LONGEST_S = 10.0, 600.0
LOOK_AGAIN_S = 60.0
_DAY_S = 86400


@dataclass(slots=True)
class JudgePause:
    """`words` says more, for example the provider's own words. `until` is UTC seconds. After it the judge
    asks again, and `reason` stays until something was answered. `has_end` is False where no day helps."""

    reason: Reason = ""
    words: str = ""
    until: float = 0.0
    failures: int = 0
    has_end: bool = True

    def holds(self, now: float) -> bool:
        """True while nothing is asked."""
        return now < self.until

    def look(self, now: float) -> None:
        """A new day has a new budget."""
        if self.reason == "budget" and self.has_end and not self.holds(now):
            self.forget()

    def budget_spent(self, words: str, now: float) -> None:
        """No call fits into what is left of this day's budget."""
        self.reason, self.words, self.has_end = "budget", words, True
        self.until = (now // _DAY_S + 1) * _DAY_S

    def budget_too_small(self, words: str, now: float) -> None:
        """No call that waits fits into the budget of any day; a shorter one may come."""
        self.reason, self.words, self.until, self.has_end = "budget", words, now + LONGEST_S, False

    def failed(self, words: str, now: float) -> None:
        """A call failed. Calls that were in flight when the pause began do not make it longer."""
        if self.holds(now):
            return
        self.failures += 1
        self.reason, self.words, self.has_end = "provider", words, True
        self.until = now + min(FIRST_S * 2.0 ** (self.failures - 1), LONGEST_S)

    def cannot(self, reason: Literal["no price", "no credential"], words: str, now: float) -> None:
        """The judge cannot be asked as the config stands."""
        self.reason, self.words, self.has_end = reason, words, True
        self.until = now + LOOK_AGAIN_S

    def answered(self) -> None:
        """A call was answered. A spent budget stays so."""
        if self.reason == "provider" or not self.has_end:
            self.forget()

    def forget(self) -> None:
        """Begin anew, as after a change of the config."""
        self.reason, self.words, self.until, self.failures, self.has_end = "", "", 0.0, 0, True
