"""What a judge says of a benchmark, as JSON and in sentences."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from bench.benchmark.statistics import ShareInterval
from judge.agreement import FEWEST_LABELS, WORTH
from judge.benchmark import JudgedBench, JudgedDataset, JudgedFigures, KnownAgreement, judged_figures
from judge.model.questions import words_sha256


def judge_document(found: JudgedBench) -> dict[str, Any]:
    """All pairs together, then by dataset and category."""
    whole = judged_figures(found.pairs)
    return {
        "provider": found.source.provider,
        "model": found.source.model,
        "criteria": found.criteria,
        "words_sha256": words_sha256("pair", found.criteria),
        **_figures(whole),
        "says": list(_says(found, whole)),
        "datasets": [_dataset(each) for each in found.datasets],
    }


def _dataset(found: JudgedDataset) -> dict[str, Any]:
    return {
        "dataset": found.name,
        **_figures(judged_figures(list(found.pairs.values()))),
        "categories": [{"value": name, **_figures(each)} for name, each in found.categories],
    }


def _figures(found: JudgedFigures) -> dict[str, Any]:
    return {**asdict(found), "lost_examples": list(found.lost_examples)}


def _says(found: JudgedBench, whole: JudgedFigures) -> Iterator[str]:
    if whole.judged_preference is None:
        first = next((each.reason for each in found.pairs if each.said), "")
        why = f"; the first time: {first}" if first else ""
        yield f"{found.source.name} marked none of {whole.no_mark} pairs{why}"
        return
    yield (
        f"{_preference(found.source.name, whole.judged_preference)}: {whole.won} won, "
        f"{whole.tie} ties ({whole.alike} of the same text), {whole.lost} lost, {whole.no_mark} unmarked"
    )
    if whole.order_decided is not None:
        yield f"the order of the answers decided {100 * whole.order_decided:.1f} % of the pairs asked about"
    if whole.prefers_longer is not None:
        yield f"the longer answer won {100 * whole.prefers_longer:.1f} % of the pairs that one answer won"
    yield _worth(whole.agreement)


def _preference(judge: str, known: ShareInterval) -> str:
    """Whose answers the judge prefers, as far as the interval tells it."""
    share = f"the candidate's answers are preferred in {_percent(known)} of the pairs, a tie counting half"
    if known.low > 0.5:
        return f"{judge} prefers the candidate: {share}"
    if known.high < 0.5:
        return f"{judge} prefers the current model: {share}"
    return f"no preference of {judge} can be told, because the interval includes 50 %: {share}"


def _worth(found: KnownAgreement) -> str:
    if found.share is None:
        needed = f"{FEWEST_LABELS} are needed"
        return f"what that is worth is not known: {found.labels} pairs with a known better answer, {needed}"
    agrees = f"it agrees with the datasets on {_percent(found.share)} of {found.labels} pairs"
    if found.kappa is None:
        return f"{agrees}, which chance alone explains"
    low, estimate, high = (
        f"{each:.2f}" for each in (found.kappa.low, found.kappa.estimate, found.kappa.high)
    )
    little = f"; below {WORTH} its word is worth little" if found.kappa.estimate < WORTH else ""
    return f"{agrees}, kappa {estimate} ({low} to {high}){little}"


def _percent(found: ShareInterval) -> str:
    """61.2 % (55.1 to 67.0)."""
    low, estimate, high = (f"{100 * each:.1f}" for each in (found.low, found.estimate, found.high))
    return f"{estimate} % ({low} to {high})"
