"""Whom a canary matches, and whether two could match the same request."""

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from routing.canary import Arm, Canary, Match, Step

VALUES = ["a", "b"]
SETS = st.frozensets(st.sampled_from(VALUES), max_size=2)
PAIRS = st.dictionaries(st.sampled_from(["x", "y"]), st.sampled_from(VALUES), max_size=2)
MATCHES = st.builds(Match, models=SETS, paths=SETS, headers=PAIRS, tags=PAIRS)

# Every request that these small matches can tell apart ("other" stands for all the rest).
SPACE = [*VALUES, "other"]
REQUESTS = [
    (model, path, {"x": hx, "y": hy}, {"x": tx, "y": ty})
    for model, path, hx, hy, tx, ty in product(SPACE, SPACE, SPACE, SPACE, SPACE, SPACE)
]


def accepts(match: Match, request: tuple[str, str, dict[str, str], dict[str, str]]) -> bool:
    model, path, headers, tags = request
    return match.accepts(model=model, path=path, headers=headers, tags=tags)


def test_every_given_part_must_hold_and_an_empty_one_holds_for_all() -> None:
    match = Match(models=frozenset({"gpt-4o"}), headers={"x-team": "support"})
    assert match.accepts(model="gpt-4o", path="/v1/any", headers={"x-team": "support"}, tags={})
    assert not match.accepts(model="gpt-4o", path="/v1/any", headers={}, tags={})
    assert not match.accepts(model="other", path="/v1/any", headers={"x-team": "support"}, tags={})
    assert Match().accepts(model="", path="", headers={}, tags={})


@given(MATCHES, MATCHES)
def test_two_matches_overlap_exactly_when_one_request_satisfies_both(one: Match, two: Match) -> None:
    witness = any(accepts(one, request) and accepts(two, request) for request in REQUESTS)
    assert one.overlaps(two) == two.overlaps(one) == witness


def test_an_arm_is_found_by_its_name() -> None:
    canary = Canary(
        name="c",
        match=Match(),
        baseline=Arm(provider="p", model="old"),
        candidate=Arm(provider="p", model="new"),
        steps=[Step(share=0.1)],
    )
    assert (canary.arm("baseline").model, canary.arm("candidate").model) == ("old", "new")
