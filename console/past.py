"""A canary that has left the config, in sentences. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from console import words
from console.rule_view import Tone
from records.past_canaries import Ending, PastCanary
from records.releases import Release
from report.wording import models

# No past canary is "good": nobody gets its candidate through canary any more.
_TONES: Mapping[Ending, Tone] = {"rolled_back": "bad", "promoted": "calm", "ended": "calm"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PastView:
    """One past canary at a glance. `at` is when its ending was brought, UTC seconds; None if unknown.

    `models` are the baseline's and the candidate's, `release` is the release's id; "" if unknown. `runs`
    are the runs that were rolled back. `icon` is the ending.
    """

    name: str
    icon: Ending
    word: str
    tone: Tone
    sentence: str
    at: float | None
    who: str
    reason: str
    models: str
    release: str
    runs: Sequence[int]


def past_view(past: PastCanary) -> PastView:
    """The view of one past canary."""
    by, release = past.by, past.release
    return PastView(
        name=past.name,
        icon=past.ending,
        word=words.plain(past.ending),
        tone=_TONES[past.ending],
        sentence=f"{_ending(past)} {_leaving(past)}",
        at=by.at if by is not None else past.left_at,
        who=by.who if by is not None else "",
        reason=by.reason if by is not None else "",
        models=_models(release) if release is not None else "",
        release=release.id if release is not None else "",
        runs=past.rolled_back,
    )


def _models(release: Release) -> str:
    return models(release.baseline, release.candidate)


def _ending(past: PastCanary) -> str:
    """What happened to its last run."""
    if past.ending == "ended":
        return _was(past)
    word = words.plain(past.ending).capitalize()
    if past.by is None:
        return f"{word}."
    by = f"{word} by {past.by.who} on {words.moment(past.by.at)} UTC"
    return f"{by}: {past.by.reason.rstrip('.')}." if past.by.reason else f"{by}."


def _was(past: PastCanary) -> str:
    if past.was == "waiting":
        return "It never started."
    if past.was == "ended":
        return "Ended."
    return f"Ended without a decision on its run: it was {past.was} at {words.percent(past.share)}."


def _leaving(past: PastCanary) -> str:
    if past.left_at is None:
        return "Its entry is no longer in the config."
    return f"Its entry left the config on {words.moment(past.left_at)} UTC."
