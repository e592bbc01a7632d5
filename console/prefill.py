"""The order that a link to a canary's page asks for, with the reason for its dialog. Carries nothing out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from control.orders import ORDERS, Order

_REASON_BOUND = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedOrder:
    """One of ORDERS; `possible` is False if the canary's state does not allow it now."""

    order: Order
    reason: str
    possible: bool


def asked_order(query: Mapping[str, str], canary: Mapping[str, Any]) -> AskedOrder | None:
    """The order of `?order=rollback&reason=…`; None without one of ORDERS."""
    for order in ORDERS:
        if order == query.get("order"):
            reason = query.get("reason", "")[:_REASON_BOUND]
            return AskedOrder(order=order, reason=reason, possible=order in canary["orders"])
    return None
