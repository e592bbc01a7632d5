"""A preflight's result in words."""

from bench.preflight.result import PreflightResult, UnansweredRequests
from pages.words.preflight import text


def test_a_preflight_that_could_ask_nothing_says_so_and_why() -> None:
    unsent = UnansweredRequests(operation="", message="no key for openai", count=0, unsent=True)
    found = PreflightResult(canary="trial", asked=0, taken=0, captured={}, unanswered=(unsent,))
    assert text(found) == "trial: nothing was asked\n! no key for openai"
