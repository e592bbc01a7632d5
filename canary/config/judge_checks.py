"""Checks of the judge: it is named, it judges no answer of its own, and there is something to judge."""

from canary.config.errors import Path
from canary.config.names import suggestion
from canary.config.salvage import Salvage
from canary.config.sections import CanarySection, FileSection
from judge.terms import same_model
from records.facts.metric import JUDGED, JUDGED_MARK, JUDGED_PREFERENCE


def check_judge(file: FileSection, found: Salvage) -> None:
    """Record what is wrong with the judge itself."""
    judge = file.judge
    if judge is None:
        return
    names = list(found.names("providers"))
    if judge.provider not in names:
        found.complain(("judge", "provider"), f"is not in `providers`{suggestion(judge.provider, names)}")
    if not any(canary.judge is not None for canary in file.canaries):
        found.warn(("judge",), "judges nothing: give a canary `judge: {pairs: 200}`")


def check_judging(file: FileSection, canary: CanarySection, path: Path, found: Salvage) -> None:
    """Record what is wrong with the judging of one canary."""
    _check_rows(canary, path, found)
    terms, place = canary.judge, (*path, "judge")
    if terms is None:
        return
    if file.judge is None and not found.cut_below(("judge",)):
        message = (
            "has no judge: name one at the top of the file, as "
            "`judge: {provider: …, model: …, daily_budget: 5.00}`"
        )
        found.complain(place, message)
    if (terms.pairs is None) == (terms.answers is None):
        message = "give either `pairs` (of mirrored requests) or `answers` (single ones of both arms)"
        found.complain(place, message)
    if canary.capture is None and not found.cut_below((*path, "capture")):
        found.complain(place, "has no texts to judge; set `capture`, for example `capture: {rate: 10%}`")
    if terms.pairs is not None and not canary.mirror and not found.cut_below((*path, "mirror")):
        message = "needs `mirror`, for example `mirror: 10%`; without it, write `judge: {answers: 200}`"
        found.complain((*place, "pairs"), message)
    if file.judge is None:
        return
    for key, arm in (("baseline", canary.baseline), ("candidate", canary.candidate)):
        if same_model(arm.model, file.judge.model):
            message = f"the judge is {file.judge.model}, this canary's {key}; no model judges its own answers"
            found.complain(place, message)


def _check_rows(canary: CanarySection, path: Path, found: Salvage) -> None:
    """A row needs what it is about to be judged; a preference is a comparison already."""
    needed = {JUDGED_PREFERENCE: "pairs", JUDGED_MARK: "answers"}
    for index, row in enumerate(canary.rubric):
        if row.metric not in JUDGED:
            continue
        place, key = (*path, "rubric", index), needed[row.metric]
        if row.metric == JUDGED_MARK:
            message = (
                "is never decided, so no verdict says ship while the rubric has this row: people label "
                'pairs, not single answers; write judged_preference, with a share as its bound (">= 45%"), '
                "`mirror` and `judge: {pairs: 200}`, or remove the row: the report shows the marks without it"
            )
            found.warn((*place, "metric"), message)
        if canary.judge is None or getattr(canary.judge, key) is None:
            found.complain((*place, "metric"), f"needs `judge: {{{key}: 200}}` in this canary")
        for name in ("acceptable", "ideal") if row.metric == JUDGED_PREFERENCE else ():
            bound = getattr(row, name)
            if bound.relative:
                message = 'compares both arms already, so its bound is a share, for example ">= 45%"'
                found.complain((*place, name), message)
