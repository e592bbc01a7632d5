"""What this version cannot do yet is refused, not silently left out."""

from pathlib import Path

import pytest

from canary.config import ConfigError
from canary.limits import load_to_serve

CONFIG = """\
providers: {openai: {api: openai, base_url: "http://127.0.0.1:1/v1"}}
canaries:
  - name: trial
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: a}
    candidate: {provider: openai, model: b}
    share: 5%
"""


def test_a_config_that_asks_for_what_there_is_loads(tmp_path: Path) -> None:
    path = tmp_path / "canary.yaml"
    path.write_text(CONFIG)
    assert list(load_to_serve(path, {}).canaries) == ["trial"]


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("store: postgresql://db/canary\n", "store"),
        ("shared: redis://cache\n", "shared"),
    ],
)
def test_what_is_not_there_yet_is_refused_by_name(tmp_path: Path, line: str, named: str) -> None:
    path = tmp_path / "canary.yaml"
    path.write_text(CONFIG + line)
    with pytest.raises(ConfigError, match=f"{named}: .*not there yet|{named}: only sqlite"):
        load_to_serve(path, {})
