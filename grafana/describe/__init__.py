"""Grafana's dashboards as typed Python: build-time code that writes ../dashboards, no part of the wheel."""

from pathlib import Path

from grafana.describe.canary_window import CANARY_WINDOW
from grafana.describe.cost import COST
from grafana.describe.dashboard import Dashboard
from grafana.describe.fleet import FLEET
from grafana.describe.release import RELEASE

FOLDER = Path(__file__).parents[1] / "dashboards"

DASHBOARDS: dict[str, Dashboard] = {each.uid: each for each in (CANARY_WINDOW, FLEET, COST, RELEASE)}
"""By their uid, which is also the file's name."""
