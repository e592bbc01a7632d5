"""A forecast of what a model would save, in words and as JSON."""

from dataclasses import asdict
from typing import Any

from pages.words.figures import amount
from records.interval import Range
from verdict.forecast import Forecast


def forecast_document(found: Forecast) -> dict[str, Any]:
    """JSON types, with the sentence."""
    says = f"{_saving(found.saving_usd)}, from its benchmark, not from users"
    return {**asdict(found), "says": says, "source": "benchmark"}


def _saving(found: Range) -> str:
    """would save about $1,200 a month ($900 to $1,500)."""
    low, high = found.low or 0.0, found.high or 0.0
    if low <= 0 <= high:
        ends = f"{amount(-low, 'usd')} more and {amount(high, 'usd')} less"
        return f"no saving seen: would cost between {ends} a month"
    about = amount(abs(found.estimate), "usd")
    ends = " to ".join(amount(end, "usd") for end in sorted((abs(low), abs(high))))
    return f"would {'save' if low > 0 else 'cost'} about {about}{'' if low > 0 else ' more'} a month ({ends})"
