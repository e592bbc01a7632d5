"""Multiple testing: which of many e-values are discoveries."""

import numpy as np

from report.statistics.types import Bools, Floats


def e_bh(evidence: Floats, *, alpha: float) -> Bools:
    """The e-BH procedure: reject the k largest e-values, with k the largest such that k·e_(k)/K ≥ 1/α.

    The false discovery rate is at most α under any dependence (Wang, Ramdas, arXiv 2009.02824). With e = 1/p
    it is the Benjamini-Hochberg procedure. Returns (K,) booleans in the order given.
    """
    tests = len(evidence)
    rejected = np.zeros(tests, dtype=np.bool_)
    order = np.argsort(-evidence, kind="stable")
    enough = np.arange(1, tests + 1) * evidence[order] / max(tests, 1) >= 1 / alpha - 1e-9
    if enough.any():
        rejected[order[: int(np.flatnonzero(enough)[-1]) + 1]] = True
    return rejected
