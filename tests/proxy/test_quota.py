"""A 429 by a rate or a quota is throttled; one by money, or that names nothing, is a failure."""

import json
from typing import Any

import pytest

from proxy.answers.quota import QuotaMeter, is_throttled, used_part
from proxy.providers.headers import Headers

RETRY: Headers = [(b"retry-after", b"20")]
NONE_LEFT: Headers = [(b"x-ratelimit-limit-tokens", b"30000"), (b"x-ratelimit-remaining-tokens", b"0")]
SOME_LEFT: Headers = [(b"x-ratelimit-limit-tokens", b"30000"), (b"x-ratelimit-remaining-tokens", b"9")]


def openai(message: str, kind: str | None = None, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def gemini(message: str) -> dict[str, Any]:
    return {"error": {"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED"}}


THROTTLED: dict[str, tuple[Any, Headers]] = {
    "openai": (
        openai(
            "Rate limit reached for gpt-4o in organization org-1, tokens per min (TPM): Limit 30000. You may "
            "increase your rate limit by adding a payment method: https://platform.openai.com/account/billing.",
            "tokens",
            "rate_limit_exceeded",
        ),
        [],
    ),
    "azure": (
        openai("Requests have exceeded call rate limit of your current OpenAI S0 pricing tier.", code="429"),
        [],
    ),
    "anthropic": (
        {"type": "error", "error": {"type": "rate_limit_error", "message": "This request would exceed it"}},
        [],
    ),
    "gemini": (
        gemini(
            "You exceeded your current quota, please check your plan and billing details. Quota exceeded for "
            "metric: generate_content_free_tier_requests, limit: 15"
        ),
        [],
    ),
    "gemini in a stream": ([gemini("Resource has been exhausted (e.g. check quota).")], []),
    "vertex": (gemini("Resource exhausted. Please try again later."), []),
    "bedrock": (
        {"message": "Too many tokens, please wait before trying again."},
        [(b"x-amzn-errortype", b"ThrottlingException:http://internal.amazon.com/coral")],
    ),
    "bedrock in a stream": ({"__type": "throttlingException", "message": "Too many requests"}, []),
    "openrouter": (openai("Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000"), []),
    "cohere": ({"message": "You are using a Trial key, which is limited to 10 API calls / minute."}, []),
    "a gateway's page": ("slow down", RETRY),
    "a header alone": ("", NONE_LEFT),
    "text": ("API rate limit exceeded", []),
}
FAILURES: dict[str, tuple[Any, Headers]] = {
    "openai without money": (
        openai(
            "You exceeded your current quota, please check your plan and billing details.",
            "insufficient_quota",
            "insufficient_quota",
        ),
        RETRY,
    ),
    "the same without a code": (
        openai("You exceeded your current quota, please check your plan and billing details."),
        NONE_LEFT,
    ),
    "a hard limit": (openai("Billing hard limit has been reached", code="billing_hard_limit_reached"), []),
    "no credits": (
        {"error": "Your team has used all available credits or reached its monthly spending limit."},
        RETRY,
    ),
    "gemini without money": (gemini("Your prepayment credits are depleted."), RETRY),
    "no funds": (openai("Insufficient Balance"), RETRY),
    "nothing said": ("", []),
    "some left": ("busy", SOME_LEFT),
    "a page": ("<html>429</html>", []),
}


def spoken(body: Any) -> bytes:
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()


@pytest.mark.parametrize("name", THROTTLED)
def test_a_rate_or_a_quota_is_no_failure_of_the_candidate(name: str) -> None:
    body, headers = THROTTLED[name]
    assert is_throttled(spoken(body), headers)


@pytest.mark.parametrize("name", FAILURES)
def test_money_and_what_names_no_rate_are_failures(name: str) -> None:
    body, headers = FAILURES[name]
    assert not is_throttled(spoken(body), headers)


@pytest.mark.parametrize(
    ("headers", "used"),
    [
        ({"x-ratelimit-limit-requests": "100", "x-ratelimit-remaining-requests": "60"}, 0.4),
        (
            {
                "anthropic-ratelimit-requests-limit": "4000",
                "anthropic-ratelimit-requests-remaining": "3000",
                "anthropic-ratelimit-input-tokens-limit": "1000",
                "anthropic-ratelimit-input-tokens-remaining": "50",
            },
            0.95,
        ),
        ({"x-ratelimit-remaining-requests": "60"}, None),
        ({"x-ratelimit-limit-requests": "0", "x-ratelimit-remaining-requests": "0"}, None),
        ({"x-ratelimit-limit-requests": "100", "x-ratelimit-remaining-requests": "some"}, None),
        ({"content-type": "text/html"}, None),
    ],
)
def test_the_fullest_limit_counts(headers: dict[str, str], used: float | None) -> None:
    found = used_part([(name.encode(), value.encode()) for name, value in headers.items()])
    assert found == (pytest.approx(used) if used is not None else None)


def test_what_headers_said_is_true_for_a_minute() -> None:
    meter = QuotaMeter()
    assert (meter.watching, meter.used(1.0)) == (False, None)
    meter.throttled(100.0)
    assert (meter.watching, meter.used(159.0), meter.used(160.0)) == (True, 1.0, None)
    meter.answered(SOME_LEFT, 200.0)
    assert meter.used(200.0) == pytest.approx(1 - 9 / 30000)
