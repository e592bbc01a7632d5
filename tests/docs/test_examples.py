"""What a newcomer copies from the documents works: the README's start, and every SDK example."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.serving import ProviderThread, Running

ROOT = Path(__file__).parents[2]
TRAFFIC = "http://127.0.0.1:8080"
ALL_APIS = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
  anthropic: {{api: anthropic, base_url: "{url}"}}
  gemini: {{api: gemini, base_url: "{url}"}}
canaries:
  - name: gpt
    match: {{models: [gpt-5.6-terra]}}
    baseline: {{provider: openai, model: gpt-5.6-terra}}
    candidate: {{provider: openai, model: gpt-6.1-terra}}
    share: 5%
  - name: claude
    match: {{models: [claude-sonnet-5-5]}}
    baseline: {{provider: anthropic, model: claude-sonnet-5-5}}
    candidate: {{provider: anthropic, model: claude-haiku-5-5}}
    share: 5%
  - name: gemini
    match: {{models: [gemini-3.8-flash]}}
    baseline: {{provider: gemini, model: gemini-3.8-flash}}
    candidate: {{provider: gemini, model: gemini-3.5-flash}}
    share: 5%
"""


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / document).read_text(), re.MULTILINE | re.DOTALL)


def commands(block: str) -> list[str]:
    """A shell block's lines, without what is said of them."""
    return [line.partition("#")[0].strip() for line in block.splitlines()]


def run(command: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_every_sdk_example_runs_as_it_stands(
    tmp_path: Path, provider: ProviderThread, serve: Callable[..., Running]
) -> None:
    running = serve(ALL_APIS.format(url=provider.url), workers=1)
    keys = {f"{name}_API_KEY": "sk-caller" for name in ("OPENAI", "ANTHROPIC", "GEMINI")}
    requests = []
    for example in blocks("docs/guides/sdks.md", "python"):
        before = len(provider.log.entries)
        example = example.replace(TRAFFIC, running.traffic)
        done = run([sys.executable, "-c", example], tmp_path, **keys)
        assert done.returncode == 0, done.stderr
        assert len(done.stdout) > 50, "the answers are printed"
        requests.append(len(provider.log.entries) - before)
    assert requests == [3, 2, 3]


def test_the_readmes_five_minutes_go_as_told(
    tmp_path: Path, provider: ProviderThread, serve: Callable[..., Running]
) -> None:
    config = blocks("README.md", "yaml")[0].replace("https://api.openai.com", provider.url)
    running = serve(config, workers=1)
    (tmp_path / "canary.yaml").write_text(config)
    (tmp_path / "canary-data").symlink_to(running.data)
    shell = blocks("README.md", "sh")
    first = next(at for at, block in enumerate(shell) if block.startswith("canary check"))
    checking, asking, looking, promoting, ending = shell[first : first + 5]
    assert run(["bash", "-c", commands(checking)[0]], tmp_path).returncode == 0

    asked = run(
        ["bash", "-c", asking.replace(TRAFFIC, running.traffic)], tmp_path, OPENAI_API_KEY="sk-caller"
    )
    assert json.loads(asked.stdout.splitlines()[-1]) == {"accepted": 1}, asked.stdout + asked.stderr

    told = commands(looking) + commands(ending) + commands(promoting)
    status, explain, report, rollback, promote = (["bash", "-c", command] for command in told)
    assert run(status, tmp_path).returncode == 0
    assert re.match(r"support-nov: (baseline|candidate), openai/", run(explain, tmp_path).stdout)
    assert run(report, tmp_path).returncode == 4
    assert run(rollback, tmp_path).returncode == 0
    assert run(status, tmp_path).returncode == 5
    refused = run(promote, tmp_path)
    assert (refused.returncode, "resume" in refused.stderr) == (1, True)
