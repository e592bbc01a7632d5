"""The dashboards are what their description says, whole, and ask only for what canary measures."""

import re
from pathlib import Path
from typing import Any

import promql_parser
import pytest

from grafana.describe import DASHBOARDS
from grafana.describe.__main__ import text_of
from grafana.describe.panel import WIDTH
from records.exports.prometheus import GUARDRAIL_VALUES
from tests.grafana.reading import FILES, FOLDER, Asked, annotations, filled, loaded, panels, queries

DOCUMENTED = Path(__file__).parents[2] / "docs" / "metrics.md"
of_each_dashboard = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


def name(asked: Asked) -> str:
    return f"{asked.dashboard}: {asked.panel}"


def families() -> set[str]:
    """What docs/metrics.md describes, with the names that a histogram's and a summary's series have."""
    rows = re.findall(r"^\| `(canary_\w+)` \| (\w+)", DOCUMENTED.read_text(), re.MULTILINE)
    ends = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}
    return {family + end for family, kind in rows for end in ends.get(kind, ("",))}


def test_the_files_are_what_the_description_writes() -> None:
    assert {path.stem for path in FILES} == DASHBOARDS.keys()
    for uid in DASHBOARDS:
        assert (FOLDER / f"{uid}.json").read_text() == text_of(uid), "run `python -m grafana.describe`"


@of_each_dashboard
def test_a_dashboard_can_be_provisioned_anywhere(path: Path) -> None:
    document = loaded(path)
    assert (document["id"], document["uid"], "canary" in document["tags"]) == (None, path.stem, True)
    variables = {each["name"]: each for each in document["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert "canary" in variables
    everything = [*document["panels"], *document["annotations"]["list"], *variables.values()]
    asking = [each for each in everything if each.get("type") not in ("row", "datasource", "textbox")]
    assert {each["datasource"]["uid"] for each in asking} == {"${datasource}"}


@of_each_dashboard
def test_every_panel_says_what_it_shows_and_in_which_unit(path: Path) -> None:
    shown = panels(loaded(path))
    assert len({panel["id"] for panel in shown}) == len(shown)
    for panel in shown:
        assert panel["title"], panel
        assert len(panel["description"]) > 10, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["targets"], panel["title"]


@of_each_dashboard
def test_no_panel_lies_over_another_or_beyond_the_edge(path: Path) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in loaded(path)["panels"]:
        at: dict[str, Any] = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert at["x"] + at["w"] <= WIDTH, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize("asked", [*queries(), *annotations()], ids=name)
def test_a_query_is_promql_over_metrics_that_are_documented(asked: Asked) -> None:
    expr = filled(asked.expr, canary="support", range_s=3600, rate_s=60)
    promql_parser.parse(expr)
    used = set(re.findall(r"\bcanary_\w+(?=[{\[)])", expr))
    assert used, expr
    assert used <= families()


@pytest.mark.parametrize("asked", queries(), ids=name)
def test_a_legend_names_only_labels_that_the_query_keeps(asked: Asked) -> None:
    kept = {label for group in re.findall(r"by \(([^)]*)\)", asked.expr) for label in group.split(", ")}
    assert set(re.findall(r"\{\{(\w+)\}\}", asked.legend)) <= kept


def test_guardrails_are_shown_by_the_names_that_metrics_gives_their_values() -> None:
    panel = next(
        each for each in panels(loaded(FOLDER / "canary-window.json")) if each["title"] == "Guardrails"
    )
    (mapping,) = panel["fieldConfig"]["defaults"]["mappings"]
    shown = {float(value): each["text"].replace(" ", "_") for value, each in mapping["options"].items()}
    assert shown == {value: rule for rule, value in GUARDRAIL_VALUES.items()}


def test_every_dashboard_marks_what_the_pages_charts_mark_and_links_report_and_runbooks() -> None:
    for path in FILES:
        document = loaded(path)
        marks = [each["name"] for each in document["annotations"]["list"]]
        assert marks == ["Start", "Share", "Pause", "Page", "Rollback", "Promote", "Look", "Model"]
        links = {each["title"]: each for each in document["links"]}
        assert links["Report"]["url"] == "${admin_url}/canaries/${canary}/report"
        assert "Runbooks" in links
