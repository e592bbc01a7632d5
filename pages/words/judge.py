"""What a judge says, in sentences: its figures in a report, what `canary judge` had judged, and what people's
labels are worth."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.dataset.labels import LabelShare, Line, differing, kept
from common.interval import Interval, Range
from common.numbers import count, rough_percent, set_dollars
from judge.figures import (
    AssistedMetric,
    JudgedArms,
    JudgedMarks,
    JudgedSessions,
    JudgeFigures,
    LabelAgreement,
)
from pages.words.figures import amount, label, signed, span
from pages.words.issues import short_id
from records.facts.metric import PREDICTED_BY, SESSION_DONE
from verdict.terms.measures import Unit

if TYPE_CHECKING:
    from judge.judgements import JudgedExchange, Judgements
    from judge.model import Judge
    from judge.runs.due import JudgedNow
    from judge.terms import JudgedRun

TITLE = "Whose answers a judge prefers"
NOT_YET = (
    "No answer has been judged yet. An answer is judged within half a minute of its capture, a session after "
    "30 minutes of silence; a pair of answers needs a mirrored request."
)
LOST = "Pairs that the candidate lost:"
LEGEND = "(A: current model, B: candidate)"
_MOST_LOST = 5
_UNKNOWN = "Whether people agree with the judge is not known"
_SHORT = 8
"""Characters of a hash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferenceBar:
    """Places from 0 to 100 on a line whose middle is no preference."""

    low: float
    estimate: float
    high: float
    alternative: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryPreference:
    """One category's pairs and the preference among them; no bar if there are too few."""

    value: str
    pairs: int
    says: str
    bar: PreferenceBar | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LostLine:
    """A pair that the candidate lost, under the end of its id. `said` is "" once the reason has expired."""

    exchange_id: str
    short_id: str
    category: str
    said: str


def preference(found: JudgeFigures) -> str:
    """What the judge prefers, or why nothing can be said of it."""
    pairs, known = found.pairs - found.no_mark, found.judged_preference
    if known is not None:
        return (
            f"Of {count(pairs, 'pair')} of answers to the same request, the judge preferred the candidate’s "
            f"in {with_ends(known)}, counting a tie as half."
        )
    if pairs:
        return f"The judge has compared {count(pairs, 'pair')} of answers: too few to say whose are better."
    if found.marks is not None and not found.pairs:
        return marks(found.marks)
    if found.judged_session is not None and not found.pairs:
        return sessions(found.judged_session)
    if found.pairs:
        return f"None of {count(found.pairs, 'pair')} has a readable judgement, so nothing is known of them."
    return NOT_YET


def summary(found: JudgeFigures) -> str:
    """The preference with its meaning, and the marks where there are both."""
    return " ".join(part for part in (headline(found), below(found), *beside(found)) if part)


def headline(found: JudgeFigures) -> str:
    """Whose answers people prefer, which decides; without enough labels, the judge."""
    return people(found) or preference(found)


def below(found: JudgeFigures) -> str:
    """What the judge itself prefers, where the headline does not say so, and what its interval means."""
    return " ".join(filter(None, (preference(found) if people(found) else "", conclusion(found))))


def beside(found: JudgeFigures) -> list[str]:
    """The sentences on single answers, on sessions and on what these predict, beside the first one."""
    said = [marks(found.marks)] if found.marks is not None else []
    said += [sessions(found.judged_session)] if found.judged_session is not None else []
    return [*(said if found.pairs else said[1:]), *map(assisted, found.assisted)]


def assisted(found: AssistedMetric) -> str:
    """A metric by users' ratings and the judge's marks, beside what the ratings say alone."""
    name, means = label(found.metric), found.means
    of_sessions = PREDICTED_BY[found.metric] == SESSION_DONE
    unit: Unit = "share" if of_sessions else "number"
    marked = count(found.marked, "session" if of_sessions else "answer")
    if means.candidate is None or means.baseline is None or means.difference is None:
        return ""
    ours, theirs = (
        f"{amount(each.estimate, unit)} ({span(each.low, each.high, unit)})"
        for each in (means.candidate, means.baseline)
    )
    alone = f"; by ratings alone {_difference(found.plain, unit)}" if found.plain is not None else ""
    decides = " The row rests on this." if found.decides else " This decides nothing."
    return (
        f"By what the judge says of {marked}, put right by users’ ratings of some of them ({found.rated} in "
        f"the arm that has fewer), {name} is {ours} with the candidate and {theirs} with the current model: "
        f"a difference of {_difference(means.difference, unit)}{alone}.{decides}"
    )


def _difference(found: Range, unit: Unit) -> str:
    """+0.12 (0.02 to 0.22)."""
    ends = f"{signed(found.low, unit)} to {signed(found.high, unit)}"
    return f"{signed(found.estimate, unit)} ({ends})"


def conclusion(found: JudgeFigures) -> str:
    """What the interval of the preference means; "" without one."""
    known = found.judged_preference
    if known is None:
        return ""
    if known.low is not None and known.low > 0.5:
        return "The whole interval is above 50 %: the judge prefers the candidate’s answers."
    if known.high is not None and known.high < 0.5:
        return "The whole interval is below 50 %: the judge prefers the current model’s answers."
    return "The interval includes 50 %: it is open whose answers the judge prefers."


def marks(found: JudgedMarks) -> str:
    """The marks of single answers, which are not compared pair by pair."""
    arms = _both(found) or "there are too few for an interval"
    return f"Of {count(found.answers, 'single answer')}, marked by the judge from 1 to 5, {arms}."


def sessions(found: JudgedSessions) -> str:
    """What is said of whole sessions: the marks, and whether the tasks were done."""
    arms, done = _both(found.mark) or "one arm has none yet", found.done
    words = f"Of {count(found.sessions, 'whole session')}, marked by the judge from 1 to 5, {arms}."
    if done.candidate is None or done.baseline is None:
        return words
    return (
        f"{words} The task was done in {with_ends(done.candidate)} of the candidate’s sessions and in "
        f"{with_ends(done.baseline)} of the current model’s."
    )


def _both(found: JudgedMarks | JudgedArms) -> str:
    """Both arms' marks and their difference; "" while an arm's is not known."""
    if found.candidate is None or found.baseline is None:
        return ""
    by = (
        f": a difference of {_difference(found.difference, 'number')}" if found.difference is not None else ""
    )
    return f"the candidate’s have {_ends(found.candidate)}, the current model’s {_ends(found.baseline)}{by}"


def in_short(found: JudgeFigures) -> str:
    """One line: preferred by a judge in 54 % (49 % to 59 %) of 412 pairs."""
    pairs, known, marked = found.pairs - found.no_mark, found.judged_preference, found.marks
    if known is not None:
        return f"preferred by a judge in {with_ends(known)} of {count(pairs, 'pair')}"
    if pairs or marked is None:
        return (
            _sessions_in_short(found.judged_session)
            or f"a judge has compared {count(pairs, 'pair')}: too few"
        )
    if marked.candidate is None or marked.baseline is None:
        return f"a judge has marked {count(marked.answers, 'answer')}: too few"
    return f"marked by a judge {_ends(marked.candidate)}, the current model {_ends(marked.baseline)}"


def _sessions_in_short(found: JudgedSessions | None) -> str:
    if found is None:
        return ""
    if found.mark.candidate is None or found.mark.baseline is None:
        return f"a judge has marked {count(found.sessions, 'session')}: too few"
    return (
        f"sessions marked by a judge {_ends(found.mark.candidate)}, the current model’s "
        f"{_ends(found.mark.baseline)}"
    )


def categories(found: JudgeFigures) -> list[CategoryPreference]:
    """The preference by category, the one with the most pairs first."""
    return [
        CategoryPreference(
            value=each.value or "(no category)",
            pairs=each.pairs,
            says="too few" if each.judged_preference is None else with_ends(each.judged_preference),
            bar=bar(each.judged_preference),
        )
        for each in sorted(found.categories, key=lambda each: (-each.pairs, each.value))
    ]


def headline_bar(found: JudgeFigures) -> PreferenceBar | None:
    """The bar of what the headline says; None without an interval."""
    return bar(found.judged_preference if found.people_prefer is None else found.people_prefer)


def bar(known: Range | None) -> PreferenceBar | None:
    """The bar of a preference; None without one."""
    if known is None:
        return None
    low, high = _filled(known)
    return PreferenceBar(
        low=100 * low,
        estimate=100 * known.estimate,
        high=100 * high,
        alternative=f"{with_ends(known)}; 50 % is no preference",
    )


def people(found: JudgeFigures) -> str:
    """What people prefer, and how many labels would decide it; "" without enough labels."""
    known = found.people_prefer
    if known is None:
        return ""
    more = f" About {count(found.labels_to_go, 'more label')} would decide it." if found.labels_to_go else ""
    return (
        f"People prefer the candidate’s answer in {with_ends(known)} of the pairs, by "
        f"{count(found.drawn, 'label')} of randomly drawn pairs and the judge’s word on the others.{more}"
    )


def worth(found: JudgeFigures, canary: str) -> list[str]:
    """What the judge's word is worth: people's labels, the order, the length, the vendor, what is missing."""
    return [
        *(_agreement(found, where_to_label(canary)) if found.pairs - found.no_mark else [_no_pairs(found)]),
        *filter(
            None,
            (
                _people(found.people),
                _order(found.order_decided),
                _bias(found.prefers_longer, "the longer one", "length"),
                _bias(found.prefers_own_vendor, "that of the judge’s own vendor", "the vendor"),
                _unread(found),
                _left_out(found.left_out),
            ),
        ),
    ]


def where_to_label(canary: str) -> str:
    """Where people label pairs, in words."""
    return f"/canaries/{canary}/label on canary’s page"


def identity(found: JudgeFigures) -> str:
    """Which judge, with which words, and what it cost."""
    cost = amount(found.cost_usd, "usd")
    words = f", asked in the words with the hash {found.words_sha256[:_SHORT]}" if found.words_sha256 else ""
    return f"The judge is {found.provider}/{found.model}{words}. Judging this run cost {cost}."


def lost(found: JudgeFigures) -> list[LostLine]:
    """Up to five pairs of which the judge preferred the current model's answer."""
    return [
        LostLine(
            exchange_id=each.exchange_id,
            short_id=short_id(each.exchange_id),
            category=each.category,
            said=f"judge: “{each.reason}” {LEGEND}" if each.reason else "",
        )
        for each in found.lost[:_MOST_LOST]
    ]


def with_ends(known: Range | Interval) -> str:
    """54 % (49 % to 59 %)."""
    low, high = _filled(known)
    return f"{rough_percent(known.estimate)} ({rough_percent(low)} to {rough_percent(high)})"


def _no_pairs(found: JudgeFigures) -> str:
    """Nothing could be labelled yet."""
    if found.marks is not None:
        return "What these marks are worth is not known: people label pairs of answers, not single ones."
    if found.judged_session is not None:
        return "What these marks are worth is not known: people label pairs of answers, not sessions."
    return f"{_UNKNOWN}: no pair has a readable judgement yet."


def _agreement(judge: JudgeFigures, where: str) -> list[str]:
    found, needed = judge.agreement, judge.labels_needed
    if not found.labels:
        return [f"{_UNKNOWN}: nobody has labelled a pair yet. Label {needed} pairs at {where}."]
    if found.share is None:
        labelled = f"{count(found.labels, 'pair')} labelled, of the {needed} that it takes"
        return [f"{_UNKNOWN} yet: {labelled}. Label more at {where}."]
    told = (
        f"People agree with the judge on {with_ends(found.share)} of {count(found.labels, 'labelled pair')}"
    )
    if found.kappa is None:
        return [f"{told}."]
    sentence = f"{told}; Cohen’s κ, where 0 is chance and 1 always, is {_ends(found.kappa)}."
    return [sentence]


def _people(found: LabelAgreement) -> str:
    """The yardstick: how often two people agree."""
    if found.share is None:
        return ""
    return f"Two people agree with each other on {with_ends(found.share)} of {count(found.labels, 'pair')}."


def _order(share: float | None) -> str:
    if share is None:
        return ""
    return (
        f"The order of the answers decided in {rough_percent(share)} of the pairs: asked in both orders, the "
        "judge took the same place twice. These count as ties."
    )


def _bias(share: float | None, whose: str, what: str) -> str:
    if share is None:
        return ""
    won = f"The answer that won was {whose} in {rough_percent(share)} of the pairs with a winner"
    return f"{won}; 50 % would mean that {what} does not matter."


def _unread(found: JudgeFigures) -> str:
    if not found.no_mark:
        return ""
    are = "is" if found.no_mark == 1 else "are"
    return f"{count(found.no_mark, 'pair')} without a readable judgement {are} not counted."


def _left_out(pairs: int) -> str:
    """What an earlier judge said: another judge is another instrument."""
    if not pairs:
        return ""
    are, theirs = ("is", "it") if pairs == 1 else ("are", "theirs")
    return (
        f"{count(pairs, 'pair')} that an earlier judge, or the same with other words, judged {are} left out, "
        f"and so are labels of {theirs}."
    )


def _filled(known: Range | Interval) -> tuple[float, float]:
    return (0.0 if known.low is None else known.low), (1.0 if known.high is None else known.high)


def _ends(known: Range | Interval) -> str:
    """4.12 (4.01 to 4.22)."""
    return f"{known.estimate:.2f} ({amount(known.low, 'number')} to {amount(known.high, 'number')})"


# What `canary judge` says of the answers that it had judged: as JSON, and in a line.


def judged_now_document(
    run: "JudgedRun", judge: "Judge", now: "JudgedNow", judgements: "Judgements", *, at: float
) -> dict[str, Any]:
    """What `canary judge -o json` prints. May raise StoreDown."""
    wanted = set(now.ids)
    judged = [each for each in judgements.of(run.canary, run.run) if each.exchange_id in wanted]
    source, spent = judge.source, judgements.spent(at)
    return {
        "canary": run.canary,
        "run": run.run,
        "judge": source.name,
        run.kind + "s": len(judged),
        **(_pairs(judged) if run.kind == "pair" else _marks(judged)),
        "no_mark": sum(each.result == "no_mark" for each in judged),
        "unreadable": sum(_is_unreadable(each) for each in judged),
        "refused": now.refused,
        "refused_because": now.words,
        "stopped": now.stopped,
        "cost_usd": sum(each.cost_usd for each in judged),
        "budget_left_usd": max(0.0, source.daily_budget_usd - spent),
    }


def _is_unreadable(judged: "JudgedExchange") -> bool:
    """True for one without a mark although every call was answered."""
    return judged.result == "no_mark" and all(call.state == "answered" for call in judged.calls)


def _pairs(judged: "Sequence[JudgedExchange]") -> dict[str, int]:
    words = {"won": "candidate", "tie": "tie", "lost": "baseline"}
    return {word: sum(each.result == result for each in judged) for word, result in words.items()}


def _marks(judged: "Sequence[JudgedExchange]") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for arm in ("baseline", "candidate"):
        marks = [each.mark for each in judged if each.arm == arm and each.mark is not None]
        found[arm] = {"marked": len(marks), "mean_mark": sum(marks) / len(marks) if marks else None}
        if any(each.kind == "session" for each in judged):
            found[arm]["done"] = sum(each.done is True for each in judged if each.arm == arm)
    return found


def judged_now_text(told: dict[str, Any]) -> str:
    """The same in a line."""
    if "pairs" in told:
        what = f"{count(told['pairs'], 'pair')}: won {told['won']}, tie {told['tie']}, lost {told['lost']}"
    else:
        arms = f"{_arm(told, 'baseline')}, {_arm(told, 'candidate')}"
        what = (
            f"{count(told['answers'], 'answer')}: {arms}"
            if "answers" in told
            else f"{count(told['sessions'], 'session')}: {arms}"
        )
    money = f"cost {set_dollars(told['cost_usd'])}, {set_dollars(told['budget_left_usd'])} left today"
    return f"{told['canary']}: {what}, no mark {told['no_mark']}{_never_ended(told)}; {money}"


def _never_ended(told: dict[str, Any]) -> str:
    """What the judge should have written, where no answer could be read; "" where one could."""
    endings = {
        "pairs": "BETTER: A, B or SAME",
        "answers": "MARK: 1 to 5",
        "sessions": "MARK: 1 to 5, DONE: YES or NO",
    }
    count, ending = next((told[kind], ending) for kind, ending in endings.items() if kind in told)
    return f": the judge never ended with {ending}" if count and told["unreadable"] == count else ""


def _arm(told: dict[str, Any], arm: str) -> str:
    marked, mean = told[arm]["marked"], told[arm]["mean_mark"]
    done = f", {told[arm]['done']} done" if told[arm].get("done") is not None else ""
    return f"{arm} {mean:.2f} of 5 in {marked}{done}" if marked else f"{arm} none"


# What a dataset's labels are worth, in sentences.


def labels_worth(lines: Iterable[Line]) -> list[str]:
    """How often people keep a model's proposals, and how often two people differ."""
    known = list(lines)
    found = [f"{by}: people kept its proposals in {_hits(share)}" for by, share in kept(known).items()]
    apart = differing(known)
    return [*found, f"two people differ in {_hits(apart)}"] if apart is not None else found


def _hits(found: LabelShare) -> str:
    """41 of 50 (69% to 90%)."""
    low, high = found.interval
    return f"{found.hits} of {found.of} ({rough_percent(low)} to {rough_percent(high)})"
