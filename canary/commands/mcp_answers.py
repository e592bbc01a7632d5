"""What the MCP server passes on of the admin API's documents. Pure.

A provider may quote a request in the message of an error, and a judge quotes the texts that it compared, so
neither is passed on, whoever's token it is: an assistant sends what it reads to its own provider.
"""

from collections.abc import Mapping, Sequence
from typing import Any

_STATUS = (
    "name", "state", "share", "actual_share", "run", "lane", "hard", "refused", "started_at", "promote_asked",
    "arms", "unpriced", "mirror", "ramp", "guardrails", "where_sentence",
)  # fmt: skip
_BRIEF = ("rule", "who", "sentence", "at", "share_before", "where_sentence", "arms", "stored")
_WHY = (
    "run", "at", "rule", "who", "reason", "sentence", "value", "threshold", "evidence", "limits",
    "where_sentence", "arms", "stored",
)  # fmt: skip
_RULE = ("rule", "state", "sentence", "value", "threshold", "evidence")
_FAILURE = ("exchange_id", "at", "error_type", "status")
_INCIDENT = ("state", "opened_at", "rules", "done")
_ERROR = ("at", "status", "error_type", "code", "type", "param")
_PREFLIGHT = ("asked", "taken", "refused")


def brief_status(document: Mapping[str, Any]) -> dict[str, Any]:
    """The status document without providers' words."""
    return {**document, "canaries": [_canary(each) for each in document["canaries"]]}


def _canary(document: Mapping[str, Any]) -> dict[str, Any]:
    preflight, rollback = document["preflight"], document["rollback"]
    return _of(document, _STATUS) | {
        # The reason of a canary that waits is its preflight's, in the provider's words.
        "reason": None if document["state"] == "waiting" else document["reason"],
        "preflight": preflight
        and {"state": preflight["state"], **_of(preflight["result"] or {}, _PREFLIGHT)},
        "open_incident": document["open_incident"] and _of(document["open_incident"], _INCIDENT),
        "provider_error": _error(document["provider_error"]),
        "rollback": rollback
        and _of(rollback, _BRIEF) | {"provider_error": _error(rollback["provider_error"])},
    }


def explained(canary: str, state: str, rollbacks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The rollbacks of a canary in this state, newest first, with what none of them means."""
    none = "" if rollbacks else f"no rollback of {canary} is recorded; that alone does not mean it is healthy"
    return {"canary": canary, "state": state, "sentence": none, "rollbacks": list(rollbacks)}


def explained_rollback(document: Mapping[str, Any]) -> dict[str, Any]:
    """One rollback without the course of its evidence and without providers' words."""
    return _of(document, _WHY) | {
        "provider_error": _error(document["provider_error"]),
        "failures": [_of(each, _FAILURE) for each in document["failures"]],
        "rules": [_of(each, _RULE) for each in document["rules"]],
    }


def without_reasons(document: Any) -> Any:
    """A report or a release without a judge's reasons and without what providers said to a benchmark."""
    match document:
        case dict():
            left = {name: value for name, value in document.items() if name != "said"}
            if "exchange_id" in left:
                left.pop("reason", None)
            return {name: without_reasons(value) for name, value in left.items()}
        case list():
            return [without_reasons(each) for each in document]
        case _:
            return document


def _error(document: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The newest error of a provider without its message."""
    return None if document is None else _of(document, _ERROR)


def _of(document: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: document[name] for name in names if name in document}
