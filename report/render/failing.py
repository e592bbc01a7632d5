"""Ways to fail, in words."""

from report.details import FailureMode, Failures
from report.wording import amount, count, label

_ERRORS = {
    "provider_5xx": "the provider had an error of its own",
    "provider_429": "the provider refused for too many requests",
    "provider_connect": "no connection to the provider",
    "provider_timeout": "the provider took too long",
    "provider_reset": "the provider broke the connection",
    "provider_truncated": "the answer broke off",
    "provider_malformed": "the answer could not be read",
    "provider_stream_error": "an error came in the middle of the stream",
    "candidate_rejects": "the candidate refuses what the current model takes",
    "breaker_open": "kept from the candidate while it was failing",
}


def name(mode: FailureMode, failures: Failures) -> str:
    """What went wrong, as a person says it."""
    if mode.kind == "error":
        return _ERRORS.get(mode.name, mode.name)
    if mode.kind == "slow":
        return f"slower than {amount(failures.slow_s, 's')}"
    where = f", in {mode.category}" if mode.category else ""
    return f"bad feedback: {label(mode.name)}{where}"


def code(mode: FailureMode) -> str:
    """The name that programs and logs have for it, where there is one."""
    return mode.name if mode.kind == "error" else ""


def rate(found: int, of: int) -> str:
    """12 of 980 (1.2 %)."""
    return f"{found:,} of {of:,} ({amount(found / of, 'share')})" if of else "none looked at"


def examples(mode: FailureMode) -> str:
    """Where to look first."""
    return ", ".join(mode.examples) if mode.examples else "–"


def looked_at(failures: Failures) -> str:
    """What the counts rest on."""
    return (
        f"Errors and slow answers among the newest {count(failures.candidate, 'request')} on the candidate "
        f"and {failures.baseline:,} on the current model, {_short(failures.since)} to "
        f"{_short(failures.until)} UTC; "
        "feedback: each metric’s newest 5,000 in each arm. Slow: all but 1 % of the current model’s requests "
        "are faster. "
        "Examples are the candidate’s newest."
    )


def _short(moment: str) -> str:
    return moment[:16].replace("T", " ")
