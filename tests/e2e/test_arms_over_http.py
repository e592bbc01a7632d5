"""An arm with its own prompt and tools, for unchanged apps of every API, through a change of its files."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import anthropic
import boto3
import httpx2
import openai
import pytest
from botocore.config import Config
from google import genai
from google.genai import types as genai_types
from google.oauth2.credentials import Credentials
from typer.testing import CliRunner

from canary.cli import app
from records.store import Store
from records.store.captures import CaptureStore
from routing.canary import ArmName
from tests.e2e.stage import Stage, on_stage
from tests.servers.aws_issuers import NOWHERE
from tests.servers.azure import LocalAzure
from tests.servers.bedrock import BEARER_KEY, LocalBedrock
from tests.servers.vertex import LocalVertex
from tests.serving import ProviderThread, eventually

V7 = 'You are "Rex" ☺.\nNever promise a refund to {{name}}.'
V8 = "You are Rex.\nAsk before a refund."
CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1", api_key: k}}
  anthropic: {{api: anthropic, base_url: "{url}", api_key: k}}
  gemini: {{api: gemini, base_url: "{url}", api_key: k}}
canaries:
  - name: prompt
    match: {{models: [bot]}}
    baseline: {{provider: openai, model: bot}}
    candidate: &arm
      provider: openai
      model: bot
      name: prompt v8
      prompt: {{find: prompts/v7.md, put: prompts/v8.md}}
      tools: {{get_order: prompts/tool.md}}
    share: 50%
    settle: 0s
  - name: messages
    match: {{models: [bot]}}
    baseline: {{provider: anthropic, model: bot}}
    candidate: {{<<: *arm, provider: anthropic}}
    share: 50%
  - name: gemini
    match: {{models: [bot]}}
    baseline: {{provider: gemini, model: bot}}
    candidate: {{<<: *arm, provider: gemini}}
    share: 50%
""".replace("&arm", "").replace(
    "<<: *arm, ", "model: bot, prompt: {{find: prompts/v7.md, put: prompts/v8.md}}, "
)
TOOL = {"type": "function", "function": {"name": "get_order", "description": "old", "parameters": {}}}
SAID = [{"role": "user", "content": "hi"}]
BLOCK = {"type": "text", "text": f"A {V7}", "cache_control": {"type": "ephemeral"}}
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "prompt": (
        "/v1/chat/completions",
        {"model": "bot", "messages": [{"role": "system", "content": V7}, *SAID]},
    ),
    "messages": ("/v1/messages", {"model": "bot", "max_tokens": 9, "messages": SAID, "system": [BLOCK]}),
    "gemini": (
        "/v1beta/models/bot:generateContent",
        {"contents": [{"parts": [{"text": "hi"}]}], "systemInstruction": {"parts": [{"text": V7}]}},
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("arms")


@pytest.fixture(scope="module")
def stage(folder: Path) -> Iterator[Stage]:
    prompts = folder / "prompts"
    prompts.mkdir(parents=True)
    prompts.joinpath("v7.md").write_text(V7 + "\n")
    prompts.joinpath("v8.md").write_text(V8 + "\n")
    prompts.joinpath("tool.md").write_text("Finds an order.\n")
    with on_stage(folder, CONFIG) as stage:
        yield stage


def sent(stage: Stage, canary: str, unit: str, body: dict[str, Any] | None = None) -> bytes:
    """What the provider got."""
    path, usual = REQUESTS[canary]
    content = json.dumps(usual if body is None else body).encode()  # with \u escapes
    headers = {"x-canary-unit": unit, "content-type": "application/json", "authorization": "Bearer sk-u"}
    if canary == "messages":
        headers["anthropic-version"] = "2023-06-01"
    answer = httpx2.post(f"{stage.server.traffic}{path}", content=content, headers=headers, timeout=30.0)
    assert answer.status_code == 200, answer.text
    return stage.provider.log.entries[-1].body


def _asked_for(stage: Stage, user: str, unit: dict[str, str]) -> bytes:
    """What the provider gets of this user, once the workers know of the trial."""

    def asked() -> bytes | None:
        body = sent(stage, "prompt", user)
        return body if json.loads(body)["model"] == unit["model"] else None

    eventually(lambda: told(stage, unit["canary"], user) == unit or None)
    return eventually(asked)


def told(stage: Stage, canary: str, unit: str = "u") -> dict[str, str]:
    """What an app is told of a unit's arm."""
    params = {"canary": canary, "unit": unit}
    return dict(httpx2.get(f"{stage.server.traffic}/canary/arm", params=params, timeout=30.0).json())


def status(stage: Stage, name: str = "prompt") -> dict[str, Any]:
    found: dict[str, Any] = next(
        each for each in stage.api("GET", "/api/status").json()["canaries"] if each["name"] == name
    )
    return found


def check(stage: Stage) -> str:
    """What `canary check` prints beside the running server."""
    return (
        CliRunner()
        .invoke(
            app, ["check", "--config", str(stage.server.config)], env={"CANARY_DATA": str(stage.server.data)}
        )
        .stdout
    )


def test_each_arm_has_its_prompt_and_what_misses_it_counts_for_none(stage: Stage) -> None:
    old, new = json.dumps(V7).encode()[1:-1], V8.replace("\n", "\\n").encode()
    for canary, (_, body) in REQUESTS.items():
        asked = json.dumps(body).encode()
        mine = sent(stage, canary, next(stage.users("candidate", canary, 0.5)))
        assert mine == asked.replace(old, new)
        assert sent(stage, canary, next(stage.users("baseline", canary, 0.5))) == asked
    with_tool = REQUESTS["prompt"][1] | {"tools": [TOOL]}
    user = next(stage.users("candidate", "prompt", 0.5))
    assert (
        json.loads(sent(stage, "prompt", user, with_tool))["tools"][0]["function"]["description"]
        == "Finds an order."
    )

    other = {"model": "bot", "messages": [{"role": "system", "content": "Other."}]}
    for arm in ("candidate", "baseline"):
        assert (
            sent(stage, "prompt", next(stage.users(arm, "prompt", 0.5)), other) == json.dumps(other).encode()
        )
    eventually(lambda: status(stage)["prompt_missed"] == 2 or None)
    found = status(stage)
    assert found["arms"]["candidate"]["requests"] == 2
    assert found["arms"]["baseline"]["requests"] == 1
    arm = found["models"]["candidate"]
    short = arm["fingerprint"][:6]
    assert (arm["name"], arm["request"]) == ("prompt v8", f"prompt v8 ({short})")
    released = stage.api("GET", "/api/releases").json()["releases"]
    assert arm["request"] in [each["candidate"].get("request") for each in released]
    explained = stage.api("GET", "/api/explain?unit=u").json()["canaries"][0]
    assert explained["prompt_missed"] == 2
    assert set(explained["texts"]["candidate"]) == {"prompt", "tools"}
    for arm in ("candidate", "baseline"):
        unit = next(stage.users(arm, "prompt", 0.5))
        name = "prompt v8" if arm == "candidate" else ""
        assert told(stage, "prompt", unit) == {"canary": "prompt", "arm": arm, "name": name, "model": "bot"}
    assert httpx2.get(f"{stage.server.traffic}/canary/arm?canary=other&unit=u").status_code == 404
    page = stage.api("GET", "/canaries/prompt").text
    assert "Prompt: 2 lines → 2 lines" in page
    assert "<td>Never promise a refund to {{name}}.</td><td>Ask before a refund.</td>" in page
    report = stage.canary("report", "prompt", "--config", str(stage.server.config), "-o", "markdown").stdout
    assert "Ask before a refund." in report
    checked = check(stage)
    assert "--- prompts/v7.md\n+++ prompts/v8.md\n" in checked
    assert "+Ask before a refund.\n" in checked
    assert f"prompt: openai/bot → openai/bot · prompt v8 ({short})" in checked
    metrics = stage.api("GET", "/metrics").text
    assert 'canary_assignments_total{arm="baseline",canary="prompt",reason="prompt_missed"} 2.0' in metrics


def openai_sdk(url: str, user: str) -> openai.OpenAI:
    headers = {"x-canary-unit": user}
    return openai.OpenAI(base_url=f"{url}/v1", api_key="sk-u", max_retries=0, default_headers=headers)


def chat(url: str, user: str) -> object:
    messages: list[Any] = [{"role": "system", "content": V7}, *SAID]
    return openai_sdk(url, user).chat.completions.create(model="bot", messages=messages)


def responses(url: str, user: str) -> object:
    sdk = openai_sdk(url, user)
    return sdk.responses.create(model="bot", instructions=V7, input="hi", store=False)


def claude(url: str, user: str) -> object:
    headers = {"x-canary-unit": user}
    sdk = anthropic.Anthropic(base_url=url, api_key="ak", max_retries=0, default_headers=headers)
    messages: list[Any] = SAID
    return sdk.messages.create(model="bot", max_tokens=9, system=V7, messages=messages)


def gemini(url: str, user: str) -> object:
    options = genai_types.HttpOptions(base_url=url, headers={"x-canary-unit": user})
    config = genai_types.GenerateContentConfig(system_instruction=V7)
    with genai.Client(api_key="gk", http_options=options) as sdk:
        return sdk.models.generate_content(model="bot", contents="hi", config=config)


@pytest.mark.parametrize(
    ("call", "canary"), [(chat, "prompt"), (responses, "prompt"), (claude, "messages"), (gemini, "gemini")]
)
def test_unchanged_sdks_ask_with_each_arms_prompt(
    stage: Stage, call: Callable[[str, str], object], canary: str
) -> None:
    asked = {}
    for arm in ("candidate", "baseline"):
        call(stage.server.traffic, next(stage.users(arm, canary, 0.5)))
        asked[arm] = stage.provider.log.entries[-1].body.decode()
    assert asked["candidate"] == with_v8(asked["baseline"])


CLOUDS = """
providers:
  azure: {{api: openai, kind: azure, base_url: "{azure}", api_key: entry-key}}
  bedrock: {{api: anthropic, kind: bedrock, base_url: "{bedrock}", region: eu-west-1, api_key: "{key}"}}
  gemini: {{api: gemini, kind: vertex, base_url: "{vertex}", api_key: entry-key, project: shop, region: eu}}
  claude: {{api: anthropic, kind: vertex, base_url: "{vertex}", api_key: entry-key, project: shop,
           region: eu}}
canaries:
"""
AT_CLOUD = """
  - name: {name}
    match: {{models: [bot]}}
    baseline: {{provider: {name}, model: bot}}
    candidate:
      provider: {name}
      model: bot
      prompt: {{find: prompts/v7.md, put: prompts/v8.md}}
      tools: {{get_order: prompts/tool.md}}
    share: 50%
"""
FREE_FORM = {"type": "object", "properties": {}}
CLAUDES_TOOL = {"name": "get_order", "description": "old", "input_schema": FREE_FORM}


def azure_sdk(url: str, user: str) -> object:
    sdk = openai.AzureOpenAI(
        azure_endpoint=url,
        api_key="callers",
        api_version="2024-10-21",
        max_retries=0,
        default_headers={"x-canary-unit": user},
    )
    messages: list[Any] = [{"role": "system", "content": V7}, *SAID]
    tools: list[Any] = [TOOL]
    return sdk.chat.completions.create(model="bot", messages=messages, tools=tools)


def bedrock_sdk(url: str, user: str) -> object:
    sdk = anthropic.AnthropicBedrock(
        aws_access_key="AKIACALLER",
        aws_secret_key="callers",
        aws_region="eu-west-1",
        base_url=url,
        max_retries=0,
        default_headers={"x-canary-unit": user},
    )
    return claudes(sdk)


def vertex_claude_sdk(url: str, user: str) -> object:
    sdk = anthropic.AnthropicVertex(
        base_url=f"{url}/v1",
        region="eu",
        project_id="shop",
        access_token="callers",
        max_retries=0,
        default_headers={"x-canary-unit": user},
    )
    return claudes(sdk)


def claudes(sdk: Any) -> object:
    system = [{"type": "text", "text": V7, "cache_control": {"type": "ephemeral"}}]
    return sdk.messages.create(model="bot", max_tokens=9, system=system, messages=SAID, tools=[CLAUDES_TOOL])


def boto_converse(url: str, user: str) -> object:
    client: Any = boto3.client(
        "bedrock-runtime",
        endpoint_url=url,
        region_name="eu-west-1",
        aws_access_key_id="AKIACALLER",
        aws_secret_access_key="callers",
        config=Config(retries={"total_max_attempts": 1}, proxies={}),
    )

    def named(params: dict[str, Any], **_: Any) -> None:
        params["headers"]["x-canary-unit"] = user

    client.meta.events.register("before-call.bedrock-runtime", named)
    tool = {"name": "get_order", "description": "old", "inputSchema": {"json": FREE_FORM}}
    return client.converse(
        modelId="bot",
        system=[{"text": V7}],
        messages=[{"role": "user", "content": [{"text": "hi"}]}],
        toolConfig={"tools": [{"toolSpec": tool}]},
    )


def vertex_gemini_sdk(url: str, user: str) -> object:
    options = genai_types.HttpOptions(base_url=url, headers={"x-canary-unit": user})
    declared = genai_types.FunctionDeclaration(name="get_order", description="old")
    config = genai_types.GenerateContentConfig(
        system_instruction=V7, tools=[genai_types.Tool(function_declarations=[declared])]
    )
    with genai.Client(
        vertexai=True,
        project="shop",
        location="eu",
        credentials=Credentials(token="callers"),
        http_options=options,
    ) as sdk:
        return sdk.models.generate_content(model="bot", contents="hi", config=config)


@pytest.fixture(scope="module")
def clouds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, Callable[[str], bytes]]]:
    """Canary before three clouds, and the newest body at one of its entries."""
    folder = tmp_path_factory.mktemp("clouds")
    folder.joinpath("prompts").mkdir()
    for name, text in (("v7", V7), ("v8", V8), ("tool", "Finds an order.")):
        folder.joinpath("prompts", f"{name}.md").write_text(text)
    azure = LocalAzure(key="entry-key", deployments=["bot"])
    vertex = LocalVertex(project="shop", region="eu", token="entry-key")

    with ExitStack() as up:
        bedrock = up.enter_context(LocalBedrock("eu-west-1"))
        threads = [up.enter_context(ProviderThread(each)) for each in (azure, vertex)]
        urls = {"azure": threads[0].url, "vertex": threads[1].url, "bedrock": bedrock.url}
        canaries = "".join(AT_CLOUD.format(name=each) for each in ("azure", "bedrock", "gemini", "claude"))
        config = CLOUDS.format(**urls, key=BEARER_KEY) + canaries
        stage = Stage(folder, threads[0], config, env=dict(NOWHERE))
        up.callback(lambda: stage.server.kill())

        def newest(entry: str) -> bytes:
            if entry == "bedrock":
                return bedrock.taken[-1].body
            return (azure if entry == "azure" else vertex).arrived[-1].body

        yield stage, newest


@pytest.mark.more
@pytest.mark.parametrize(
    ("call", "entry"),
    [
        (azure_sdk, "azure"),
        (bedrock_sdk, "bedrock"),
        (boto_converse, "bedrock"),
        (vertex_claude_sdk, "claude"),
        (vertex_gemini_sdk, "gemini"),
    ],
)
def test_unchanged_sdks_of_clouds_ask_with_each_arms_prompt_and_tools(
    clouds: tuple[Stage, Callable[[str], bytes]], call: Callable[[str, str], object], entry: str
) -> None:
    stage, newest = clouds
    asked: dict[ArmName, str] = {}
    for arm in ("candidate", "baseline"):
        call(stage.server.traffic, next(stage.users(arm, entry, 0.5)))
        asked[arm] = newest(entry).decode()
    assert '"old"' in asked["baseline"]
    assert asked["candidate"] == with_v8(asked["baseline"]).replace('"old"', '"Finds an order."')


def with_v8(body: str) -> str:
    """A request with the candidate's prompt, however its SDK escapes the caller's."""
    forms = [json.dumps(V7, ensure_ascii=is_ascii)[1:-1] for is_ascii in (False, True)]
    (old,) = [form for form in forms if form in body]  # google-genai and boto3 escape
    return body.replace(old, json.dumps(V8)[1:-1])


def test_a_file_that_changes_after_the_start_changes_nothing(stage: Stage, folder: Path) -> None:
    user, new = next(stage.users("candidate", "prompt", 0.5)), V8.replace("\n", "\\n").encode()
    assert new in sent(stage, "prompt", user)
    file = folder / "prompts" / "v8.md"
    file.write_text("Another prompt.\n")
    eventually(lambda: status(stage)["changed_texts"] == ["prompts/v8.md"] or None)
    assert new in sent(stage, "prompt", user)
    file.unlink()
    (stage.server.data / "texts.json").unlink()
    stage.restart()
    assert new in sent(stage, "prompt", user)
    assert status(stage)["changed_texts"] == ["prompts/v8.md"]
    assert "prompts/v8.md changed after the start: the old text stays" in stage.canary("status").stdout
    file.write_text(V8)
    eventually(lambda: status(stage)["changed_texts"] == [] or None)


STANDING = """
providers:
  openai: {{api: openai, base_url: "{url}/v1", api_key: k}}
canaries:
  - name: support
    standing: true
    match: {{models: [bot]}}
    baseline: {{provider: openai, model: bot}}
    candidate: {{provider: openai, model: bot}}
    share: 50%
    settle: 0s
"""


def test_a_standing_canary_takes_a_prompt_with_the_order_and_promotes_the_whole_arm(tmp_path: Path) -> None:
    arm = tmp_path / "arms"
    arm.mkdir()
    arm.joinpath("v7.md").write_text(V7)
    arm.joinpath("v8.md").write_text(V8)
    arm.joinpath("arm.yaml").write_text("model: bot\nname: prompt v8\nprompt: {find: v7.md, put: v8.md}\n")
    new = V8.replace("\n", "\\n").encode()
    with on_stage(tmp_path / "server", STANDING) as stage:
        begun = stage.canary("begin", "support", "--arm", str(arm / "arm.yaml"), "-o", "json")
        trial = json.loads(begun.stdout)["canary"]
        arm.joinpath("v8.md").unlink()
        eventually(lambda: told(stage, "support")["canary"] == trial or None)
        eventually(lambda: status(stage, trial)["state"] == "running" or None)
        user = next(stage.users("candidate", trial, 0.5))
        eventually(
            lambda: new in sent(stage, "prompt", user) or None
        )  # workers hear of it within two seconds
        assert new not in sent(stage, "prompt", next(stage.users("baseline", trial, 0.5)))
        explained = stage.canary("explain", user).stdout
        assert f"{trial}: candidate, openai/bot · prompt v8 (" in explained
        assert "support: openai/bot (standing" in explained
        other = stage.canary("explain", next(stage.users("baseline", trial, 0.5))).stdout
        assert f"{trial}: baseline, openai/bot (" in other
        assert stage.canary("promote", trial, "--reason", "better", "--against-verdict").returncode == 0
        (file,) = tmp_path.rglob("trials.json")
        file.unlink()
        stage.restart()
        shown = stage.canary("show", "support", "--config", str(stage.server.config)).stdout
        assert "name: prompt v8" in shown
        eventually(lambda: new in sent(stage, "prompt", "anybody") or None)
        assert told(stage, "support")["name"] == "prompt v8"

        assert "support: openai/bot · prompt v8 (" in stage.canary("explain", "anybody").stdout
        checked = check(stage)
        assert "everybody gets openai/bot · prompt v8 (" in checked
        assert "with the prompt of the baseline" in checked
        begun = stage.canary("begin", "support", "--model", "bot-2")
        assert "with the prompt of the baseline" in begun.stdout + begun.stderr
        eventually(lambda: status(stage, "support-bot-2")["state"] == "running" or None)
        for arm_name, model in (("candidate", "bot-2"), ("baseline", "bot")):
            user = next(stage.users(arm_name, "support-bot-2", 0.5))  # type: ignore[arg-type]
            unit = {"canary": "support-bot-2", "arm": arm_name, "name": "prompt v8", "model": model}
            assert new in _asked_for(stage, user, unit)
        models = status(stage, "support-bot-2")["models"]
        assert [each.get("request") for each in models.values()] == [None, None]  # only the model differs
        assert status(stage, "support-bot-2")["prompt_missed"] == 0
        checked = check(stage)
        assert "support-bot-2: openai/bot → openai/bot-2, share" in checked and "--- " not in checked
        report = stage.canary(
            "report", "support-bot-2", "--config", str(stage.server.config), "-o", "markdown"
        )
        assert "Ask before a refund." not in report.stdout


CAPTURED = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
capture: [{{models: [bot], rate: 100%}}]
canaries: []
"""
TRIED = """
  - name: {name}
    match: {{models: [bot{number}]}}
    baseline: {{provider: openai, model: bot}}
    candidate: {{provider: openai, model: bot, prompt: {{find: prompts/{find}.md, put: prompts/v8.md}}}}
    share: 50%
"""


def test_a_canary_starts_by_itself_if_the_captured_requests_have_its_prompt(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts"
    prompts.mkdir(parents=True)
    for name, text in {"v7": V7, "v6": "An older prompt.", "v8": V8}.items():
        prompts.joinpath(f"{name}.md").write_text(text)
    with on_stage(tmp_path, CAPTURED) as stage:
        for number in range(3):
            sent(stage, "prompt", f"user-{number}")
        with closing(Store.open("sqlite:///canary.db", stage.server.data)) as store:
            captures = CaptureStore(store)
            eventually(lambda: len(captures.newest(captures.sources(), 9)) == 3 or None)
        tried = [("has", "v7", ""), ("has-not", "v6", ""), ("unknown", "v7", "-2")]
        canaries = [TRIED.format(name=name, find=find, number=number) for name, find, number in tried]
        stage.configure(stage.config_text.replace(" []", "".join(canaries)))

        def settled(name: str) -> dict[str, Any] | None:
            known = stage.api("GET", "/api/status").json()["canaries"]
            found = [each for each in known if each["name"] == name and each["preflight"]]
            return found[0] if found and found[0]["preflight"]["at"] else None

        has, has_not, unknown = (eventually(lambda name=name: settled(name)) for name, _, _ in tried)
        assert "3 of 3 captured requests have the text of `prompt.find`" in has["preflight"]["sentence"]
        assert (has["state"], has_not["state"], unknown["state"]) == ("running", "waiting", "running")
        assert (
            has_not["reason"] == "preflight_failed: 0 of 3 captured requests have the text of `prompt.find`"
        )
        assert "nobody could look" in unknown["preflight"]["sentence"]
        asked = stage.canary("preflight", "has-not", "--config", str(stage.server.config), "-o", "json")
        assert asked.returncode == 3
        assert json.loads(asked.stdout)["prompt"] == {"have": 0, "looked_at": 3}
