"""Runs every block of docs/guides against a real server and the demo's provider.

    python -m tests.docs.guides --python P --node FOLDER

The frameworks are no dependency: P is the Python of an environment that has them, FOLDER holds
`node_modules`. What is not named is not run, and said so. Coding agents in FOLDER run twice each with the
settings of agents.md, and the store must know their user and two sessions of theirs.
"""

import argparse
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from demo.provider.server import LocalProvider
from tests.docs.test_examples import ALL_APIS, ROOT, TRAFFIC
from tests.records.stored import stored_in
from tests.serving import ProviderThread, Running, eventually

GUIDES = ROOT / "docs/guides"
KEYS = (
    "OPENAI_API_KEY",
    "ANTHROPIC_API_KEY",
    "GOOGLE_API_KEY",
    "GOOGLE_GENERATIVE_AI_API_KEY",
    "GEMINI_API_KEY",
)
TOKEN = "feedback-token-of-the-guides"
BLOCK_WITHIN_S = 120.0


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """Every block of that language with the name of its guide."""
    for path in sorted(GUIDES.glob("*.md")):
        for text in re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL):
            yield path.name, text


def run(command: list[str], folder: Path, more: Mapping[str, str] = {}) -> None:
    """Run one block with keys for nobody and nothing of the caller's environment. It must end with 0."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "CANARY_FEEDBACK_TOKEN": TOKEN, **more}
    environment |= dict.fromkeys(KEYS, "sk-caller") | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    subprocess.run(
        command, cwd=folder, env=environment, check=True, timeout=BLOCK_WITHIN_S, stdin=subprocess.DEVNULL
    )


def run_all(traffic: str, python: str | None, node: Path | None) -> None:
    """Run the Python blocks by `python`, the JavaScript ones in `node`; either may be None."""
    for name, text in blocks("python"):
        print(f"\n== {name}: {'python' if python else 'not run, no --python'}", flush=True)
        if python:
            with tempfile.TemporaryDirectory() as folder:
                run([python, "-c", text.replace(TRAFFIC, traffic)], Path(folder))
    for name, text in blocks("js"):
        print(f"\n== {name}: {'node' if node else 'not run, no --node'}", flush=True)
        if node:
            run(["node", "--input-type=module", "--eval", text.replace(TRAFFIC, traffic)], node)


CODERS = {
    "claude": ["-p", "say hi", "--model", "claude-sonnet-5-5"],
    "codex": ["exec", "--skip-git-repo-check", "--model", "gpt-5.6-terra", "say hi"],
    "opencode": ["run", "--model", "openai/gpt-4o", "say hi"],
}
"""The commands of coding agents, and what they are asked."""


def run_agents(server: Running, node: Path | None) -> None:
    """Run the coding agents in `node`, each with its block as its settings."""
    settings = {
        language: text.replace(TRAFFIC, server.traffic)
        for language in ("sh", "toml", "json")
        for name, text in blocks(language)
        if name == "agents.md"
    }
    exported = dict(re.findall(r"^export (\w+)=(\S+)$", settings["sh"], re.MULTILINE))
    for name, arguments in CODERS.items():
        command = node / "node_modules/.bin" / name if node else None
        found = command is not None and command.exists()
        print(f"\n== agents.md: {name if found else f'{name} not run, not in --node'}", flush=True)
        if found:
            before = len(stored_in(server.data))
            with tempfile.TemporaryDirectory() as home:
                for file, text in (
                    (".codex/config.toml", "toml"),
                    (".config/opencode/opencode.json", "json"),
                ):
                    Path(home, file).parent.mkdir(parents=True)
                    Path(home, file).write_text(settings[text])
                for _ in range(2):
                    run([str(command), *arguments], Path(home), {**exported, "USER": "ada"})
            eventually(lambda known=before: is_one_user_of_two_sessions(server, known))


def is_one_user_of_two_sessions(server: Running, known: int) -> bool:
    """Whether the outcomes after the first `known` are those of a user's two sessions."""
    rows = [row for row in stored_in(server.data)[known:] if row["operation"] not in ("", "other")]
    units, sessions = {row["unit"] for row in rows}, {row["session"] for row in rows}
    return len(units) == 1 and len(sessions) == 2 and "" not in units | sessions


def main() -> None:
    """Start the provider and the server, and run what can be run."""
    parser = argparse.ArgumentParser(description="Run the guides' blocks against a real server.")
    parser.add_argument("--python", help="a Python that has the frameworks")
    parser.add_argument("--node", type=Path, help="a folder with node_modules")
    wanted = parser.parse_args()
    with ProviderThread(LocalProvider()) as provider, tempfile.TemporaryDirectory() as folder:
        config = ALL_APIS.format(url=provider.url)
        environment = {"CANARY_FEEDBACK_TOKEN": TOKEN}
        server = Running(Path(folder), config, workers=1, grace_s=5.0, env=environment)
        try:
            run_all(server.traffic, wanted.python, wanted.node)
            run_agents(server, wanted.node)
        finally:
            server.stop()
        print(f"\n{len(provider.log.entries)} requests reached the provider", flush=True)


if __name__ == "__main__":
    main()
