"""Renders a report: terminal text, Markdown, one HTML file, JSON. Computes nothing."""

from report.render.markup import markdown
from report.render.page import html
from report.render.text import json_text, terminal

__all__ = ["html", "json_text", "markdown", "terminal"]
