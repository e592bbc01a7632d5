"""Failure modes in words."""

from common.concentration import Concentration
from common.numbers import count
from pages.words.figures import amount, label
from verdict.details import Details, FailureMode, Failures

_ERRORS = {
    "provider_5xx": "the provider returned a server error",
    "provider_429": "the provider rejected too many requests",
    "provider_connect": "no connection to the provider",
    "provider_timeout": "the provider took too long",
    "provider_reset": "the provider reset the connection",
    "provider_truncated": "the answer was incomplete",
    "provider_malformed": "the answer could not be parsed",
    "provider_stream_error": "an error within the stream",
    "candidate_rejects": "the candidate rejects a request that the current model accepts",
    "breaker_open": "not sent to the candidate while it was failing",
}


_FAULTS = {
    "cut_off": "the answer was cut off at its length limit",
    "refused": "the model or a content filter refused",
    "empty": "an empty answer",
    "tool_args_invalid": "a tool call’s arguments are not JSON",
    "tool_args_off_schema": "a tool call’s arguments do not fit the tool’s schema",
    "tool_unknown": "a call of a tool that the request does not have",
    "json_invalid": "the answer should be JSON and is not",
    "json_off_schema": "the answer’s JSON does not fit the request’s schema",
    "stalled": "the stream stalled in its middle",
}


def name(mode: FailureMode, failures: Failures) -> str:
    """The failure mode in words."""
    if mode.kind == "error":
        return _ERRORS.get(mode.name, mode.name)
    if mode.kind == "fault":
        return _FAULTS.get(mode.name, mode.name)
    if mode.kind == "abandoned":
        return "the caller left before the answer"
    if mode.kind == "slow":
        return f"slower than {amount(failures.slow_s, 's')}"
    where = f", in {mode.category}" if mode.category else ""
    return f"bad feedback: {label(mode.name)}{where}"


def code(mode: FailureMode) -> str:
    """The error type or answer fault in records and metrics; "" for other failure modes."""
    return mode.name if mode.kind in ("error", "fault") else ""


def rate(found: int, of: int) -> str:
    """12 of 980 (1.2 %)."""
    return f"{found:,} of {of:,} ({amount(found / of, 'share')})" if of else "no data"


def place(details: Details) -> str:
    """Where the candidate's failed exchanges lie; "" if nowhere in particular."""
    sentence = Concentration(parts=details.where).sentence
    return f"{sentence}." if sentence else ""


def examples(mode: FailureMode) -> str:
    """Exchanges to look at."""
    return ", ".join(mode.examples) if mode.examples else "–"


def basis(failures: Failures) -> str:
    """The data behind the counts."""
    return (
        f"{_counted(failures)}Feedback: the newest 5,000 values of each metric in each arm. "
        "Slow: slower than 99 % of the current model’s requests. Errors and answer faults come first, then "
        "the others, the candidate’s worst first. Examples are the candidate’s newest."
    )


def _counted(failures: Failures) -> str:
    requests = (
        f"{count(failures.candidate, 'request')} on the candidate and {failures.baseline:,} on the current "
        f"model, {_short(failures.since)} to {_short(failures.until)} UTC. "
    )
    return (
        f"Errors among all {requests}Answer faults: of the answers that could be read and checked. "
        f"Slow answers: of the newest {count(failures.newest, 'request')}. "
    )


def _short(moment: str) -> str:
    return moment[:16].replace("T", " ")
