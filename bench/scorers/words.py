"""Texts as scorers compare them: without case, width, decoration and spare blanks."""

import re
import unicodedata

_BLANKS = re.compile(r"\s+")
_EDGES = " \t\r\n.,;:!?\"'`*_()[]{}<>“”‘’«»"


def plain(text: str) -> str:
    """The same for texts that differ in case, Unicode form (NFKC) or blanks only."""
    return _BLANKS.sub(" ", unicodedata.normalize("NFKC", text)).strip().casefold()


def bare(text: str) -> str:
    """Plain, and without punctuation or Markdown around it."""
    return plain(text).strip(_EDGES)


def tokens(text: str) -> list[str]:
    """Its words, plain; of scripts without blanks between words each character."""
    return re.findall(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+", plain(text))
