"""The report as one HTML file without scripts or external resources, for light, dark and print."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from pages.charts.bar import bar
from pages.charts.curve import curves
from pages.charts.density import density_plot
from pages.charts.looks import look_charts
from pages.words import failures, gains, judge, plan, verdict
from pages.words.gains import known_of_answers
from pages.words.steps import next_steps
from records.foreign_text import visible_page
from report.document import Report
from report.wording import bound_words, label, title

_TEMPLATE = "report.html"


def html(report: Report) -> str:
    """The whole page. The template engine escapes every text."""
    pages = Environment(
        loader=PackageLoader("pages", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    headline, meaning = verdict.HEADLINES[report.verdict]
    parts = verdict.worst_first([*report.categories, *report.segments])
    page = pages.get_template(_TEMPLATE).render(
        report=report,
        headline=headline,
        meaning=meaning,
        prose=verdict,
        plan_lines=plan,
        label=label,
        title=title,
        bound_words=bound_words,
        rows=[(line, bar(line)) for line in report.metrics],
        steps=next_steps(report),
        trade=gains,
        judge_lines=judge,
        known_of_answers=known_of_answers(report),
        failing=failures,
        curves=curves(report),
        look_charts=look_charts(report),
        density_plots=[density_plot(spread) for spread in report.details.spreads],
        differing=[part for part in parts if verdict.differs(part)],
        alike=[part for part in parts if not verdict.differs(part)],
    )
    return visible_page(page)
