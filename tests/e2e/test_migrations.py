"""The guides of docs/guides/migrations.md: each config as it stands, with local servers for the vendors.

The apps are as they were before the migration, with real SDKs. Their candidates' answers must be good and
counted.
"""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
import yaml
from typer.testing import CliRunner

from canary.cli import app
from demo.provider.behaviour import Behaviour
from demo.provider.server import LocalProvider
from routing.canary import ArmName
from tests.e2e.stage import Stage
from tests.servers.aws_issuers import NOWHERE
from tests.servers.azure import LocalAzure
from tests.servers.bedrock import ACCESS_KEY, SECRET_KEY, LocalBedrock
from tests.serving import ProviderThread, eventually

pytestmark = pytest.mark.more  # each guide's config

PAGE = (Path(__file__).parents[2] / "docs/guides/migrations.md").read_text()
CALLERS_KEY, OWN_KEY = "sk-of-the-app", "sk-of-the-candidates-entry"
ASK: list[Any] = [{"role": "user", "content": "Where is my parcel?"}]
EACH = 2
REFUSED = ("max_tokens", "temperature", "top_p")


@dataclass(frozen=True)
class Guide:
    """One guide: the section's heading, and how the app sends: its parameters by the SDK's names."""

    heading: str
    parameters: dict[str, Any]

    @property
    def section(self) -> str:
        return PAGE.partition(f"\n## {self.heading}\n")[2].partition("\n## ")[0]

    @property
    def config(self) -> str:
        (text,) = re.findall(r"^```yaml\n(providers:\n.*?)^```", self.section, re.MULTILINE | re.DOTALL)
        return str(text)

    @property
    def canary(self) -> dict[str, Any]:
        """The guide's one canary."""
        (found,) = yaml.safe_load(self.config)["canaries"]
        return dict(found)

    @property
    def asked(self) -> str:
        """The model that the app asks for."""
        return str(self.canary["match"]["models"][0])


REASONING = Guide("To a reasoning model", {"max_tokens": 300, "temperature": 0.2, "top_p": 0.9})
GATEWAY = Guide("OpenAI to anything, by LiteLLM's proxy", {"max_completion_tokens": 300})
OPENAI_GUIDES = [
    REASONING,
    Guide("OpenAI to Claude, by OpenAI's API", {"temperature": 0.2, "max_completion_tokens": 300}),
    Guide("OpenAI to your own vLLM", {"reasoning_effort": "low", "max_completion_tokens": 300}),
    Guide("OpenAI to Azure", {"max_completion_tokens": 300}),
    GATEWAY,
]
BEDROCK = Guide("Claude to Bedrock", {"max_tokens": 300})


@pytest.fixture
def at_openai() -> Iterator[ProviderThread]:
    """The vendor that the app is at; it takes the app's key only."""
    with ProviderThread(LocalProvider(keys=frozenset({CALLERS_KEY}))) as running:
        yield running


@pytest.fixture
def elsewhere() -> Iterator[ProviderThread]:
    """The candidate's vendor or gateway; it takes the entry's key only, and no old parameters."""
    with ProviderThread(LocalProvider(keys=frozenset({OWN_KEY}))) as running:
        running.behave("claude-sonnet-5-5", Behaviour(rejects=("temperature", "top_p")))
        running.behave("Qwen/Qwen3-32B", Behaviour(rejects=("reasoning_effort",)))
        yield running


@pytest.fixture
def azure() -> Iterator[ProviderThread]:
    with ProviderThread(LocalAzure(key=OWN_KEY, deployments=("terra-prod",))) as running:
        yield running


def environment(**urls: str) -> dict[str, str]:
    keys = ("ANTHROPIC_API_KEY", "VLLM_API_KEY", "AZURE_OPENAI_API_KEY", "LITELLM_MASTER_KEY")
    return dict.fromkeys(keys, OWN_KEY) | urls


@contextmanager
def started(folder: Path, guide: Guide, provider: ProviderThread, env: dict[str, str]) -> Iterator[Stage]:
    with ExitStack() as up:
        stage = Stage(folder, provider, guide.config, env=env)
        up.callback(lambda: stage.server.kill())
        yield stage


def users(stage: Stage, guide: Guide, arm: ArmName) -> list[str]:
    share = float(guide.canary["share"].removesuffix("%")) / 100
    return list(islice(stage.users(arm, guide.canary["name"], share), EACH))


def chatted(sdk: openai.OpenAI, guide: Guide, user: str, *, stream: bool) -> str:
    """The app's call; its answer's text."""
    create: Any = sdk.chat.completions.create
    asked = {"model": guide.asked, "messages": ASK, "user": user, **guide.parameters}
    if not stream:
        return str(create(**asked).choices[0].message.content)
    return "".join(each.choices[0].delta.content or "" for each in create(**asked, stream=True))


def counted(stage: Stage, guide: Guide, expected: int) -> None:
    """Every outcome is good, and has tokens and a cost; each arm answered its own."""

    def all_stored() -> list[dict[str, Any]] | None:
        rows = [row for row in stage.outcomes() if row["canary"] == guide.canary["name"]]
        return rows if len(rows) >= expected else None

    rows = eventually(all_stored)
    assert len(rows) == expected
    for row in rows:
        assert (row["outcome"], row["error_type"], row["served_by"]) == ("ok", None, row["arm"])
        assert row["model"] == guide.canary[row["arm"]]["model"]
        assert row["output_tokens"] > 0
        assert row["cost_usd"] > 0, row["model"]
        assert bool(row["adapted"]) == ("request" in guide.canary[row["arm"]])
    assert {row["arm"] for row in rows} == {"baseline", "candidate"}
    status = stage.status(guide.canary["name"])
    assert status["state"] == "running"


@pytest.mark.parametrize("guide", OPENAI_GUIDES, ids=lambda guide: guide.heading)
def test_an_app_of_openais_sdk_moves(
    guide: Guide,
    at_openai: ProviderThread,
    elsewhere: ProviderThread,
    azure: ProviderThread,
    tmp_path: Path,
) -> None:
    at_openai.behave("gpt-5.6-terra", Behaviour(rejects=REFUSED, reasoning_tokens=64))
    there = {f"{name}_URL": f"{elsewhere.url}/v1" for name in ("CLAUDE", "VLLM", "LITELLM")}
    env = environment(OPENAI_URL=f"{at_openai.url}/v1", AZURE_URL=azure.url, **there)
    with started(tmp_path, guide, at_openai, env) as stage:
        url = f"{stage.server.traffic}/v1"
        with openai.OpenAI(base_url=url, api_key=CALLERS_KEY, max_retries=0) as sdk:
            for arm in ("baseline", "candidate"):
                for user in users(stage, guide, arm):
                    for stream in (False, True):
                        assert chatted(sdk, guide, user, stream=stream)
        counted(stage, guide, expected=4 * EACH)
        if guide is REASONING:
            rows = [row for row in stage.outcomes() if row["arm"] == "candidate"]
            assert {row["reasoning_tokens"] for row in rows} == {64}


def test_an_app_of_anthropics_sdk_moves_to_bedrock(at_openai: ProviderThread, tmp_path: Path) -> None:
    with LocalBedrock("eu-west-1") as bedrock:
        env = environment(ANTHROPIC_URL=at_openai.url, BEDROCK_URL=bedrock.url) | NOWHERE
        env |= {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
        with started(tmp_path, BEDROCK, at_openai, env) as stage:
            with anthropic.Anthropic(
                base_url=stage.server.traffic, api_key=CALLERS_KEY, max_retries=0
            ) as sdk:
                for arm in ("baseline", "candidate"):
                    for user in users(stage, BEDROCK, arm):
                        messaged(sdk, user)
            counted(stage, BEDROCK, expected=4 * EACH)
        assert bedrock.refused == []
        assert all(each.is_signed and CALLERS_KEY not in str(each.headers) for each in bedrock.taken)


def messaged(sdk: anthropic.Anthropic, user: str) -> None:
    asked: Any = {
        "model": BEDROCK.asked,
        "messages": ASK,
        "metadata": {"user_id": user},
        **BEDROCK.parameters,
    }
    assert sdk.messages.create(**asked).content
    with sdk.messages.stream(**asked) as stream:
        assert "".join(stream.text_stream)


def test_preflight_suggests_the_lines_of_the_reasoning_guide(
    at_openai: ProviderThread, tmp_path: Path
) -> None:
    at_openai.behave("gpt-5.6-terra", Behaviour(rejects=REFUSED))
    (requests,) = re.findall(r"^```json\n(.*?)^```", REASONING.section, re.MULTILINE | re.DOTALL)
    (tmp_path / "app.jsonl").write_text(requests)
    config = tmp_path / "canary.yaml"

    def preflight(text: str) -> Any:
        config.write_text(text)
        command = ["preflight", "to-terra", "--config", str(config), "--from", str(tmp_path / "app.jsonl")]
        env = environment(OPENAI_URL=f"{at_openai.url}/v1", OPENAI_API_KEY=CALLERS_KEY)
        return CliRunner().invoke(app, command, env=env)

    cure = re.compile(r" +request:\n(?: {8}.+\n)+")
    refused = preflight(cure.sub("", REASONING.config))
    assert refused.exit_code == 3, refused.output
    (lines,) = cure.findall(REASONING.config)
    _, rename, remove, default = (line.strip() for line in lines.splitlines())
    assert f"request:\n      {rename}\n      {remove}\n" in refused.stdout
    assert "default" not in refused.stdout
    assert default == "default: {reasoning_effort: low}"
    taken = preflight(REASONING.config)
    assert taken.exit_code == 0, taken.output


def test_every_guide_of_the_page_is_run() -> None:
    headings = set(re.findall(r"^## (.+)$", PAGE, re.MULTILINE)) - {"What to watch"}
    assert headings == {guide.heading for guide in (*OPENAI_GUIDES, BEDROCK)}
    for line in re.findall(r"^```json\n(.*?)^```", REASONING.section, re.MULTILINE | re.DOTALL):
        assert all(json.loads(each)["model"] == REASONING.asked for each in line.splitlines())
