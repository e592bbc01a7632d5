"""`python -m tests.grafana` plays the scene for over two minutes and draws docs/dashboards/*.svg."""

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.grafana.drawing import Mark, Named, Times, drawn
from tests.grafana.figures import name_of
from tests.grafana.reading import FILES, filled, loaded, targets
from tests.grafana.scene import Scene, played

FOLDER = Path(__file__).parents[2] / "docs" / "dashboards"
SHOWN = {"canary-window": "goes-bad", "canary-release": "passes"}
"""The canary that a dashboard of one canary shows; the others show both."""

BOTH = "(goes-bad|passes)"
PAUSE_S = 45.0
RATE_S = 10
MOST_POINTS = 160


def main() -> None:
    """Play, and draw every dashboard."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, played(Path(folder), pause_s=PAUSE_S) as scene:
        for path in FILES:
            document = loaded(path)
            canary = SHOWN.get(path.stem, BOTH)
            panels = [(panel, _series(scene, panel, canary)) for panel in document["panels"]]
            times = Times(start=scene.began, end=scene.ended, marks=_marks(scene, document, canary))
            title = f"{document['title']}" + (f" · {canary}" if path.stem in SHOWN else "")
            (FOLDER / f"{path.stem}.svg").write_text(drawn(title, panels, times))


def _series(scene: Scene, panel: Mapping[str, Any], canary: str) -> list[Named]:
    if panel["type"] == "row":
        return []
    found = []
    for asked in targets(panel):
        expr = filled(asked.expr, canary=canary, range_s=scene.length_s, rate_s=RATE_S)
        step = max(1.0, scene.length_s / MOST_POINTS)
        answer = (
            scene.prometheus.at(expr, scene.ended)
            if asked.instant
            else scene.prometheus.over(expr, scene.began, scene.ended, step)
        )
        for labels, values in answer:
            points = [(at, value) for at, value in values if math.isfinite(value)]
            if points and (
                asked.instant or panel["type"] != "stat" or scene.ended - points[-1][0] <= 2 * step
            ):
                found.append(Named(name=name_of(asked.legend, labels), labels=labels, points=points))
    return sorted(found, key=lambda each: each.name)


def _marks(scene: Scene, document: Mapping[str, Any], canary: str) -> list[Mark]:
    """Each annotation's first moment in every run of them."""
    marks = []
    for each in document["annotations"]["list"]:
        expr = filled(each["expr"], canary=canary, range_s=scene.length_s, rate_s=RATE_S)
        for labels, values in scene.prometheus.over(expr, scene.began, scene.ended, 1.0):
            moments = [at for at, _ in values]
            firsts = [at for before, at in zip([0.0, *moments], moments, strict=False) if at - before > 2.0]
            text = name_of(each["titleFormat"], labels)
            marks += [Mark(at=at, colour=each["iconColor"], text=text) for at in firsts]
    return marks


if __name__ == "__main__":
    main()
