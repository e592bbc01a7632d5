"""Whether a sanity check passes: a benchmark with few examples that finds nothing wrong. It is no verdict."""

from collections.abc import Iterator, Mapping
from typing import Any

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
        yield f"{100 * candidate['completion']:.0f} % right, below the floor of {floor:.0%}"
