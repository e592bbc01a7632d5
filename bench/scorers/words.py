"""Normalized texts for comparison: without case, width, decoration and extra spaces."""

import re
import unicodedata

_BLANKS = re.compile(r"\s+")
_EDGES = " \t\r\n.,;:!?\"'`*_()[]{}<>“”‘’«»"


def plain(text: str) -> str:
    """The text casefolded, in NFKC, with single spaces."""
    return _BLANKS.sub(" ", unicodedata.normalize("NFKC", text)).strip().casefold()


def bare(text: str) -> str:
    """The plain text without surrounding punctuation or Markdown."""
    return plain(text).strip(_EDGES)


def tokens(text: str) -> list[str]:
    """The plain words of a text; in scripts without spaces, each character."""
    return re.findall(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+", plain(text))
