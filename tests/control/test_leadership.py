"""Who leads, on hand clocks that need not agree, over a real store that may be silent."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from control.fleet.leadership import Leadership
from records.errors import StoreDown
from records.store import Store
from records.store.leader import LeaderLease, LeaderLeases


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0


class Reach:
    """One admin's way to the store, which may be cut."""

    def __init__(self, store: Store) -> None:
        self._leases = LeaderLeases(store)
        self.cut = False

    def read(self) -> LeaderLease:
        self._pass()
        return self._leases.read()

    def give_back(self, mine: LeaderLease) -> None:
        self._pass()
        self._leases.give_back(mine)

    def take(self, holder: str, seen: LeaderLease, now: float) -> LeaderLease | None:
        self._pass()
        return self._leases.take(holder, seen, now)

    def renew(self, mine: LeaderLease, now: float) -> LeaderLease | None:
        self._pass()
        return self._leases.renew(mine, now)

    def _pass(self) -> None:
        if self.cut:
            raise StoreDown("cut")


class Council:
    """Two admins, `a` and `b`, and the time they share. Their UTC clocks are an hour apart."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = Clock()
        self.reach = {name: Reach(store) for name in "ab"}
        self.admins = {name: self.start(name) for name in "ab"}

    def start(self, name: str) -> Leadership:
        skew = 3600.0 if name == "b" else 0.0
        return Leadership(
            self.reach[name], name, utc=lambda: self.clock.now + skew, mono=lambda: self.clock.now
        )

    def passes(self, seconds: float, *, but: str = "") -> None:
        """Time passes; the admins take their turns, but for those named."""
        for _ in range(int(seconds)):
            self.clock.now += 1.0
            for name, admin in self.admins.items():
                if name not in but:
                    admin.turn()
            assert self.standing().count("leading") <= 1

    def standing(self) -> list[str]:
        return [admin.standing() for admin in self.admins.values()]


@pytest.fixture
def council(tmp_path: Path) -> Iterator[Council]:
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as store:
        yield Council(store)


def test_the_first_to_ask_leads_and_goes_on_leading(council: Council) -> None:
    council.passes(1)
    assert council.standing() == ["leading", "standby"]
    council.passes(100)
    assert council.standing() == ["leading", "standby"]


def test_of_a_dead_leader_the_other_takes_over_within_seven_seconds(council: Council) -> None:
    council.passes(3)
    council.passes(4, but="a")
    assert council.standing() == ["unsure", "standby"]
    council.passes(3, but="a")
    assert council.standing() == ["unsure", "leading"]


def test_a_leader_that_wakes_up_finds_that_it_is_none_any_more(council: Council) -> None:
    council.passes(3)
    council.passes(8, but="a")
    assert council.standing()[1] == "leading"
    council.passes(1)
    assert council.standing() == ["standby", "leading"]


def test_a_restarted_admin_takes_its_own_lease_at_once(council: Council) -> None:
    council.passes(3)
    council.admins["a"] = council.start("a")
    council.passes(1)
    assert council.standing() == ["leading", "standby"]


def test_a_lease_that_was_given_back_is_taken_at_once(council: Council) -> None:
    council.passes(3)
    council.admins["a"].resign()
    assert council.admins["a"].standing() == "standby"
    council.passes(1, but="a")
    assert council.standing()[1] == "leading"


def test_a_leader_cut_off_from_the_store_has_stopped_before_the_other_begins(council: Council) -> None:
    council.passes(3)
    council.reach["a"].cut = True
    council.passes(20)  # `passes` asserts that there are never two
    assert council.standing()[1] == "leading"
    council.admins["a"].heard_other()
    assert council.standing() == ["standby", "leading"]
    council.reach["a"].cut = False
    council.passes(20)
    assert council.standing() == ["standby", "leading"]


def test_with_the_store_down_for_everybody_the_last_leader_watches_alone_and_leads_again(
    council: Council,
) -> None:
    council.passes(3)
    for reach in council.reach.values():
        reach.cut = True
    council.passes(5)
    assert council.standing() == ["unsure", "standby"]
    council.passes(6)
    assert council.standing() == ["alone", "standby"]
    council.passes(1000)
    for reach in council.reach.values():
        reach.cut = False
    council.passes(2)
    assert council.standing() == ["leading", "standby"]


def test_news_of_another_admin_does_not_unseat_a_leader_that_can_renew(council: Council) -> None:
    council.passes(3)
    council.admins["a"].heard_other()
    assert council.standing() == ["leading", "standby"]
