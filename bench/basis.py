"""What a model's benchmark depends on, by part. While no part changes, it need not be repeated."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.benchmark.run import path_of, read, unpriced
from bench.dataset.example import fingerprint
from bench.errors import BadDataset
from bench.issues import file_of
from bench.models.pair import AmbiguousModel, Pair, pair, terms_of
from bench.settings import BenchSettings, BenchTerms, DatasetSource


def basis_of(
    settings: BenchSettings,
    config: Path,
    model: str,
    against: str | None,
) -> Mapping[str, str]:
    """The current model, and hashes of the datasets, the terms of its canaries, the models without a price,
    and the known issues. `config` is the config file."""
    try:
        models = pair(settings, model, against)
    except AmbiguousModel as problem:
        return {"current model": str(problem)}
    baseline = models.baseline
    return {
        "current model": baseline.name,
        "requests": _hash(_requests(models)),
        "datasets": _hash([_dataset(each, config.parent) for each in settings.datasets]),
        "rubric": _hash(_terms(terms_of(settings, models))),
        "unpriced": ", ".join(f"{each.provider}/{each.model}" for each in unpriced(settings, models)),
        "known issues": _hash([_text(file_of(config))]),
    }


def _requests(models: Pair) -> list[object]:
    return [each.request.document() for each in (models.baseline, models.candidate) if each is not None]


def _terms(terms: BenchTerms) -> list[object]:
    rows = [[row.metric, row.acceptable.text, row.ideal.text] for row in terms.rows]
    return [rows, sorted(terms.critical), terms.criteria]


def _dataset(source: DatasetSource, folder: Path) -> list[object]:
    """Its version and labels; of one that cannot be read, the problem."""
    about: list[object] = [source.name, source.layer, source.floor, source.judge]
    try:
        found = read(source, folder)
    except (BadDataset, OSError, UnicodeDecodeError) as problem:
        return [*about, str(path_of(source, folder)), str(problem)]
    return [*about, found.sha256, found.proposed]


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _hash(parts: Sequence[object]) -> str:
    return fingerprint(list(parts))[:16]
