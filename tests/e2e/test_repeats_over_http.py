"""A question that is asked again in its session, through the real server, and what is stored of it."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import httpx2
import pytest

from tests.e2e.planted import holding
from tests.e2e.stage import Stage, on_stage
from tests.serving import eventually

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
  anthropic: {{api: anthropic, base_url: "{url}"}}
  gemini: {{api: gemini, base_url: "{url}"}}
canaries:
  - name: counted
    match: {{models: [counted]}}
    baseline: {{provider: openai, model: old}}
    candidate: {{provider: openai, model: new}}
    share: 50%
    guardrails: []
    rubric: [{{metric: session_repeats, acceptable: "< 10%", ideal: "< 5%", weight: 1, question: "Again?"}}]
  - name: claude
    match: {{models: [claude]}}
    baseline: {{provider: anthropic, model: old}}
    candidate: {{provider: anthropic, model: new}}
    share: 50%
    guardrails: []
    rubric: [{{metric: session_repeats, acceptable: "< 10%", ideal: "< 5%", weight: 1, question: "Again?"}}]
  - name: gem
    match: {{models: [gem]}}
    baseline: {{provider: gemini, model: old}}
    candidate: {{provider: gemini, model: new}}
    share: 50%
    guardrails: []
    rubric: [{{metric: session_repeats, acceptable: "< 10%", ideal: "< 5%", weight: 1, question: "Again?"}}]
  - name: uncounted
    match: {{models: [uncounted]}}
    baseline: {{provider: openai, model: old}}
    candidate: {{provider: openai, model: new}}
    share: 50%
    guardrails: []
"""
PLANTED = "Where is my plum-coloured parcel"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with on_stage(tmp_path_factory.mktemp("repeats"), CONFIG) as up:
        yield up


def said(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def request(api: str, text: str) -> tuple[str, dict[str, Any]]:
    """A path and a body that ask this."""
    shapes = {
        "chat": ("/v1/chat/completions", {"model": "counted", "messages": said(text)}),
        "responses": ("/v1/responses", {"model": "counted", "input": text, "store": False}),
        "anthropic": ("/v1/messages", {"model": "claude", "max_tokens": 9, "messages": said(text)}),
        "gemini": ("/v1beta/models/gem:generateContent", {"contents": [{"parts": [{"text": text}]}]}),
        "uncounted": ("/v1/chat/completions", {"model": "uncounted", "messages": said(text)}),
    }
    return shapes[api]


def ask(stage: Stage, api: str, text: str, session: str) -> None:
    path, body = request(api, text)
    headers = {
        "x-canary-session": session,
        "x-canary-unit": session,
        "authorization": "Bearer sk",
        "x-api-key": "sk",
        "x-goog-api-key": "sk",
        "anthropic-version": "2023-06-01",
    }
    if api != "anthropic":
        del headers["x-api-key"], headers["anthropic-version"]
    if api != "gemini":
        del headers["x-goog-api-key"]
    answer = httpx2.post(f"{stage.server.traffic}{path}", json=body, headers=headers)
    assert answer.status_code == 200, answer.text


def sessions(stage: Stage, exchanges: int) -> list[tuple[int, int]]:
    """(exchanges, repeats) of every session with so many exchanges."""
    with closing(sqlite3.connect(f"file:{stage.server.data / 'canary.db'}?mode=ro", uri=True)) as database:
        query = "SELECT exchanges, repeats FROM sessions WHERE exchanges = ?"
        return database.execute(query, (exchanges,)).fetchall()


@pytest.mark.parametrize(("api", "asked"), [("chat", 4), ("responses", 5), ("anthropic", 6), ("gemini", 7)])
def test_a_question_asked_again_is_counted_in_its_session(stage: Stage, api: str, asked: int) -> None:
    ask(stage, api, f"{PLANTED}?", f"{api}-1")
    ask(stage, api, f"{PLANTED.upper()}?!", f"{api}-1")
    for number in range(asked - 2):
        ask(stage, api, f"and another thing, number {number}", f"{api}-1")
    ask(stage, api, f"{PLANTED}?", f"{api}-2")
    assert eventually(lambda: sessions(stage, asked)) == [(asked, 1)]


def test_nobody_counts_where_the_rubric_does_not_ask(stage: Stage) -> None:
    for _ in range(9):
        ask(stage, "uncounted", f"{PLANTED}?", "uncounted-1")
    assert eventually(lambda: sessions(stage, 9)) == [(9, 0)]


def test_a_session_is_a_row_of_an_export_with_what_its_steps_used(stage: Stage) -> None:
    for number in range(11):
        ask(stage, "uncounted", f"step {number}", "agent-1")
    assert eventually(lambda: sessions(stage, 11))
    export = ("records", "export", "--what", "sessions", "--canary", "uncounted")
    done = stage.canary(*export, "--config", str(stage.server.config), "-o", "json")
    (row,) = [each for each in json.loads(done.stdout) if each["exchanges"] == 11]
    assert (row["tokens_n"], row["abandoned"], row["faulty"]) == (11, False, 0)
    assert row["tokens_sum"] > 0 and row["first_at"] < row["last_at"]


def test_the_question_itself_is_nowhere(stage: Stage) -> None:
    ask(stage, "chat", f"{PLANTED}?", "last")
    assert holding(stage.server.data.rglob("*"), ["plum", "PLUM"]) == []
