"""Writes a document as one HTML file without scripts or external resources, for light, dark and print."""

from functools import partial
from itertools import takewhile

from jinja2 import Environment, PackageLoader, StrictUndefined

from common.text import visible_page
from pages.document import Block, Document, Gauge, Says, shown

_CLASSES = {"": "", "strong": "short", "bold": "as-of", "small": "small", "soft": "small soft"}


def html(document: Document) -> str:
    """The whole page. The template engine escapes every text."""
    pages = Environment(
        loader=PackageLoader("pages", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    opening = list(takewhile(lambda each: isinstance(each, Says | Gauge), document.head))
    page = pages.get_template("page.html").render(
        document=document,
        about=": ".join(part for part in (document.topic, document.about) if part),
        gauge=next((each for each in opening if isinstance(each, Gauge)), None),
        opening=[each for each in opening if isinstance(each, Says)],
        rest=document.head[len(opening) :],
        classes=_CLASSES,
        kind_of=_kind,
        shown=partial(shown, brief=False),
    )
    return visible_page(page.lstrip())


def _kind(block: Block) -> str:
    return type(block).__name__
