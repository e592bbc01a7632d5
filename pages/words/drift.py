"""What becomes of models under their names, in words: their names, their probes, what was told."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from common.clock import rfc3339
from common.numbers import count
from pages.words.status import day

if TYPE_CHECKING:  # what asks models takes a while to import
    from bench.drift import DriftStanding
    from control.jobs.drift import ModelHistory
    from records.store.drift import ModelChange


def change_words(change: "ModelChange") -> str:
    """Answers as gpt-5.6-terra-2026-11 since 2026-11-30, before as gpt-5.6-terra-2026-10."""
    if change.kind == "model_changed":
        again = " again" if change.document.get("again") else ""
        return f"answers as {change.now}{again} since {day(change.at)}, before as {change.before}"
    found = change.document
    then = f"; {aftermath_words(found['then'])}" if "then" in found else ""
    return (
        f"drifted: answers otherwise since {found['since']}, {len(found['outside'])} of {found['asked']} "
        f"probes differ from all of the reference of {change.before[:10]}, confirmed by another round{then}"
    )


def name_words(name: str, since: float, last: float | None) -> str:
    """`gpt-5.6-terra-2026-11 since 2026-11-30`; of one that answers had until a day, until when."""
    return f"{name} {f'from {day(since)} to {day(last)}' if last is not None else f'since {day(since)}'}"


_AGAIN = {"ship": "as good as before", "dont_ship": "worse than before", "extend": "not enough to decide"}
SINCE_DRIFT = {verdict: says.capitalize() for verdict, says in _AGAIN.items()}


def aftermath_words(then: Mapping[str, Any]) -> str:
    """Known issues asked again: 1 still there, 2 gone; 200 examples: worse than before (…)."""
    if not then["of"]:
        return "no known issue, and no stored answer to an example to compare with"
    if "ended_at" not in then:
        return f"{then['asked']} of {then['of']} known issues and examples asked again so far"
    return "; ".join(_what_followed(then))


def _what_followed(then: Mapping[str, Any]) -> Iterator[str]:
    if (issues := then["issues"]) is not None:
        states = [state for state in ("still_there", "unknown", "gone") if issues[state]]
        counts = ", ".join(f"{issues[state]} {state.replace('_', ' ')}" for state in states)
        back = f" (back: {', '.join(issues['back'])})" if issues["back"] else ""
        yield f"known issues asked again: {counts}{back}"
    if "problem" in then:
        yield f"its examples were not compared: {then['problem']}"
    if then["examples"]:
        reasons = f" ({'; '.join(each.rstrip('.') for each in then['reasons'])})" if then["reasons"] else ""
        yield f"{count(then['examples'], 'example')} asked again: {_AGAIN[then['verdict']]}{reasons}"


def probes_words(standing: "DriftStanding | None") -> str:
    """Answers as it did on 2026-11-28: 1 of 30 probes outside, 12 rounds since."""
    from bench.drift import PROMPTS, REFERENCE

    if standing is None:
        return "not probed"
    if standing.state == "pinning":
        return f"the reference is being asked: {standing.pinned} of {REFERENCE} rounds"
    since = f"it did on {day(standing.pinned_at or 0.0)}"
    if not standing.findings:
        return f"the reference is of {day(standing.pinned_at or 0.0)}; no round since"
    last, rounds = standing.findings[-1], len(standing.findings)
    if 2 * last.of < len(PROMPTS):
        pinned = day(standing.pinned_at or 0.0)
        return f"cannot be compared with {pinned}: {last.of} of {len(PROMPTS)} probes can"
    figures = f"{len(last.outside)} of {last.of} probes outside on {day(last.at)}, {rounds} round(s) since"
    match standing.state:
        case "steady":
            return f"answers as {since}: {figures}"
        case "suspect":
            return f"perhaps not as {since}, to be confirmed: {figures}"
        case "drifted":
            return f"does not answer as {since}: {figures}"


def history_lines(history: "ModelHistory") -> Iterator[str]:
    """The history in a terminal."""
    yield history.model
    yield f"  {probes_words(history.probed)}"
    for name in history.names:
        yield f"  named {name_words(*name)}"
    for change in history.changes:
        yield f"  {day(change.at)}: {change_words(change)}"


def history_document(history: "ModelHistory") -> dict[str, Any]:
    """The history as JSON types, times in RFC 3339."""
    probed = history.probed
    return {
        "model": history.model,
        "names": [
            {"name": name, "since": rfc3339(at), "last_day": None if last is None else day(last)}
            for name, at, last in history.names
        ],
        "changes": [
            {
                "kind": each.kind,
                "before": each.before,
                "now": each.now,
                "at": rfc3339(each.at),
                "details": dict(each.document),
            }
            for each in history.changes
        ],
        "probes": None
        if probed is None
        else {
            "state": probed.state,
            "reference_rounds": probed.pinned,
            "reference_at": None if probed.pinned_at is None else rfc3339(probed.pinned_at),
            "evidence": probed.evidence,
            "rounds": [
                {
                    "at": rfc3339(each.at),
                    "outside": list(each.outside),
                    "of": each.of,
                    "evidence": each.evidence,
                }
                for each in probed.findings
            ],
        },
    }
