"""The report as one HTML file without scripts or external resources, for light, dark and print."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from records.foreign_text import visible_page
from report import judge_lines
from report.document import Report
from report.render import failing, plan_lines, prose, trade
from report.render.answers import known_of_answers
from report.render.bar import bar
from report.render.curve import curves
from report.render.density_plot import density_plot
from report.render.look_chart import look_charts
from report.render.steps import next_steps
from report.wording import bound_words, label, title

_TEMPLATE = "report.html"


def html(report: Report) -> str:
    """The whole page. The template engine escapes every text."""
    pages = Environment(
        loader=PackageLoader("report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    headline, meaning = prose.HEADLINES[report.verdict]
    parts = prose.worst_first([*report.categories, *report.segments])
    page = pages.get_template(_TEMPLATE).render(
        report=report,
        headline=headline,
        meaning=meaning,
        prose=prose,
        plan_lines=plan_lines,
        label=label,
        title=title,
        bound_words=bound_words,
        rows=[(line, bar(line)) for line in report.metrics],
        steps=next_steps(report),
        trade=trade,
        judge_lines=judge_lines,
        known_of_answers=known_of_answers(report),
        failing=failing,
        curves=curves(report),
        look_charts=look_charts(report),
        density_plots=[density_plot(spread) for spread in report.details.spreads],
        differing=[part for part in parts if prose.differs(part)],
        alike=[part for part in parts if not prose.differs(part)],
    )
    return visible_page(page)
