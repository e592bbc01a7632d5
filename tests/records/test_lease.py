"""The lease and what the leader keeps, in both databases: one holder at a time, no word of an earlier one."""

from records.store import Store
from records.store.leader import NOBODY, Checkpoints, LeaderLease, LeaderLeases, StoredCheckpoint


def test_nobody_leads_a_fresh_store(store: Store) -> None:
    assert LeaderLeases(store).read() == LeaderLease(NOBODY, 0, 0.0)


def test_of_two_who_saw_the_same_one_gets_it(store: Store) -> None:
    leases = LeaderLeases(store)
    seen = leases.read()
    first = leases.take("one", seen, 100.0)
    assert first == LeaderLease("one", 1, 100.0)
    assert leases.take("other", seen, 100.0) is None
    assert leases.read() == first


def test_a_lease_that_was_renewed_meanwhile_is_not_taken(store: Store) -> None:
    leases = LeaderLeases(store)
    mine = leases.take("one", leases.read(), 100.0)
    assert mine is not None
    seen = leases.read()
    renewed = leases.renew(mine, 101.5)
    assert renewed == LeaderLease("one", 1, 101.5)
    assert leases.take("other", seen, 102.0) is None
    taken = leases.take("other", leases.read(), 103.0)
    assert taken == LeaderLease("other", 2, 103.0)
    assert leases.renew(renewed, 104.0) is None
    assert leases.read() == taken


def test_a_lease_that_was_given_back_is_nobodys(store: Store) -> None:
    leases = LeaderLeases(store)
    mine = leases.take("one", leases.read(), 100.0)
    assert mine is not None
    leases.give_back(mine)
    assert leases.read() == LeaderLease(NOBODY, 1, 100.0)
    assert leases.renew(mine, 101.0) is None


def test_what_an_earlier_leader_learnt_does_not_replace_a_later_ones(store: Store) -> None:
    kept = Checkpoints(store)
    assert kept.load() == StoredCheckpoint(0, b"")
    assert kept.save(StoredCheckpoint(1, b"evidence" * 1000), 100.0)
    assert kept.save(StoredCheckpoint(2, b"more"), 101.0)
    assert not kept.save(StoredCheckpoint(1, b"late"), 102.0)
    assert kept.load() == StoredCheckpoint(2, b"more")
