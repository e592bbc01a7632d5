"""What Grafana is provisioned with fits together: a data source, a folder of dashboards, an example."""

from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[2] / "grafana" / "provisioning"


def read(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text())


def test_the_data_source_is_the_prometheus_that_the_environment_names() -> None:
    (source,) = read("datasources/prometheus.yaml")["datasources"]
    assert (source["type"], source["url"], source["isDefault"]) == ("prometheus", "${PROMETHEUS_URL}", True)
    assert source["jsonData"]["timeInterval"] == "15s"


def test_dashboards_come_from_one_folder() -> None:
    (provider,) = read("dashboards/canary.yaml")["providers"]
    assert (provider["type"], provider["folder"]) == ("file", "canary")


def test_the_contact_points_are_an_example_that_grafana_does_not_load_and_hold_no_secret() -> None:
    assert [path.suffix for path in (FOLDER / "alerting").iterdir()] == [".example"]
    example = read("alerting/contact-points.yaml.example")
    (point,) = example["contactPoints"]
    (policy,) = example["policies"]
    assert policy["receiver"] == point["name"]
    secrets = [value for each in point["receivers"] for value in each["settings"].values()]
    assert [value for value in secrets if not value.startswith("$")] == ["critical"]
