"""The built site asks no other host for anything. What a page, style or picture loads from elsewhere is a
warning, which ends a strict build; links that a reader follows may lead anywhere."""

import logging
import re
from pathlib import Path
from typing import Any

_TAGS = "script|img|iframe|source|video|audio|embed|object|track|image|use"
_ELSEWHERE = r"""=\s*["']?\s*(?:https?:)?//"""
_LOADS = re.compile(
    rf"""<(?:{_TAGS})\b[^>]*?\b(?:src|srcset|data|poster|href){_ELSEWHERE}
    |<link\b(?![^>]*\brel=["']?(?:canonical|prev|next|alternate)\b)[^>]*?\bhref{_ELSEWHERE}
    |(?:@import\s+["']|url\(\s*["']?)(?:https?:)?//
    |class=["']?mermaid\b""",  # for which the theme's script fetches a renderer
    re.VERBOSE,
)


def loads_elsewhere(text: str) -> list[str]:
    """The beginnings of whatever an HTML, CSS or SVG text loads from another host."""
    return [found[0] for found in _LOADS.finditer(text)]


def on_post_build(config: Any) -> None:
    for path in sorted(Path(config.site_dir).rglob("*")):
        if path.suffix in (".html", ".css", ".svg"):
            for load in loads_elsewhere(path.read_text()):
                logging.getLogger("mkdocs.hooks").warning("%s loads from elsewhere: %s", path, load)
