"""The engine's likelihood ratios (`alerts/evidence.py`) over one window's counts, written in PromQL.

Its means over three alternatives are the same; what is counted differs: exchanges in place of one outcome a
user and minute, and one window in place of every stretch. A CUSUM takes the best of all stretches, so a
window never shows more than it would: its page threshold, 1,000, is the one to hold a window against.
"""

import math

from alerts.evidence import PAGE_CUSUM, absolute_steps
from alerts.prometheus.parts import number

PAGES_AT = round(math.exp(PAGE_CUSUM))

_TIMES = (2.0, 20.0 / 3.0, 20.0)
"""The relative rule's alternatives, as factors of its null's."""


def absolute(failures: str, outcomes: str, limit: float) -> str:
    """Evidence that more than `limit` fail, from the two series' values."""
    bad, good = absolute_steps(limit)
    terms = [
        f"exp({failures} * {number(up)} + clamp_min({outcomes} - {failures}, 0) * {number(down)})"
        for up, down in zip(bad, good, strict=True)
    ]
    return _mean(terms)


def relative(of_candidate: str, of_both: str, share: str, factor: float) -> str:
    """Evidence that the candidate has more than `factor` times its part, `share`, of the bad ones.

    With θ(r) = rw/(rw + 1 − w), a candidate's bad one moves ln E by ln θ(r)/θ(f) and a baseline's by
    ln (1 − θ(r))/(1 − θ(f)); their sum is what stands here.
    """

    def spread(times: float) -> str:
        return f"(1 + {number(times - 1.0)} * {share})"

    terms = [
        f"exp({of_candidate} * {number(math.log(times))}"
        f" - {of_both} * ln({spread(factor * times)} / {spread(factor)}))"
        for times in _TIMES
    ]
    return _mean(terms)


def _mean(terms: list[str]) -> str:
    return "(\n  " + "\n  + ".join(terms) + "\n) / 3"
