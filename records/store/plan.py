"""The plan from the store, for agents without Redis."""

from records.store.lease import Leases
from records.store.store import Store
from routing.plan import Plan, plan_of


def plan_in(store: Store, leases: Leases) -> Plan:
    """Build the plan from the stored states, refreshed when the leader last renewed. May raise StoreDown."""
    refreshed_at = leases.read().refreshed_at
    states = store.states()
    return plan_of({name: (found.version, found.state) for name, found in states.items()}, refreshed_at)
