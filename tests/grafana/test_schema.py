"""Grafana's own schema, as its published SDK has it, knows every member of the dashboards."""

import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.grafana.reading import FILES, loaded

OF_PROMETHEUS = ("titleFormat", "textFormat", "tagKeys", "step", "useValueForTime")
"""Of an annotation, what the data source writes, and the schema of Grafana's core lacks."""


def lost(ours: Any, theirs: Any, path: str = "") -> Iterator[str]:
    """Where one document has what the other one has not."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            yield from lost(value, theirs.get(key), f"{path}.{key}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for one, other in zip(ours, theirs, strict=True):
            yield from lost(one, other, path)
    elif ours != theirs:
        yield path


def as_grafana_writes_it(document: dict[str, Any]) -> Any:
    """The document read into the types of Grafana's schema, with those of its panels and queries."""
    import_module("grafana_foundation_sdk.cog.plugins").register_default_plugins()
    read = import_module("grafana_foundation_sdk.models.dashboard").Dashboard.from_json(document)
    return json.loads(json.dumps(read, cls=import_module("grafana_foundation_sdk.cog.encoder").JSONEncoder))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_grafana_s_own_schema_has_every_member_of_a_dashboard(path: Path) -> None:
    document = loaded(path)
    known = {".id", ".templating.list.definition", *(f".annotations.list.{each}" for each in OF_PROMETHEUS)}
    assert set(lost(document, as_grafana_writes_it(document))) <= known


def test_the_schema_knows_what_panels_and_queries_may_say() -> None:
    document = loaded(FILES[0])
    panel = next(each for each in document["panels"] if each["type"] == "timeseries")
    for part in (panel["targets"][0], panel["options"]["legend"], panel["fieldConfig"]["defaults"]["custom"]):
        part["mistyped"] = 1
    found = {each for each in lost(document, as_grafana_writes_it(document)) if each.endswith("mistyped")}
    assert found == {
        ".panels.targets.mistyped",
        ".panels.options.legend.mistyped",
        ".panels.fieldConfig.defaults.custom.mistyped",
    }
