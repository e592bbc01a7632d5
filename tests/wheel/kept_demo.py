"""A demo that is kept up, run by an installed canary: what a person then looks at must be in the wheel."""

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import httpx2

PAGES = (
    "",
    "releases",
    "archive",
    "audit",
    "canaries/passes",
    "canaries/passes/report",
    "canaries/goes-bad/why",
)


def check_kept_demo(canary: Path, folder: Path, environment: Mapping[str, str]) -> None:
    """Play the demo in `folder`, ask its page and its commands, and end it. Raises AssertionError."""
    process = subprocess.Popen(
        [canary, "demo", "--keep"], cwd=folder, stdout=subprocess.PIPE, text=True,
        env={**environment, "PYTHONUNBUFFERED": "1", "COLUMNS": "200"},
    )  # fmt: skip
    with process:
        try:
            _check(_output(process), canary, folder, environment)
        finally:
            process.terminate()
    assert process.returncode == 0, process.returncode


def _get(http: httpx2.Client, path: str) -> str:
    answer = http.get(path)
    assert answer.status_code == 200, (path, answer.status_code, answer.text[:500])
    return answer.text


def _output(process: subprocess.Popen[str]) -> str:
    """What the demo prints until it stays up."""
    assert process.stdout is not None
    told = ""
    for line in process.stdout:
        told += line
        if "press Ctrl-C" in line:
            return told
    raise AssertionError(f"the demo ended:\n{told}")


def _check(told: str, canary: Path, folder: Path, environment: Mapping[str, str]) -> None:
    found = re.search(r"page (http://\S+)/ \(token (\w+)\)", told)
    assert found is not None, told
    admin, token = found.groups()
    headers = {"authorization": f"Bearer {token}"}
    with httpx2.Client(base_url=admin, headers=headers, trust_env=False, timeout=60.0) as http:
        pages = [_get(http, f"/{path}") for path in PAGES]
        files = {file for page in pages for file in re.findall(r'(?:src|href)="(/static/[^"]+)"', page)}
        assert any(file.endswith(".css") for file in files), pages[0]
        assert any("htmx" in file for file in files), pages[0]
        for path in (*files, "/metrics", "/api/status"):
            assert _get(http, path)
    server = ("--data", "canary-demo/data-0", "--admin", admin)
    file = ("--config", "canary-demo/canary.yaml")
    asks = {**environment, "CANARY_ADMIN_TOKEN": token}
    for words in (("explain", "user-1", *server), ("check", *file), ("report", "passes", *file, *server[:2])):
        done = subprocess.run(
            [canary, *words, "-o", "json"], cwd=folder, env=asks, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, (words, done.returncode, done.stderr)
        assert json.loads(done.stdout), words
