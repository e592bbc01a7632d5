"""When a sanity check passes: nothing wrong, and nothing unknown."""

from typing import Any

import pytest

from pages.reports.bench import sanity


def told(**changes: Any) -> dict[str, Any]:
    """A benchmark's document as far as the check reads it."""
    candidate = {"completion": 0.9, "failures": {}, **changes.pop("candidate", {})}
    dataset = {
        "dataset": "d",
        "candidate": candidate,
        "floor": 0.8,
        "unjudged": 0,
        **changes.pop("dataset", {}),
    }
    return {"verdict": "extend", "layers": [{"datasets": [dataset]}], "issues": None, **changes}


def test_few_examples_alone_speak_against_nothing() -> None:
    assert sanity(told()) == {"passes": True, "against": []}
    gone = {"still_there": 0, "unknown": 0, "gone": 3}
    assert sanity(told(issues=gone))["passes"]


@pytest.mark.parametrize(
    ("changes", "against"),
    [
        ({"verdict": "dont_ship"}, "the benchmark says don't ship"),
        ({"candidate": {"failures": {"provider_timeout": 2}}}, "d: 2 questions failed"),
        ({"candidate": {"completion": 0.75}}, "d: 75 % right, below the floor of 80%"),
        ({"candidate": {"completion": None}}, "d: the candidate has no answer"),
        ({"dataset": {"unjudged": 1}}, "d: 1 examples without a mark"),
        ({"issues": {"still_there": 1, "unknown": 0}}, "1 known issue(s) still there, 0 unknown"),
        ({"issues": {"still_there": 0, "unknown": 2}}, "0 known issue(s) still there, 2 unknown"),
    ],
)
def test_whatever_is_wrong_or_unknown_speaks_against_it(changes: dict[str, Any], against: str) -> None:
    assert sanity(told(**changes)) == {"passes": False, "against": [against]}
