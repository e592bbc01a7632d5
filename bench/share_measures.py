"""The shares among a rubric's metrics: completion, and recall, precision and false positives of a class."""

from collections.abc import Sequence

from bench.answers.results import Result
from bench.answers.scorers import label
from bench.measurement import Both, Measurement, cluster, clusters, nothing
from bench.statistics import ShareInterval, contrast, paired_contrast, share
from bench.weighted import Stratum, candidates_completion, completion, difference
from records.offline_metric import ClassMeasure


def completed(pairs: Both) -> Measurement:
    """Completion: the share of right answers."""
    return paired_share([a.right for a, _ in pairs], [b.right for _, b in pairs], clusters(pairs))


def of_strata(parts: Sequence[Stratum]) -> Measurement:
    """Completion by the strata's weights."""
    return Measurement(
        unit="share",
        candidate=candidates_completion(parts),
        baseline=completion(parts, lambda pair: pair[0].right),
        contrast=lambda factor: difference(parts, factor=factor),
        note="weighted by traffic",
    )


def paired_share(baseline: Sequence[bool], candidate: Sequence[bool], of: Sequence[str]) -> Measurement:
    """Shares of the same examples, (n,) each, of these clusters."""

    def compared(factor: float) -> ShareInterval | None:
        return paired_contrast(baseline, candidate, of, factor=factor)

    return Measurement(
        unit="share",
        candidate=share(candidate, of),
        baseline=share(baseline, of),
        contrast=compared,
        lacks="" if candidate else "no example can be judged",
    )


def of_class(measure: ClassMeasure, name: str, pairs: Both) -> Measurement:
    """Recall, precision or false positives of a class, over the examples to classify."""
    pairs = [pair for pair in pairs if pair[0].example.task == "classify"]
    if measure == "precision":
        return _precision(name, pairs)
    wanted = [pair for pair in pairs if (pair[0].example.expected == name) == (measure == "recall")]
    found = paired_share(
        [_named(a) == name for a, _ in wanted], [_named(b) == name for _, b in wanted], clusters(wanted)
    )
    if not any(name in (a.example.expected, *a.example.classes) for a, _ in pairs):
        return nothing("share", f"no example has the class {name}")
    return found if wanted else nothing("share", f"no example to measure {measure} of {name} on")


def _precision(name: str, pairs: Both) -> Measurement:
    def of(results: Sequence[Result]) -> ShareInterval | None:
        named = [each for each in results if _named(each) == name]
        return share([each.example.expected == name for each in named], [cluster(each) for each in named])

    baseline, candidate = of([a for a, _ in pairs]), of([b for _, b in pairs])

    def compared(factor: float) -> ShareInterval | None:
        if candidate is None or baseline is None:
            return None
        return contrast(candidate, baseline, factor=factor)

    lacks = "no answer named the class " + name
    return Measurement(
        unit="share",
        candidate=candidate,
        baseline=baseline,
        contrast=compared,
        lacks="" if candidate is not None else lacks,
        baseline_lacks="" if baseline is not None else lacks,
    )


def _named(result: Result) -> str | None:
    return label(result.answer.text or "", result.example.classes)
