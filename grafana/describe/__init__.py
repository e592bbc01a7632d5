"""Grafana's dashboards as typed Python. Build-time code that writes ../dashboards; not in the wheel."""

from pathlib import Path

from grafana.describe.canary_window import CANARY_WINDOW
from grafana.describe.cost import COST
from grafana.describe.dashboard import Dashboard
from grafana.describe.fleet import FLEET
from grafana.describe.release import RELEASE
from grafana.describe.releases import RELEASES

FOLDER = Path(__file__).parents[1] / "dashboards"

DASHBOARDS: dict[str, Dashboard] = {
    board.uid: board for board in (CANARY_WINDOW, FLEET, COST, RELEASE, RELEASES)
}
"""The dashboards by uid, which is also the file name."""
