"""Runs the guide about LiteLLM of docs/guides/migrations.md with the real one, before the demo's provider.

    python -m tests.docs.gateway --litellm ELSEWHERE/bin/litellm

LiteLLM is no dependency: install `litellm[proxy]` elsewhere. It translates the app's requests from OpenAI's
API to Anthropic's; the demo's provider speaks both.
"""

import argparse
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import openai

from demo.provider.server import LocalProvider
from tests.e2e.test_migrations import (
    CALLERS_KEY,
    GATEWAY,
    OWN_KEY,
    chatted,
    counted,
    environment,
    started,
    users,
)
from tests.servers.ports import free_port
from tests.serving import ProviderThread, eventually

READY_WITHIN_S = 300.0


@contextmanager
def litellm_proxy(program: str, folder: Path, provider: str) -> Iterator[str]:
    """The real proxy with the page's config, ready; its base URL."""
    (config,) = re.findall(r"^```yaml\n(model_list:\n.*?)^```", GATEWAY.section, re.MULTILINE | re.DOTALL)
    (folder / "litellm.yaml").write_text(config)
    port = free_port()
    variables = {"PATH": os.environ["PATH"], "HOME": str(folder), "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    variables |= environment(ANTHROPIC_URL=provider)
    command = [program, "--config", str(folder / "litellm.yaml"), "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "litellm.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=variables, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        eventually(lambda: is_ready(process, url), within_s=READY_WITHIN_S)
        yield f"{url}/v1"
    finally:
        process.terminate()
        process.wait(60.0)


def is_ready(process: subprocess.Popen[bytes], url: str) -> bool:
    """True once it answers; it must not end before."""
    assert process.poll() is None, "litellm ended; read litellm.log"
    try:
        return httpx2.get(f"{url}/health/liveliness", trust_env=False, timeout=5.0).status_code == 200
    except httpx2.TransportError:
        return False


def main() -> None:
    """Ask by both arms, JSON and streams, and print what was counted."""
    parser = argparse.ArgumentParser(description="Run the guide about LiteLLM's proxy with the real one.")
    parser.add_argument("--litellm", required=True, help="the program of an environment that has it")
    program = parser.parse_args().litellm
    with tempfile.TemporaryDirectory() as name, ProviderThread(LocalProvider()) as provider:
        folder = Path(name)
        with litellm_proxy(program, folder, provider.url) as gateway:
            env = environment(OPENAI_URL=f"{provider.url}/v1", LITELLM_URL=gateway)
            with started(folder / "canary", GATEWAY, provider, env) as stage:
                with openai.OpenAI(base_url=f"{stage.server.traffic}/v1", api_key=CALLERS_KEY) as sdk:
                    for arm in ("baseline", "candidate"):
                        for user in users(stage, GATEWAY, arm):
                            for stream in (False, True):
                                assert chatted(sdk, GATEWAY, user, stream=stream)
                counted(stage, GATEWAY, expected=8)
                asked = [each for each in provider.log.entries if each.target.startswith("/v1/messages")]
                assert asked
                assert {each.credentials.get("x-api-key") for each in asked} == {OWN_KEY}
                rows = [row for row in stage.outcomes() if row["arm"] == "candidate"]
                print(f"{len(rows)} answers of the candidate, {len(asked)} requests in Anthropic's form")


if __name__ == "__main__":
    main()
