"""What must not change of a canary that has started."""

import pytest

from canary.config.load import parse
from control.states.rollouts import redefinitions
from records.store import VersionedState
from routing.canary import definition
from routing.states import State

CONFIG = """
providers: {{openai: {{api: openai, base_url: "https://api.openai.com/v1"}}}}
canaries:
  - name: trial
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: old}}
    candidate: {{provider: openai, model: new, request: {request}}}
    share: 5%
"""
STARTED = "{rename: {a: b}, remove: [c, d]}"


def problems(request: str) -> list[str]:
    """The problems of a file with this `request:`, for a canary that started with another file's."""
    before, after = (
        parse(CONFIG.format(request=each), "canary.yaml", {}).canaries for each in (STARTED, request)
    )
    state = State(state="running", definition=definition(before["trial"].canary))
    return redefinitions(after, {"trial": VersionedState(state=state, version=1)})


@pytest.mark.parametrize("request_", [STARTED, "{remove: [d, c], rename: {a: b}}"])
def test_the_same_changes_of_requests_are_the_same_canary(request_: str) -> None:
    assert problems(request_) == []


@pytest.mark.parametrize(
    "request_", ["{}", "{rename: {a: b}, remove: [c]}", "{rename: {a: b}, remove: [c, d], set: {e: 1}}"]
)
def test_a_started_canary_cannot_change_its_requests_differently(request_: str) -> None:
    (problem,) = problems(request_)
    assert problem.startswith("canary 'trial' is not the one that started: its match, arms, request changes")
    assert "; " not in problem  # /readyz separates problems by it
