"""What the MCP server passes on of the admin API's documents. Pure.

A provider may quote a request in the message of an error, and a judge quotes the texts that it compared.
Neither is passed on, with a viewer's token or the admin's: an assistant sends what it reads to its own
provider.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

_SERVER = ("workers", "degraded")
_JUDGE = ("provider", "model", "state", "reason", "until", "spent_usd", "daily_budget_usd")

_STATUS = (
    "name", "models", "state", "share", "actual_share", "assignment", "run", "lane", "hard", "refused",
    "started_at", "promote_asked", "arms", "breakers_open", "unpriced", "mirror", "ramp", "guardrails",
    "where_sentence", "not_seen",
)  # fmt: skip
_BRIEF = ("rule", "who", "summary", "sentence", "at", "share_before", "where_sentence", "arms", "stored")
_WHY = (
    "run", "at", "rule", "who", "reason", "summary", "sentence", "value", "threshold", "evidence", "limits",
    "where_sentence", "arms", "stored",
)  # fmt: skip
_RULE = ("rule", "state", "sentence", "value", "threshold", "evidence")
_FAILURE = ("exchange_id", "at", "error_type", "status")
_TRAFFIC = ("kind", "canary", "requests", "of", "entry", "sentence")
_INCIDENT = ("state", "opened_at", "sentence", "rules", "done")
_ERROR = ("at", "status", "error_type", "code", "type", "param")
_PREFLIGHT = ("asked", "taken", "refused")
_JUDGE_QUOTE = "; the first time: "
"""Follows, in a benchmark's sentence, the number of pairs without a mark."""


def brief_status(document: Mapping[str, Any]) -> dict[str, Any]:
    """The status document without the words of providers and callers."""
    judge = document["judge"]
    return _members(document, _SERVER) | {
        "judge": judge and _members(judge, _JUDGE),
        "traffic": [_members(each, _TRAFFIC) for each in document["traffic"]],
        "canaries": [_canary(each) for each in document["canaries"]],
    }


def _canary(document: Mapping[str, Any]) -> dict[str, Any]:
    preflight, rollback = document["preflight"], document["rollback"]
    return _members(document, _STATUS) | {
        # The reason of a canary that waits is its preflight's, in the provider's words.
        "reason": None if document["state"] == "waiting" else document["reason"],
        "preflight": preflight
        and {"state": preflight["state"], **_members(preflight["result"] or {}, _PREFLIGHT)},
        "open_incident": document["open_incident"] and _members(document["open_incident"], _INCIDENT),
        "traffic": [_members(each, _TRAFFIC) for each in document["traffic"]],
        "provider_error": _error(document["provider_error"]),
        "rollback": rollback
        and _members(rollback, _BRIEF) | {"provider_error": _error(rollback["provider_error"])},
    }


def explained(canary: str, state: str, rollbacks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The rollbacks of a canary in this state, newest first, with what none of them means."""
    none = "" if rollbacks else f"no rollback of {canary} is recorded; that alone does not mean it is healthy"
    return {"canary": canary, "state": state, "sentence": none, "rollbacks": list(rollbacks)}


def explained_rollback(document: Mapping[str, Any]) -> dict[str, Any]:
    """One rollback without the course of its evidence and without providers' words."""
    return _members(document, _WHY) | {
        "provider_error": _error(document["provider_error"]),
        "failures": [_members(each, _FAILURE) for each in document["failures"]],
        "rules": [_members(each, _RULE) for each in document["rules"]],
    }


def without_quotes(document: Any) -> Any:
    """A report or a release without a judge's words and without those of the benchmark's providers."""
    return _without(document, frozenset(_provider_words(document)))


def _provider_words(document: Any) -> Iterator[str]:
    """What providers answered to a benchmark's failed questions, which its findings repeat."""
    match document:
        case dict():
            if isinstance(words := document.get("said"), str) and words:
                yield words
            for each in document.values():
                yield from _provider_words(each)
        case list():
            for each in document:
                yield from _provider_words(each)


def _without(document: Any, quotes: Collection[str]) -> Any:
    match document:
        case dict():
            hidden = ("said", "reason") if "exchange_id" in document else ("said",)
            return {name: _without(each, quotes) for name, each in document.items() if name not in hidden}
        case list():
            return [_without(each, quotes) for each in document]
        case str():
            for quote in quotes:
                document = document.replace(f": {quote}", "")
            return document.partition(_JUDGE_QUOTE)[0]
        case _:
            return document


def _error(document: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The newest error of a provider without its message."""
    return None if document is None else _members(document, _ERROR)


def _members(document: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: document[name] for name in names if name in document}
