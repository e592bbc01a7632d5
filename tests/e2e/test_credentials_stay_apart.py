"""Two providers with a key each and callers with theirs: each provider sees its own, nobody else any.

The secrets are planted, every kind of ending is gone through, and then everything that canary wrote, kept,
showed or answered is searched for them.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import httpx2
import pytest

from demo.provider.behaviour import Behaviour, Fault
from demo.provider.server import LocalProvider
from routing.canary import ArmName
from tests.e2e.stage import Stage, chat, on_stage
from tests.serving import ProviderThread, eventually

CONFIG = """
providers:
  caller-pays: {{api: openai, base_url: "{url}/v1"}}
  own: {{api: openai, base_url: "{url}/v1", api_key: "${{OWN_KEY}}"}}
  other: {{api: openai, base_url: "OTHER/v1", api_key: "${{OTHER_KEY}}"}}
  gemini: {{api: gemini, base_url: "{url}"}}
canaries:
  - name: callers-key
    match: {{models: [gpt-4o]}}
    baseline: {{provider: caller-pays, model: gpt-4o-2024-08-06}}
    candidate: {{provider: other, model: mistral-large, timeout: {{first_byte: 300ms, total: 500ms}}}}
    share: 50%
    guardrails: []
  - name: own-key
    match: {{models: [gpt-4o-mini]}}
    baseline: {{provider: own, model: gpt-4o-mini-2024-07-18}}
    candidate: {{provider: other, model: mistral-small, timeout: {{first_byte: 300ms, total: 500ms}}}}
    share: 50%
    guardrails: []
"""
CALLERS = "sk-planted-of-the-caller"
OWN = "sk-planted-own"
OTHER = "sk-planted-other"
UNIT = "planted-alice@example.org"
PROMPT = "planted-words-of-the-prompt"
WELL_AGAIN = (
    3  # good answers after each fault, so that no breaker opens: it would spare the provider the rest
)
SENT = {
    "authorization": f"Bearer {CALLERS}",
    "api-key": CALLERS,
    "cookie": f"session={CALLERS}",
    "openai-organization": "org-planted",
}
KEPT = "api-version=2026-01-01&flag"
QUERY = "&".join(
    f"{name}={CALLERS}"
    for name in (
        "api-key", "Api-Key", "subscription-key", "Subscription%2DKey", "access_token", "key", "%6bey",
        "sig", "SIG", "x-amz-signature",
    )
) + f"&{KEPT}"  # fmt: skip
FAULTS: tuple[Fault | None, ...] = (
    None,
    "status",
    "reset",
    "close",
    "hang",
    "empty",
    "html",
    "bad_json",
    "truncate",
    "cut",
    "stream_error",
)
ARMS: tuple[ArmName, ...] = ("baseline", "candidate")
MODELS = {
    # canary: (path of its provider entry, model asked for, models of the arms)
    "callers-key": ("/v1", "gpt-4o", "gpt-4o-2024-08-06", "mistral-large"),
    "own-key": ("/own/v1", "gpt-4o-mini", "gpt-4o-mini-2024-07-18", "mistral-small"),
}


@dataclass
class Gone:
    """After every ending was gone through: what the callers were answered, and what the providers saw."""

    stage: Stage
    other: ProviderThread
    answers: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def gone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gone]:
    with ProviderThread(LocalProvider()) as other:
        config = CONFIG.replace("OTHER/v1", f"{other.url}/v1")
        environment = {"OWN_KEY": OWN, "OTHER_KEY": OTHER}
        folder = tmp_path_factory.mktemp("credentials")
        with on_stage(folder, config, workers=1, env=environment) as stage:
            assert {each.credentials["authorization"] for each in other.log.entries} == {f"Bearer {OTHER}"}
            other.log.clear()  # the preflight's
            found = Gone(stage, other)
            for fault in FAULTS:
                _through_one_fault(found, fault)
            _refused_requests(found)
            yield found


def _through_one_fault(gone: Gone, fault: Fault | None) -> None:
    for canary, (path, asked, baseline, candidate) in MODELS.items():
        users = {arm: next(gone.stage.users(arm, canary, 0.5, UNIT)) for arm in ARMS}
        behaviour = Behaviour(faults={fault: 1.0} if fault else {}, status=401)
        gone.stage.provider.behave(baseline, Behaviour() if fault == "hang" else behaviour)
        gone.other.behave(candidate, behaviour)
        for user in users.values():
            for stream in (False, True):
                _ask(gone, path, chat(asked, user, stream=stream, text=PROMPT))
        gone.other.behave(candidate, Behaviour())
        for _ in range(WELL_AGAIN):
            _ask(gone, path, chat(asked, users["candidate"], text=PROMPT))


def _ask(gone: Gone, path: str, body: dict[str, object]) -> None:
    url = f"{gone.stage.server.traffic}{path}/chat/completions?{QUERY}"
    with (
        suppress(httpx2.TransportError),
        httpx2.stream("POST", url, json=body, headers=SENT, trust_env=False) as answer,
    ):
        gone.answers.append(str(answer.headers))
        for part in answer.iter_text():
            gone.answers.append(part)


def _refused_requests(gone: Gone) -> None:
    """What the proxy answers itself, and Gemini's key in the query."""
    traffic = gone.stage.server.traffic
    with httpx2.Client(headers=SENT, trust_env=False) as http:
        for path in (
            "/nothing/here",
            "/v1/../secret",
            f"/v1beta/models/gemini:generateContent?key={CALLERS}",
        ):
            gone.answers.append(http.post(f"{traffic}{path}", json={"contents": []}).text)
        pinned = http.post(
            f"{traffic}/v1/chat/completions",
            json=chat("gpt-4o", UNIT),
            headers={"x-canary-pin": "candidate", "x-canary-pin-token": f"{CALLERS}-pin"},
        )
        assert pinned.status_code == 403
        gone.answers.append(pinned.text)


def test_the_other_provider_sees_its_own_key_and_nothing_of_the_callers(gone: Gone) -> None:
    assert len(gone.other.log.entries) == len(MODELS) * len(FAULTS) * (2 + WELL_AGAIN)
    assert {entry.fault for entry in gone.other.log.entries} == {*FAULTS}
    for entry in gone.other.log.entries:
        assert entry.credentials == {"authorization": f"Bearer {OTHER}"}
        carried = " ".join(f"{name}: {value}" for name, value in entry.headers).replace(OTHER, "")
        assert "planted" not in carried
        assert entry.target.endswith(f"/chat/completions?{KEPT}")


def test_the_baseline_sees_the_callers_key_or_its_own_as_the_config_says(gone: Gone) -> None:
    callers, own = (
        [entry for entry in gone.stage.provider.log.entries if entry.model == baseline]
        for _, _, baseline, _ in MODELS.values()
    )
    assert min(len(callers), len(own)) >= 2 * len(FAULTS)
    assert all(entry.credentials["authorization"] == f"Bearer {CALLERS}" for entry in callers)
    assert all(entry.credentials == {"authorization": f"Bearer {OWN}"} for entry in own)
    asked = {entry.target.partition("?")[2] for entry in own}
    assert asked - {""} == {KEPT}  # the preflight asks without
    assert {entry.target.partition("?")[2] for entry in callers} - {""} == {QUERY}
    assert not any(CALLERS in str(entry.headers) or OTHER in str(entry.headers) for entry in own)
    assert not any(OTHER in str(entry.headers) or OWN in str(entry.headers) for entry in callers)


def test_no_secret_unit_or_prompt_stands_in_anything_canary_wrote_or_said(gone: Gone) -> None:
    stage = gone.stage
    requests = len(stage.provider.log.entries) + len(gone.other.log.entries)
    exchanges = len(MODELS) * len(FAULTS) * (2 * len(ARMS) + WELL_AGAIN)
    refused_pins = 1
    eventually(lambda: len([row for row in stage.outcomes() if row["canary"]]) == exchanges + refused_pins)
    said = {
        "answers": "".join(gone.answers).encode(),
        "metrics": httpx2.get(f"{stage.server.admin}/metrics", trust_env=False).content,
        "status": stage.api("GET", "/api/status").content,
        "audit": stage.api("GET", "/api/audit").content,
        "page": stage.api("GET", "/").content,
        "report": stage.api("GET", "/api/canaries/own-key/report?form=html").content,
        "log": stage.server.log_file.read_bytes(),
    }
    stage.server.stop()
    kept = [path for path in stage.server.data.rglob("*") if path.is_file()]
    assert {"canary.db", "live.json", "plan.json"} <= {path.name for path in kept}
    said |= {str(path.relative_to(stage.server.data)): path.read_bytes() for path in kept}
    print(
        f"\n{requests} upstream requests; searched {sum(map(len, said.values()))} bytes in {len(said)} places"
    )
    assert all(said[place] for place in ("answers", "metrics", "status", "page", "report", "canary.db"))
    assert b"mistral-small" in said["canary.db"]  # text is kept as it is: what is there can be found
    assert [place for place, text in said.items() if b"planted" in text] == []
