"""How much of a plan's risk its looks may have spent by a day.

Hwang, Shih, DeCani, Statistics in Medicine 1990. Time is t = day/D, with D the planned days: nine tenths of
the risk are spent by t = 1, the last tenth by t = 2, for one extension.
"""

import math

_GAMMA = -4.0
"""Little is spent early: the shape is close to O'Brien and Fleming's."""

_WITHIN_PLAN = 0.9


def spent_to_ship(t: float, risk: float) -> float:
    """The part of `risk` that looks up to time t > 0 may spend on passing a bound that is missed."""
    return _spent(t, risk, math.expm1(-_GAMMA * min(t, 1.0)) / math.expm1(-_GAMMA))


def spent_to_refuse(t: float, risk: float) -> float:
    """The part of `risk` that looks up to time t > 0 may spend on refusing a bound that is kept: evenly."""
    return _spent(t, risk, min(t, 1.0))


def _spent(t: float, risk: float, within: float) -> float:
    if t <= 1:
        return risk * _WITHIN_PLAN * within
    return risk * (_WITHIN_PLAN + (1 - _WITHIN_PLAN) * (min(t, 2.0) - 1))
