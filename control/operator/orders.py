"""Turns an operator's order into a transition. `routing.transitions` says which are legal.

A promotion may want two people: one asks, another carries it out. The audit log is the only memory of that.

a person's `promote`    no request is open    only their own is open    somebody else's is open
                        stored                refused (409)             promoted, in the name of both

A request is open for a day, and only while the canary's state is the one in which it was asked: a rollback,
pause, resume, new share or new run ends it. One that was made while the report said ship is not open to a
promotion against its verdict. Two people who ask in the same moment have both asked; either may then promote.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args
from unicodedata import normalize

from alerts.incidents.notice import utc_text
from alerts.incidents.notifier import Announcement
from common.numbers import set_percent
from records.store import Act, Store
from records.store.decisions import ASKED, PromoteRequests
from routing import transitions
from routing.canary import Canary
from routing.states import State

MOST_MINUTES, LONGEST_STAGE = 10_000, 40
"""The most minutes that a person may give as spent, and the longest name of the stage on which they were."""

Order = Literal["start", "pause", "resume", "rollback", "promote", "ramp"]
"""The actions of people. Only the config ends a canary."""

ORDERS: tuple[Order, ...] = get_args(Order)


class BadOrder(Exception):
    """An order that cannot be carried out. `status` is the HTTP status, the message says what is legal."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@contextmanager
def refusing(status: int, *problems: type[Exception], says: str = "{}") -> Iterator[None]:
    """Turn these problems into BadOrder, whose message has the problem's in place of {}."""
    try:
        yield
    except problems as problem:
        raise BadOrder(status, says.replace("{}", str(problem))) from problem


def must_be_storable(*texts: str) -> None:
    """Raise BadOrder (400) for text that the store would refuse: a lone surrogate, or a NUL in PostgreSQL.

    A rollback with such a reason would be in force and never stored.
    """
    if any("\0" in text or text != text.encode("utf-8", "replace").decode() for text in texts):
        raise BadOrder(400, "who and why must be text that can be stored: valid UTF-8, without a NUL")


def transition_for(
    order: Order, canary: Canary, *, reason: str, share: float | None, now: float, hard: bool = False
) -> Callable[[State], State]:
    """The transition that carries out an order. Raises BadOrder (400) when the order is incomplete."""
    steps = canary.steps
    if order == "ramp":
        if share is None:
            raise BadOrder(400, 'ramp needs "share", for example 0.1 for 10 %')
        wanted = share
        return lambda state: transitions.set_share(state, steps, wanted, now=now)
    if order in ("promote", "resume") and not reason.strip():
        raise BadOrder(400, f'{order} needs "reason": it stands in the audit log')
    if hard and order != "rollback":
        raise BadOrder(400, f'only rollback may be "hard", not {order}')
    changes: dict[Order, Callable[[State], State]] = {
        "start": lambda state: transitions.start(state, steps, now=now),
        "pause": lambda state: transitions.pause(state, reason=reason, now=now),
        "resume": lambda state: transitions.resume(state, steps, reason=reason, now=now),
        "rollback": lambda state: transitions.rollback(state, reason=reason, now=now, hard=hard),
        "promote": lambda state: transitions.promote(state, reason=reason, now=now, holdback=canary.holdback),
    }
    return changes[order]


def outweighed(
    found: Sequence[Mapping[str, Any]], undecided: Sequence[Mapping[str, Any]], despite: Sequence[str]
) -> list[Mapping[str, Any]]:
    """The misses and what is undecided, each with its `name`, that a decision to ship outweighs. Raises
    BadOrder (409, 400) unless it names each miss, and nothing that is neither."""
    names, open_ = names_of(found), names_of(undecided)
    if unnamed := [name for name in names if name not in despite]:
        raise BadOrder(
            409,
            f"not decided: this run misses {', '.join(names)}. To ship all the same, name each miss: "
            f"--despite {','.join(names)} (not named: {', '.join(unnamed)})",
        )
    if unknown := [name for name in despite if name not in (*names, *open_)]:
        missed = f"the misses are {', '.join(names)}" if names else "this run misses nothing"
        missed += f"; undecided is {', '.join(open_)}" if open_ else ""
        raise BadOrder(400, f"not decided: {', '.join(unknown)} is no miss of this run; {missed}")
    return [*found, *(each for each in undecided if each["name"] in despite)]


def names_of(points: Iterable[Mapping[str, Any]]) -> list[str]:
    """By which names a decision outweighs these."""
    return list(dict.fromkeys(str(each["name"]) for each in points))


def still_extend(canary: str, says: str, unnamed: Sequence[str]) -> BadOrder:
    """The refusal of a decision to ship that would leave the verdict at extend, because of what it `says`.
    With the `unnamed` it would ship; nothing outweighs the rest."""
    instead = (
        f"To ship all the same, name what is undecided: --despite {','.join(unnamed)}"
        if unnamed
        else "No decision outweighs that. To promote all the same, say that it is against the verdict: "
        f"canary promote {canary} --against-verdict --reason …"
    )
    because = f" ({says.rstrip('.')})" if says else ""
    return BadOrder(409, f"not decided: the report would still say extend{because}. {instead}")


def cannot_outweigh(state: State, split: str) -> str:
    """What keeps the verdict at don't ship whatever a person decides, in a sentence; "" for nothing. `split`
    says what is wrong with the users' split, if anything."""
    why = "the run was rolled back" if state.state == "rolled_back" else split
    return f"The verdict stays don't ship: {why}, and no decision outweighs that." if why else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What a canary's report says: its verdict, whether that one ships, and its first reason, "" for none.
    Where no report can be made, the verdict is to extend."""

    verdict: str
    ships: bool
    says: str

    def against(self, *, wanted: bool) -> str:
        """The verdict against which a promotion goes, "" for none. Raises BadOrder (409) unless that is
        `wanted`."""
        if self.ships:
            return ""
        if not wanted:
            because = f" ({self.says.rstrip('.')})" if self.says else ""
            raise BadOrder(
                409,
                f"not promoted: the report says {verdict_words(self.verdict)}{because}. To promote all the "
                "same, say that it is against the verdict (--against-verdict)",
            )
        return self.verdict


def verdict_words(verdict: str) -> str:
    """ship with caveats, don't ship, extend."""
    return verdict.replace("dont", "don't").replace("_", " ")


LASTS_S = 86_400.0


def holdback_begun(canary: str, state: State, act: Act) -> Announcement | None:
    """What the receivers are told when a promotion holds users back; None where it does not."""
    held = state.holdback if state.holds_back else None
    if held is None:
        return None
    until = utc_text(held.until)
    return Announcement(
        kind="holdback_begun",
        about={"canary": canary, "who": act.who, "until": until},
        headline=f"{canary}: promoted by {act.who}; {set_percent(1.0 - state.share)} of the users keep the "
        f"former baseline until {until}, and its report of the week after follows then",
        at=act.at,
        offers=("rollback", "report"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PromoteRequest:
    """One person's request, at UTC seconds, in this state; `against` this verdict, "" for none."""

    who: str
    reason: str
    at: float
    state: State
    against: str = ""

    @property
    def until(self) -> float:
        """When it ends, UTC seconds."""
        return self.at + LASTS_S

    def is_open(self, state: State | None, now: float) -> bool:
        """True while somebody else may promote by it."""
        return state is not None and now < self.until and _moment(self.state) == _moment(state)

    def document(self) -> dict[str, Any]:
        """The request as the status has it; times in UTC seconds."""
        found = {"who": self.who, "reason": self.reason, "at": self.at, "until": self.until}
        return {**found, "against": self.against or None}

    def announcement(self, canary: str) -> Announcement:
        """What the receivers are told."""
        return Announcement(
            kind=ASKED,
            about={"canary": canary, "who": self.who, "reason": self.reason},
            headline=f"{canary}: {self.who} asks to promote it{self._against} ({self.reason}); somebody else "
            "must agree within 24 hours",
            at=self.at,
            offers=("promote", "report"),
            reason=f"agreed with {self.who}: {self.reason}",
        )

    @property
    def _against(self) -> str:
        return f" against the verdict {verdict_words(self.against)}" if self.against else ""


class PromotionApprovals:
    """The requests to promote the canaries of one database."""

    def __init__(
        self, store: Store, state: Callable[[str], State | None], wanting: Callable[[], Iterable[str]]
    ) -> None:
        """`state` is a canary's present one; `wanting` are the canaries whose promotion wants two people."""
        self._store, self._requests = store, PromoteRequests(store)
        self._state, self._wanting = state, wanting
        self._newest: dict[str, PromoteRequest] = {}

    def open(self, canary: str, now: float) -> PromoteRequest | None:
        """The newest open request as last seen, without the store; None for none."""
        found = self._newest.get(canary)
        if found is None or canary not in self._wanting():
            return None
        return found if found.is_open(self._state(canary), now) else None

    def approved(self, canary: str, act: Act, state: State) -> Act | None:
        """The promotion in the name of both, if somebody else has asked for it in this state; None if this
        act was stored as the request. Raises BadOrder (400, 409) and StoreDown."""
        if not _person(act.who):
            raise BadOrder(400, 'promote needs "who": this canary is promoted by two people')
        found = self._open_in_store(canary, state, act.at)
        asked = [each for each in found if each.against or not act.against]
        others = [each for each in asked if _person(each.who) != _person(act.who)]
        if others:
            return _of_both(others[0], act)
        if asked:
            left = _hours(asked[0].until - act.at)
            says = f"{asked[0].who} has asked already: somebody else must promote {canary}"
            raise BadOrder(409, f"{says}, or ask anew after {left}")
        if _moment(self._store.states()[canary].state) != _moment(state):
            raise BadOrder(409, _void(canary))
        self._requests.add(canary, act, state)
        self._newest[canary] = request_of(act, state)
        return None

    def look(self, now: float) -> None:
        """Read the newest requests, which another admin or an earlier process may have taken. May raise
        StoreDown."""
        for canary in self._wanting():
            state = self._state(canary)
            if state is None or "promote" not in transitions.legal(state):
                continue
            for request in self._open_in_store(canary, state, now)[:1]:
                self._newest[canary] = request

    def _open_in_store(self, canary: str, state: State, now: float) -> list[PromoteRequest]:
        found = self._requests.since(canary, now - LASTS_S)
        requests = [request_of(entry.act, entry.after) for entry in found]
        return [each for each in requests if each.is_open(state, now)]


def only_from(canary: str, state: State, transition: Callable[[State], State]) -> Callable[[State], State]:
    """The transition, for this state alone: what both people agreed on. Raises BadOrder (409) in another."""

    def guarded(found: State) -> State:
        if _moment(found) != _moment(state):
            raise BadOrder(409, _void(canary))
        return transition(found)

    return guarded


def _void(canary: str) -> str:
    return (
        f"{canary} changed a moment ago, so a request to promote it is void: look at it, and ask anew if it "
        "still holds"
    )


def _of_both(asked: PromoteRequest, act: Act) -> Act:
    reason = f"{asked.who}: {asked.reason}; {act.who}: {act.reason}"
    return replace(act, who=f"{asked.who} and {act.who}", reason=reason)


def request_of(act: Act, state: State) -> PromoteRequest:
    """The request that this act made."""
    return PromoteRequest(who=act.who, reason=act.reason, at=act.at, state=state, against=act.against)


def _moment(state: State) -> tuple[int, str, float, float | None]:
    """Differs between any two states but for the ramp's clock."""
    return state.run, state.state, state.share, state.changed_at


def _person(who: str) -> str:
    """The name by which a person is known, however it is spelt. Of a name that a sign-in gave,
    `Ann (ann@example.com)`, the part in brackets: at many providers people choose the rest."""
    name = " ".join(normalize("NFKC", who).casefold().split())
    given, _, own = name.removesuffix(")").rpartition(" (")
    return own if given and own and name.endswith(")") else name


def _hours(seconds: float) -> str:
    hours = max(1, round(seconds / 3600.0))
    return f"{hours} hour{'' if hours == 1 else 's'}"
