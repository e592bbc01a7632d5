"""A critical category under a plan: what a look found there stands, and twice the bound seldom ships."""

from tests.verdict.simulated_parts import PartsCase, candidate_users, verdicts


def test_a_critical_category_found_worse_before_its_hundredth_user_stays_so_after_it() -> None:
    case = PartsCase(bad_rate=0.08)
    world = case.world(0)
    found = verdicts(world, case.canary)
    first = next(day for day, verdict in found.items() if verdict == "dont_ship")
    assert candidate_users(world, first) < 100 < candidate_users(world, 14)
    assert {verdict for day, verdict in found.items() if day >= first} == {"dont_ship"}
