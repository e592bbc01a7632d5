"""Whom a canary matches, whether two could match the same request, and what makes it another canary."""

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.canary import SESSION_FROM, Arm, Canary, Match, RequestChanges, Step, definition

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


TRIAL = Canary(
    name="c",
    match=Match(models=frozenset({"gpt-4o"}), tags={"region": "eu"}),
    baseline=Arm(provider="p", model="old"),
    candidate=Arm(provider="p", model="new"),
    steps=[Step(share=0.1)],
)


def asking(request: RequestChanges) -> Canary:
    return replace(TRIAL, candidate=replace(TRIAL.candidate, request=request))


def test_a_canary_without_changes_of_its_requests_keeps_the_fingerprint_it_had_before() -> None:
    assert definition(TRIAL) == definition(asking(RequestChanges())) == "0e4910051ed5125f"


@pytest.mark.parametrize(
    "changes",
    [
        RequestChanges(rename=[("a", "b")]),
        RequestChanges(remove=["a"]),
        RequestChanges(set=[("a", "1")]),
        RequestChanges(default=[("a", "1")]),
    ],
)
def test_other_changes_of_the_requests_make_it_another_canary(changes: RequestChanges) -> None:
    others = [TRIAL, asking(RequestChanges(set=[("a", "2")]))]
    swapped = replace(TRIAL, baseline=replace(TRIAL.baseline, request=changes))
    fingerprints = [definition(each) for each in (asking(changes), swapped, *others)]
    assert len(set(fingerprints)) == 4


def test_other_sources_of_a_session_make_it_another_canary() -> None:
    assert definition(replace(TRIAL, session_from=list(SESSION_FROM))) == definition(TRIAL)
    others = [replace(TRIAL, session_from=each) for each in (("body",), ("body", "header"))]
    assert len({definition(each) for each in (TRIAL, *others)}) == 3


def test_the_order_of_the_changes_in_the_file_does_not_matter() -> None:
    one = RequestChanges(remove=["a", "b"], set=[("c", "1"), ("d", "2")])
    other = RequestChanges(remove=["b", "a"], set=[("d", "2"), ("c", "1")])
    assert definition(asking(one)) == definition(asking(other))
