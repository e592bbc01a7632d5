"""A benchmark as JSON, with what a judge says of it."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bench.answers.batches import PRICE_FACTOR
from bench.answers.scorers import WORDS_SHA256
from bench.benchmark.comparison import Comparison, ConfidenceSplit, DatasetPart, DatasetResult
from bench.benchmark.figures import ComparedFigures, ModelFigures, WeightedTotals
from bench.benchmark.reasons import verdict
from bench.benchmark.rubric import RubricRowResult
from bench.models.pair import NamedModel
from common.interval import Interval
from common.numbers import percent, rough_percent
from judge.benchmark import JudgedBench, JudgedDataset, JudgedFigures, judged_figures
from judge.figures import FEWEST_LABELS, WORTH, LabelAgreement
from judge.model import words_sha256
from pages.words import bench as words
from records.facts.prices import UnpricedArm


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """The models, the time (RFC 3339), who ran it, how the models were reached (`direct`, `proxy` or
    `batch`), the seconds that each stage took, and the models without a known price."""

    baseline: str
    candidate: str | None
    at: str
    owner: str
    via: str
    stages: Mapping[str, float]
    unpriced: tuple[UnpricedArm, ...] = ()


def to_document(
    found: Comparison, about: Circumstances, judge: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The benchmark as JSON types; unknown values are null. `judge`: what a judge says of both answers."""
    return {
        **asdict(about),
        "price_factor": PRICE_FACTOR if about.via == "batch" else 1.0,
        "stages": {name: round(seconds, 3) for name, seconds in about.stages.items()},
        "verdict": found.verdict,
        "reasons": list(map(words.reason, found.reasons)),
        "caveats": list(map(words.caveat, found.caveats)),
        "rubric": [_row_result(row) for row in found.rubric],
        "quantiles": "inverted_cdf",
        "gap": _gap(found),
        "similar_by": None if found.similarity is None else found.similarity.by,
        "embedding_cost_usd": None if found.similarity is None else found.similarity.cost_usd,
        "judge": judge,
        "layers": [
            {
                "layer": layer.layer,
                **_figures(layer.figures),
                "verdict": None if found.verdict is None else verdict(layer.reasons),
                "blocks": any(dataset.blocks for dataset in layer.datasets),
                "datasets": [_dataset(dataset) for dataset in layer.datasets],
            }
            for layer in found.layers
        ],
    }


def _gap(found: Comparison) -> dict[str, float | None] | None:
    """Each model's real-world completion minus its synthetic one; None if only one layer was measured."""
    if len(found.layers) < 2:
        return None
    synthetic, real = (layer.figures for layer in found.layers)
    return {
        "baseline": _less(real.baseline, synthetic.baseline),
        "candidate": _less(real.candidate, synthetic.candidate),
    }


def _less(one: ModelFigures | None, other: ModelFigures | None) -> float | None:
    if one is None or other is None or one.completion is None or other.completion is None:
        return None
    return one.completion.estimate - other.completion.estimate


def _dataset(result: DatasetResult) -> dict[str, Any]:
    return {
        "dataset": result.source.name,
        "sha256": result.dataset.sha256,
        "ambiguous": len(result.dataset.examples) - len(result.dataset.scored),
        "floor": result.source.floor,
        "judge": _marked_by(result.marked_by),
        **_figures(result.figures),
        "weighted": _weighted(result.weighted),
        "blocks": result.blocks,
        "categories": [{"category": part.name, **_part(part)} for part in result.categories],
        "tags": [{"tag": part.name, **_part(part)} for part in result.tags],
        "confidence": _confidence(result.confidence),
        "classes": {
            side: [asdict(line) for line in lines]
            for side, lines in zip(("baseline", "candidate"), result.classes, strict=False)
        },
    }


def _confidence(found: ConfidenceSplit | None) -> dict[str, Any] | None:
    if found is None:
        return None
    parts = {part.name: _part(part) for part in found.parts}
    return {
        "by": list(found.by),
        "threshold": found.threshold,
        "unknown": found.unknown,
        "high": parts.get("high"),
        "low": parts.get("low"),
    }


def _row_result(row: RubricRowResult) -> dict[str, Any]:
    found = row.measurement
    kind, interval = found.against
    return {
        "metric": row.row.metric,
        "acceptable": row.row.acceptable.text,
        "ideal": row.row.ideal.text,
        "question": row.row.question,
        "layer": row.layer,
        "unit": found.unit,
        "candidate": None if found.candidate is None else found.candidate.estimate,
        "interval": None if found.candidate is None else [found.candidate.low, found.candidate.high],
        "baseline": None if found.baseline is None else found.baseline.estimate,
        "against": None if interval is None else {"kind": kind, **asdict(interval)},
        "state": row.state,
        "decides": row.decides,
        "says": words.row(row),
    }


def _weighted(found: WeightedTotals | None) -> dict[str, Any] | None:
    return None if found is None else asdict(found)


def _part(part: DatasetPart) -> dict[str, Any]:
    found = _figures(part.figures)
    del found["latency_ratio"], found["cost_ratio"]  # only whole datasets have them
    return {
        "critical": part.critical,
        **found,
        "flagged": part.flagged,
        "blocks": part.blocks,
    }


def _figures(found: ComparedFigures) -> dict[str, Any]:
    return {
        "examples": found.examples,
        "unjudged": found.unjudged,
        "baseline": _side(found.baseline),
        "candidate": None if found.candidate is None else _side(found.candidate),
        "difference": _interval(found.difference),
        "mcnemar_p": found.mcnemar_p,
        "latency_ratio": _interval(found.latency_ratio),
        "cost_ratio": _interval(found.cost_ratio),
        "new_failures": list(found.new_failures),
        "mended": list(found.mended),
    }


def _side(side: ModelFigures) -> dict[str, Any]:
    found = side.completion
    return {
        **asdict(side),
        "completion": None if found is None else found.estimate,
        "interval": None if found is None else [found.low, found.high],
    }


def _interval(found: Interval | None) -> dict[str, float] | None:
    return None if found is None else asdict(found)


Node = Mapping[str, Any]


def sanity(document: Node) -> dict[str, Any]:
    """`passes`, and what speaks `against` it. Whatever is not known speaks against it."""
    against = list(_against(document))
    return {"passes": not against, "against": against}


def _against(document: Node) -> Iterator[str]:
    if document["verdict"] == "dont_ship":
        yield "the benchmark says don't ship"
    for layer in document["layers"]:
        for dataset in layer["datasets"]:
            yield from (f"{dataset['dataset']}: {says}" for says in _of_dataset(dataset))
    issues = document["issues"]
    if issues is not None and issues["still_there"] + issues["unknown"]:
        yield f"{issues['still_there']} known issue(s) still there, {issues['unknown']} unknown"


def _of_dataset(dataset: Node) -> Iterator[str]:
    candidate, floor = dataset["candidate"], dataset["floor"]
    if candidate is None or candidate["completion"] is None:
        yield "the candidate has no answer"
        return
    if failed := sum(candidate["failures"].values()):
        yield f"{failed} questions failed"
    if dataset["unjudged"]:
        yield f"{dataset['unjudged']} examples without a mark"
    if floor is not None and candidate["completion"] < floor:
        yield f"{rough_percent(candidate['completion'])} right, below the floor of {floor:.0%}"


def _marked_by(judge: NamedModel | None) -> dict[str, str] | None:
    """Which judge marked the examples of a dataset, in which words; None if none did."""
    if judge is None:
        return None
    return {"provider": judge.provider.name, "model": judge.model, "words_sha256": WORDS_SHA256}


# What a judge says of a benchmark, as JSON and in sentences.


def judge_document(found: JudgedBench) -> dict[str, Any]:
    """All pairs together, then by dataset and category."""
    whole = judged_figures(found.pairs)
    return {
        "provider": found.source.provider,
        "model": found.source.model,
        "criteria": found.criteria,
        "words_sha256": words_sha256("pair", found.criteria),
        **_judged_figures(whole),
        "says": list(_says(found, whole)),
        "datasets": [_judged_dataset(each) for each in found.datasets],
    }


def _judged_dataset(found: JudgedDataset) -> dict[str, Any]:
    return {
        "dataset": found.name,
        **_judged_figures(judged_figures(list(found.pairs.values()))),
        "categories": [{"value": name, **_judged_figures(each)} for name, each in found.categories],
    }


def _judged_figures(found: JudgedFigures) -> dict[str, Any]:
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
        yield f"the order of the answers decided {percent(whole.order_decided)} of the pairs asked about"
    if whole.prefers_longer is not None:
        yield f"the longer answer won {percent(whole.prefers_longer)} of the pairs that one answer won"
    yield _worth(whole.agreement)


def _preference(judge: str, known: Interval) -> str:
    """Whose answers the judge prefers, as far as the interval tells it."""
    preferred = words.value_words(known, "share")
    share = f"the candidate's answers are preferred in {preferred} of the pairs, a tie counting half"
    if known.low > 0.5:
        return f"{judge} prefers the candidate: {share}"
    if known.high < 0.5:
        return f"{judge} prefers the current model: {share}"
    return f"no preference of {judge} can be told, because the interval includes 50 %: {share}"


def _worth(found: LabelAgreement) -> str:
    if found.share is None:
        needed = f"{FEWEST_LABELS} are needed"
        return f"what that is worth is not known: {found.labels} pairs with a known better answer, {needed}"
    agrees = (
        f"it agrees with the datasets on {words.value_words(found.share, 'share')} of {found.labels} pairs"
    )
    if found.kappa is None:
        return f"{agrees}, which chance alone explains"
    low, estimate, high = (
        f"{each:.2f}" for each in (found.kappa.low, found.kappa.estimate, found.kappa.high)
    )
    little = f"; below {WORTH} its word is worth little" if found.kappa.estimate < WORTH else ""
    return f"{agrees}, kappa {estimate} ({low} to {high}){little}"
