"""The words for a row of the rubric that a judge's word holds open. Pure."""

from records.agreement import NEEDED_LABELS
from records.metric import JUDGED_MARK
from report.arm_sums import GATE
from report.document import MetricLine, Report
from report.judge_lines import PAIRS_INSTEAD


def state(line: MetricLine, report: Report) -> str:
    """What holds the row, in two or three words."""
    if line.metric == JUDGED_MARK:
        return "Decides nothing"
    return "Labels missing" if _labels(report) < NEEDED_LABELS else "Judge not borne out"


def evidence(users: str, line: MetricLine, report: Report) -> str:
    """The row's users with what holds it: 38 users with a judged pair, of 100 required; ..."""
    if line.metric == JUDGED_MARK:
        return f"{users}; marks decide nothing"
    required = f", of {GATE} required" if line.units < GATE else ""
    return f"{users}{required}; {_missing(report)}"


def outlook(line: MetricLine) -> str:
    """What its looks can do."""
    if line.metric == JUDGED_MARK:
        return "Open whatever the looks see: marks decide nothing."
    return "Open until people’s labels bear out the judge; no look passes it before."


def needed(line: MetricLine, report: Report) -> str:
    """What would decide the row. Traffic alone would not do, once its users are there."""
    if line.metric == JUDGED_MARK:
        return PAIRS_INSTEAD
    labels = _labels(report)
    people = (
        f"people’s labels that bear out the judge ({labels} of {NEEDED_LABELS} so far)"
        if labels < NEEDED_LABELS
        else "a judge, or criteria, that people’s labels bear out"
    )
    if line.state != "NODATA":
        return f"{people}; traffic alone will not do"
    if line.units < GATE:
        return f"users with a judged pair ({line.units} of {GATE} so far), and {people}"
    return f"more users with a judged pair, above all in the categories with the most traffic, and {people}"


def _missing(report: Report) -> str:
    return (
        "people’s labels are missing"
        if _labels(report) < NEEDED_LABELS
        else "people’s labels do not bear out the judge"
    )


def _labels(report: Report) -> int:
    return report.judge.agreement.labels if report.judge is not None else 0
