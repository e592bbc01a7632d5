"""What a report knows of the answers themselves where no user's feedback is in its rubric."""

from records.metric import JUDGED
from report.document import Report
from report.judge_lines import in_short
from report.measures import source
from report.render import trade

_NO_ROW = "This does not decide: no criterion is about it."


def known_of_answers(report: Report) -> str:
    """What is known of the answers, and that it does not decide; "" where a row of the rubric decides it."""
    if any(_of_answers(line.metric) for line in report.metrics):
        return ""
    if report.judge is None:
        return (
            "Nothing here says whether the answers are better: the rubric has no feedback of users, and no "
            "judge has compared any. Give the rubric a row on feedback, or the canary a judge."
        )
    return (
        f"The rubric has no feedback of users. Of the answers is known: {in_short(report.judge)}. {_NO_ROW}"
    )


def _of_answers(metric: str) -> bool:
    return metric in JUDGED or (source(metric) is None and metric not in trade.BUSINESS)
