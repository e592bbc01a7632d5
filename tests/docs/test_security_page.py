"""Each promise of docs/security.md leads to a test that is there."""

import re
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.serving import ProviderThread, Running

ROOT = Path(__file__).parents[2]
PROMISES = (
    (ROOT / "docs/security.md").read_text().partition("\n## What is promised\n")[2].partition("\n## ")[0]
)
ROWS = [line for line in PROMISES.splitlines() if line.startswith("| ")][1:]
CONFIG = 'providers:\n  openai: {{api: openai, base_url: "{url}/v1"}}\n'


@pytest.mark.parametrize("row", ROWS, ids=[row.split("|")[1].strip()[:40] for row in ROWS])
def test_a_promise_is_held_by_a_test_that_is_there(row: str) -> None:
    held_by = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row.split("|")[2])
    assert held_by
    for path, name in held_by:
        assert re.search(rf"^(?:async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE), name


def test_every_credential_stands_on_the_page() -> None:
    page = (ROOT / "docs/security.md").read_text().partition("\n## Credentials\n")[2].partition("\n## ")[0]
    sources = "".join(path.read_text() for path in (ROOT / "canary").rglob("*.py"))
    names = set(re.findall(r'Secret\(\s*"(CANARY_[A-Z_]+)"', sources)) - {"CANARY_SECRET_PREVIOUS"}
    assert {name for name in names if f"`{name}`" not in page} == set()


def test_the_data_folder_and_its_secrets_are_the_servers_alone(
    provider: ProviderThread, serve: Callable[..., Running]
) -> None:
    data = serve(CONFIG.format(url=provider.url), workers=1).data
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    for name in ("secret", "admin.token"):
        assert stat.S_IMODE((data / name).stat().st_mode) == 0o600
