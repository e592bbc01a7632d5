"""Conversations that carry state only its maker can read, as apps hold them: a turn sends all that came."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx2

from demo.provider.connection import REDACT

Form = Literal["reasoning", "stored", "thinking", "redacted", "thoughts", "interaction"]
FORMS: tuple[Form, ...] = ("reasoning", "stored", "thinking", "redacted", "thoughts", "interaction")
CANARY_OF: Mapping[Form, str] = {
    "reasoning": "by-openai",
    "stored": "by-openai",
    "thinking": "by-anthropic",
    "redacted": "by-anthropic",
    "thoughts": "by-gemini",
    "interaction": "by-gemini",
}
CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1", api_key: sk-baseline}}
  openai-2: {{api: openai, base_url: "{url}/v1", api_key: sk-candidate}}
  anthropic: {{api: anthropic, base_url: "{url}", api_key: sk-ant-baseline}}
  anthropic-2: {{api: anthropic, base_url: "{url}", api_key: sk-ant-candidate}}
  gemini: {{api: gemini, base_url: "{url}", api_key: g-baseline}}
  gemini-2: {{api: gemini, base_url: "{url}", api_key: g-candidate}}
canaries:
  - name: by-openai
    match: {{models: [asked]}}
    baseline: {{provider: openai, model: old}}
    candidate: {{provider: openai-2, model: new}}
    ramp: [{{share: 10%, for: 1h}}, {{share: 60%}}]
    settle: 0s
    guardrails: []
  - name: by-anthropic
    match: {{models: [asked]}}
    baseline: {{provider: anthropic, model: old}}
    candidate: {{provider: anthropic-2, model: new}}
    ramp: [{{share: 10%, for: 1h}}, {{share: 60%}}]
    settle: 0s
    guardrails: []
  - name: by-gemini
    match: {{models: [asked]}}
    baseline: {{provider: gemini, model: old}}
    candidate: {{provider: gemini-2, model: new}}
    ramp: [{{share: 10%, for: 1h}}, {{share: 60%}}]
    settle: 0s
    guardrails: []
"""


@dataclass
class Conversation:
    """One user's conversation with a model in one form. `history` is what the next turn sends along."""

    form: Form
    user: str
    stream: bool = False
    model: str = "asked"
    history: list[Any] = field(default_factory=list)
    previous: str | None = None
    answers: list[httpx2.Response] = field(default_factory=list)

    @property
    def broken(self) -> bool:
        """True when the last turn had no answer."""
        return bool(self.answers) and self.answers[-1].status_code != 200

    def turn(self, http: httpx2.Client, text: str = "and then?") -> httpx2.Response:
        """Ask the next question, and remember what the app sends back the next time."""
        path, body = self._request(text)
        answer = http.post(path, json=body, headers=self._headers())
        self.answers.append(answer)
        if answer.status_code == 200:
            self._remember(answer)
        return answer

    def _headers(self) -> dict[str, str]:
        key = {"authorization": "Bearer sk-caller"}
        if self.form in ("thinking", "redacted"):
            key = {"x-api-key": "sk-ant-caller", "anthropic-version": "2023-06-01"}
        if self.form in ("thoughts", "interaction"):
            key = {"x-goog-api-key": "g-caller"}
        return {"x-canary-unit": self.user, **key}

    def _request(self, text: str) -> tuple[str, dict[str, Any]]:
        if self.form == "stored":
            body: dict[str, Any] = {"model": self.model, "input": text, "stream": self.stream}
            return "/v1/responses", body | ({"previous_response_id": self.previous} if self.previous else {})
        if self.form == "interaction":
            body = {"model": self.model, "input": text, "stream": self.stream}
            return "/v1beta/interactions", body | (
                {"previous_interaction_id": self.previous} if self.previous else {}
            )
        if self.form == "thoughts":
            self.history.append({"role": "user", "parts": [{"text": text}]})
            method = "streamGenerateContent?alt=sse" if self.stream else "generateContent"
            return f"/v1beta/models/{self.model}:{method}", {"contents": self.history}
        if self.form == "reasoning":
            self.history.append({"role": "user", "content": text})
            asks: dict[str, Any] = {"store": False, "include": ["reasoning.encrypted_content"]}
            return "/v1/responses", {
                "model": self.model,
                "input": self.history,
                "stream": self.stream,
                **asks,
            }
        text = f"{text} {REDACT}" if self.form == "redacted" else text
        self.history.append({"role": "user", "content": text})
        limits = {"model": self.model, "max_tokens": 1000, "stream": self.stream}
        return "/v1/messages", {**limits, "messages": self.history}

    def _remember(self, answer: httpx2.Response) -> None:
        if self.form in ("stored", "reasoning"):
            response = _last_event(answer)["response"] if self.stream else answer.json()
            self.previous = response["id"]
            self.history += response["output"]
        elif self.form == "interaction":
            done = _last_event(answer)["interaction"] if self.stream else answer.json()
            self.previous = done["id"]
        elif self.form == "thoughts":
            chunks = list(_events(answer)) if self.stream else [answer.json()]
            parts = [part for chunk in chunks for part in chunk["candidates"][0]["content"]["parts"]]
            self.history.append({"role": "model", "parts": parts})
        else:
            content = _blocks(answer) if self.stream else answer.json()["content"]
            self.history.append({"role": "assistant", "content": content})


def _events(answer: httpx2.Response) -> Iterator[dict[str, Any]]:
    for line in answer.text.splitlines():
        if line.startswith("data: {"):
            yield json.loads(line.removeprefix("data: "))


def _last_event(answer: httpx2.Response) -> dict[str, Any]:
    return list(_events(answer))[-1]


def _blocks(answer: httpx2.Response) -> list[dict[str, Any]]:
    """Anthropic's blocks, put together from their deltas."""
    blocks: list[dict[str, Any]] = []
    for event in _events(answer):
        if event["type"] == "content_block_start":
            blocks.append(event["content_block"])
        elif event["type"] == "content_block_delta":
            for name, piece in event["delta"].items():
                if name != "type":
                    blocks[-1][name] = blocks[-1].get(name, "") + piece
    return blocks
