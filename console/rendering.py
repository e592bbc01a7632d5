"""Renders templates into responses, with the security headers of every page."""

import hashlib
import re
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from console import words
from console.rule_view import rule_name, rule_tone, rule_word
from records.foreign_text import visible_page
from report import judge_lines

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src {styles}; connect-src 'self'; img-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_STYLE = re.compile(r"<style>([^<]*)</style>")


class Templates:
    """The console's templates. Escapes every value; an undefined name is an error."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(
            words.FILTERS, rule_name=rule_name, rule_word=rule_word, rule_tone=rule_tone
        )
        self._environment.globals["judge_lines"] = judge_lines

    def text(self, template: str, values: Mapping[str, Any]) -> str:
        """The rendered template."""
        return visible_page(self._environment.get_template(template).render(values))

    def answer(self, template: str, *, status_code: int = 200, **values: Any) -> Response:
        """The rendered template as a response: a page, or a part of a page."""
        return HTMLResponse(self.text(template, values), status_code=status_code, headers=headers())


def headers() -> dict[str, str]:
    """The headers of a page: it loads only the console's own files, and is never framed or cached."""
    return _headers("'self'")


def headers_of_whole(document: str) -> dict[str, str]:
    """The headers of a self-contained document: allows exactly its own styles, by their hashes."""
    hashes = (hashlib.sha256(style.encode()).digest() for style in _STYLE.findall(document))
    return _headers(" ".join(f"'sha256-{b64encode(each).decode()}'" for each in hashes) or "'none'")


def _headers(styles: str) -> dict[str, str]:
    return {
        "content-security-policy": _POLICY.format(styles=styles),
        "x-content-type-options": "nosniff",
        "referrer-policy": "same-origin",  # with no-referrer a form would come with `Origin: null`
        "cache-control": "no-store",
    }
