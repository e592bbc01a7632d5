"""Why a row of the rubric has no state yet, in words: users are missing, or nothing can be computed."""

from judge.agreement import LabelAgreement
from records.facts.metric import JUDGED_MARK, JUDGED_PREFERENCE
from report.arm_sums import GATE
from report.document import MetricLine
from report.judge import Judged
from report.unlabelled import not_borne_out
from report.wording import days, title


def waiting(judged: Judged, line: MetricLine, people: LabelAgreement) -> list[str]:
    """Of a row on a judge's word: the users that are missing, unless no number of them would do, and what
    else is."""
    short = judged.state == "NODATA"
    users = [without_data(judged, line)] if short and line.metric != JUDGED_MARK else []
    return [*users, not_borne_out(line.metric, people, enough=not short)]


def uncomputed(metric: str, why: str) -> str:
    """Of a row of which nothing can be computed: that it is open, why, and what to do."""
    return (
        f"{title(metric)} cannot be computed from its values, so it stays open: {why}. More users "
        "alone may not change this: look at the values that were sent."
    )


def without_data(judged: Judged, line: MetricLine) -> str:
    """Of a row without data: how many users are missing."""
    if line.units == 0 and line.metric == JUDGED_PREFERENCE:
        return f"{title(line.metric)} has no data: no pair has a readable judgement yet."
    if line.units == 0:
        return f"{title(line.metric)} has no data: the candidate has no recorded value yet."
    ours, theirs = judged.reading.carrying
    if ours >= GATE:
        have = _have(theirs, judged.reading.baseline_units, "baseline users have a value")
        return f"{title(line.metric)} has too few baseline users: {have}."
    more = f"; about {days(line.days_needed, more=True)}" if line.days_needed else ""
    pairs = line.metric == JUDGED_PREFERENCE
    have = _have(ours, line.units, "users have a judged pair" if pairs else "candidate users have a value")
    return f"{title(line.metric)} has too few users: {have}{more}."


def _have(carrying: int, units: int, what: str) -> str:
    effective = "effectively " if carrying < units else ""
    return f"{effective}{carrying} {what}, and {GATE} are required"
