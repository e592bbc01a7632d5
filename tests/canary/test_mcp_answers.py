"""What `canary mcp` hands on of documents whose providers quote a user."""

from typing import Any

from canary.commands.mcp_server import brief_status, without_quotes

QUESTION = "where is the parcel of Jane Doe"
JUDGE = {
    "provider": "openai",
    "model": "the-judge",
    "state": "paused",
    "reason": "provider",
    "because": f"400 cannot read: {QUESTION}",
    "until": None,
    "spent_usd": 0.1,
    "daily_budget_usd": 0.5,
    "sentence": f"openai/the-judge paused (provider): 400 cannot read: {QUESTION}",
}


ASTRAY = {
    "kind": "caller_not_found",
    "canary": "support",
    "requests": 9,
    "of": 9,
    "sentence": "9 of 9 requests got 404",
    "entry": "openai",
    "said": QUESTION,
}


def waiting() -> dict[str, Any]:
    """A canary whose candidate refused its preflight with the question's text."""
    return {
        "name": "support",
        "models": {"candidate": {"provider": "openai", "model": "new"}},
        "state": "waiting",
        "assignment": None,
        "breakers_open": 1,
        "reason": f"preflight_failed: 3 of 3 requests refused: chat: 400 cannot read {QUESTION}",
        "preflight": {
            "state": "failed",
            "result": {"asked": 3, "taken": 0, "refused": 3, "refusals": [{"message": QUESTION}]},
        },
        "open_incident": None,
        "traffic": [ASTRAY],
        "not_seen": "wrong language: not seen",
        "provider_error": {"status": 400, "message": QUESTION},
        "rollback": None,
    }


def status(*canaries: dict[str, Any]) -> dict[str, Any]:
    unmatched = [{"models": [QUESTION], "requests": 1}]
    return {
        "canaries": list(canaries),
        "workers": {"alive": 1},
        "degraded": ["judge: paused (provider)"],
        "unmatched": unmatched,
        "traffic": [ASTRAY],
        "judge": JUDGE,
    }


def test_the_status_leaves_out_what_a_preflight_a_judge_and_callers_said() -> None:
    shown = brief_status(status(waiting()))
    assert QUESTION not in str(shown)
    assert set(shown) == {"workers", "degraded", "judge", "traffic", "canaries"}
    told = {name: value for name, value in ASTRAY.items() if name != "said"}
    assert shown["traffic"] == shown["canaries"][0]["traffic"] == [told]
    assert shown["canaries"][0]["not_seen"] == "wrong language: not seen"
    assert (shown["judge"]["reason"], shown["judge"]["spent_usd"]) == ("provider", 0.1)
    (canary,) = shown["canaries"]
    assert canary["preflight"] == {"state": "failed", "asked": 3, "taken": 0, "refused": 3}
    assert (canary["reason"], canary["provider_error"]) == (None, {"status": 400})
    assert (canary["models"]["candidate"]["model"], canary["breakers_open"]) == ("new", 1)
    assert canary["assignment"] is None


def test_a_status_without_a_judge_says_so_and_a_persons_reason_stays() -> None:
    running = waiting() | {"state": "running", "reason": "resumed by jane"}
    shown = brief_status(status(running) | {"judge": None})
    assert shown["judge"] is None
    assert shown["canaries"][0]["reason"] == "resumed by jane"


def test_a_benchmarks_sentences_lose_their_quotes() -> None:
    words = f"cannot read: {QUESTION}"
    release = {
        "reasons": [f"basics: refuses every request; 8 times caller_rejected: {words}"],
        "benchmark": {
            "layers": [{"candidate": {"failures": {"caller_rejected": 8}, "said": words}}],
            "judge": {"says": [f"openai/the-judge marked none of 8 pairs; the first time: {QUESTION}"]},
        },
        "runs": [{"reason": "invents refunds"}],
        "wrong_answers": [{"example": {"asked": QUESTION}}],
    }
    assert without_quotes(release) == {
        "reasons": ["basics: refuses every request; 8 times caller_rejected"],
        "benchmark": {
            "layers": [{"candidate": {"failures": {"caller_rejected": 8}}}],
            "judge": {"says": ["openai/the-judge marked none of 8 pairs"]},
        },
        "runs": [{"reason": "invents refunds"}],
    }
