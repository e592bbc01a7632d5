"""The texts of arms whose canaries started, which stay whatever becomes of their files; the file that
carries them to the processes of a machine (`texts.json`); and how two arms' texts differ.

`records.store.arm_texts` has them. A text is known by its digest (`routing.canary.text_digest`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from routing.canary import Arm, text_digest

FILE = "texts.json"
"""In the data folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptTexts:
    """The texts by canary, then by file as the config names it."""

    by_canary: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def by_digest(self) -> Mapping[str, str]:
        """All texts."""
        return {text_digest(text): text for files in self.by_canary.values() for text in files.values()}

    def text(self, canary: str, file: str) -> str | None:
        """The text that this file had when the canary started; None if it did not start with it."""
        return self.by_canary.get(canary, {}).get(file)


NOTHING_KEPT = KeptTexts()


@dataclass(frozen=True, slots=True, kw_only=True)
class TextChange:
    """A text that differs between the arms. `what`: the prompt, or the description of a tool. `before` is the
    baseline's, "" where that is unknown, since only the app has it; `after` the candidate's."""

    what: str
    before: str
    after: str


def changes_between(baseline: Arm, candidate: Arm, texts: Mapping[str, str]) -> tuple[TextChange, ...]:
    """The texts that differ. `texts`: those of both arms by digest; one that is not there is left out."""
    found = [*_prompts(baseline, candidate), *_tools(baseline, candidate)]
    return tuple(
        TextChange(what=what, before=texts[before] if before else "", after=texts[after] if after else "")
        for what, before, after in found
        if (not before or before in texts) and (not after or after in texts)
    )


def _prompts(baseline: Arm, candidate: Arm) -> list[tuple[str, str, str]]:
    """What differs, and the digests of both texts. An arm without a prompt has what the other one finds."""
    ours, theirs = baseline.prompt, candidate.prompt
    if ours == theirs:
        return []
    if ours is None and theirs is not None:
        return [("prompt", theirs.find, theirs.put)]
    if ours is not None and theirs is None:
        return [("prompt", ours.put, ours.find)]
    assert ours is not None and theirs is not None  # noqa: S101
    if ours.find == theirs.find:
        return [("prompt", ours.put, theirs.put)]
    return [
        ("prompt of the baseline against the app's", ours.find, ours.put),
        ("prompt of the candidate against the app's", theirs.find, theirs.put),
    ]


def _tools(baseline: Arm, candidate: Arm) -> list[tuple[str, str, str]]:
    ours, theirs = dict(baseline.tools), dict(candidate.tools)
    names = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    return [(f"description of {name}", ours.get(name, ""), theirs.get(name, "")) for name in names]
