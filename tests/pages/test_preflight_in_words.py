"""A preflight's result in words."""

from dataclasses import replace

from bench.preflight.result import PreflightResult, RefusalKind, UnansweredRequests
from control.states.preflights import _failed
from pages.words.preflight import sentence, text


def test_a_preflight_that_could_ask_nothing_says_so_and_why() -> None:
    unsent = UnansweredRequests(operation="", message="no key for openai", count=0, unsent=True)
    found = PreflightResult(canary="trial", asked=0, taken=0, captured={}, unanswered=(unsent,))
    assert text(found) == "trial: nothing was asked\n! no key for openai"


def test_what_failed_is_first_the_main_operation_in_the_providers_words() -> None:
    hangs = UnansweredRequests(operation="/chat/completions", message="no workers", count=1)
    refused = RefusalKind(operation="/responses", status=404, message="Not Found", count=1)
    found = PreflightResult(
        canary="trial",
        asked=2,
        taken=0,
        captured={},
        refusals=(refused,),
        unanswered=(hangs,),
        main_unanswered=True,
    )
    said = sentence(found, failed=True)
    assert said.startswith(
        "preflight_failed: /chat/completions: no workers; 1 of 2 requests refused: /responses: 404 Not Found"
    )
    alone = replace(found, taken=1, refusals=())
    assert sentence(alone, failed=True).startswith("preflight_failed: /chat/completions: no workers; no capt")


def test_a_candidate_that_answers_only_other_operations_waits_and_one_that_answers_nothing_does_not() -> None:
    hangs = UnansweredRequests(operation="/chat/completions", message="no workers", count=1)
    found = PreflightResult(canary="trial", asked=2, taken=1, unanswered=(hangs,), main_unanswered=True)
    assert _failed(found)
    assert not _failed(replace(found, taken=0))
    assert not _failed(replace(found, main_unanswered=False))
