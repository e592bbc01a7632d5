"""The plan as the store has it, for whoever hears nothing by Redis."""

from records.store.lease import Leases
from records.store.store import Store
from routing.plan import Plan, plan_of


def plan_in(store: Store, leases: Leases) -> Plan:
    """The states as a plan, as fresh as the leader's last sign of life. May raise StoreDown."""
    refreshed_at = leases.read().refreshed_at
    states = store.states()
    return plan_of({name: (each.version, each.state) for name, each in states.items()}, refreshed_at)
