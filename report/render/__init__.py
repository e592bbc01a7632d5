"""Renders a report: terminal text, Markdown, one HTML file, JSON. Computes nothing.

A server imports its modules as `from report.render import trade`, which waits for the whole package: threads
that import single modules of it at the same moment may find one half imported.
"""

from report.render.markup import markdown
from report.render.page import html
from report.render.text import json_text, terminal

__all__ = ["html", "json_text", "markdown", "terminal"]
