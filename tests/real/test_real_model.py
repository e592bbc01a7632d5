"""A real model behind the real server: two settings of one small model as baseline and candidate.

`make test-real` runs this; the local provider of the other tests only plays a model.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.e2e.stage import Stage, on_stage
from tests.servers.small_model import small_model
from tests.serving import eventually

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(1800)]

CONFIG = """
providers:
  today: {{api: openai, base_url: "BASELINE/v1"}}
  own:   {{api: openai, base_url: "CANDIDATE/v1", api_key: sk-own}}
canaries:
  - name: own-model
    match: {{models: [smollm2]}}
    baseline:  {{provider: today, model: smollm2}}
    candidate: {{provider: own, model: smollm2-own, request: {{set: SETTING}}}}
    share: 50%
    minimum_days: 0
    rubric:
      - {{metric: error_rate, acceptable: "< 10%", ideal: "< 5%", weight: 60, question: "Does it work?"}}
      - {{metric: thumbs, acceptable: "> 50%", ideal: "> 90%", weight: 40, question: "Do users like them?"}}
prices:
  smollm2: {{input: 0.1, output: 0.4}}
  smollm2-own: {{input: 0.05, output: 0.2}}
"""
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
USERS = 240
"""With half of them in each arm, more than the hundred that a verdict needs."""
AT_ONCE = 4
SECRET = "a-secret-of-the-tests-of-a-real-model-01234"


@dataclass(frozen=True)
class Asked:
    """One answer as the app saw it."""

    text: str
    finish: str | None
    total_tokens: int | None
    exchange: str


class App:
    """An app on OpenAI's SDK. Its users ask in turn for a stream, an answer and an answer in JSON."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.sdk = openai.OpenAI(
            base_url=f"{stage.server.traffic}/v1", api_key="sk-caller", max_retries=0, timeout=120.0
        )

    def ask(self, number: int) -> Asked:
        """Ask once for user `number % USERS`."""
        asked = (self.stream, self.whole, self.in_json)[number % 3](f"user-{number % USERS}")
        self.thank(asked.exchange)
        return asked

    def stream(self, user: str) -> Asked:
        """Ask for a stream, as most chats do. The app does not ask for usage, so it gets none."""
        with self.sdk.chat.completions.with_streaming_response.create(
            model="smollm2", messages=_says("Say hello to me."), max_tokens=24, user=user, stream=True
        ) as response:
            chunks = [*response.parse()]
            assert all(chunk.usage is None and chunk.choices for chunk in chunks)
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
            finish = chunks[-1].choices[0].finish_reason
            return Asked(text, finish, None, response.headers["x-canary-exchange"])

    def whole(self, user: str) -> Asked:
        """Ask for a whole answer."""
        return self._asked(messages=_says("Name one colour of the sky."), max_tokens=24, user=user)

    def in_json(self, user: str) -> Asked:
        """Ask for JSON of a schema."""
        form = {"type": "json_schema", "json_schema": {"name": "place", "schema": CITY, "strict": True}}
        question = _says("The tower is in Paris. Which city is it in?")
        return self._asked(messages=question, max_tokens=24, user=user, response_format=form)

    def thank(self, exchange: str) -> None:
        """Report a thumb up for an exchange."""
        document = {"exchange_id": exchange, "metric": "thumbs", "value": 1}
        answer = self.sdk._client.post(f"{self.stage.server.traffic}/canary/feedback", json=document)
        assert answer.status_code == 202, answer.text

    def _asked(self, **request: Any) -> Asked:
        raw = self.sdk.chat.completions.with_raw_response.create(model="smollm2", **request)
        answer = raw.parse()
        choice, usage = answer.choices[0], answer.usage
        tokens = usage.total_tokens if usage is not None else None
        return Asked(
            choice.message.content or "", choice.finish_reason, tokens, raw.headers["x-canary-exchange"]
        )


def _says(text: str) -> Any:
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[str, str]]:
    """The model twice: as the app's provider, and as the team's own server."""
    with small_model() as baseline, small_model() as candidate:
        yield baseline, candidate


@pytest.fixture
def tried(request: pytest.FixtureRequest, servers: tuple[str, str], tmp_path: Path) -> Iterator[App]:
    """The app before a canary whose candidate gets its requests with `request.param` set."""
    config = CONFIG.replace("BASELINE", servers[0]).replace("CANDIDATE", servers[1])
    with on_stage(tmp_path, config.replace("SETTING", request.param), env={"CANARY_SECRET": SECRET}) as stage:
        app = App(stage)
        with app.sdk:
            yield app


def ask_all(app: App, end: int, *, first: int = 0, ask: Callable[[str], Asked] | None = None) -> list[Asked]:
    """The answers to requests `first` to `end`, four at a time; `ask` instead of the three kinds in turn."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        if ask is None:
            return [*pool.map(app.ask, range(first, end))]
        return [*pool.map(ask, [f"user-{number}" for number in range(first, end)])]


def stored(app: App, asked: list[Asked]) -> list[dict[str, Any]]:
    """The outcomes of these requests, once the store has them."""
    wanted = {each.exchange for each in asked}

    def all_there() -> list[dict[str, Any]] | None:
        found = [row for row in app.stage.outcomes() if row["exchange_id"] in wanted]
        return found if len(found) == len(wanted) else None

    return eventually(all_there)


@pytest.mark.parametrize("tried", ["{{temperature: 0.3, top_p: 0.9}}"], indirect=True)
def test_a_real_candidate_goes_from_its_first_request_to_the_report(tried: App) -> None:
    asked = ask_all(tried, USERS)
    assert all(each.text.strip() for each in asked)
    rows = stored(tried, asked)
    arms = {arm: [row for row in rows if row["arm"] == arm] for arm in ("baseline", "candidate")}
    print({arm: len(of) for arm, of in arms.items()})
    assert min(map(len, arms.values())) >= 100
    for row in rows:
        assert (row["outcome"], row["error_type"], row["status"]) == ("ok", None, 200)
        assert row["adapted"] == (row["arm"] == "candidate")
        assert row["input_tokens"] > 0
        assert row["output_tokens"] > 0
        assert row["cost_usd"] > 0
        assert row["finish"] in ("stop", "length")
        assert (row["ttft_s"] is not None) == row["stream"]
    by_exchange = {row["exchange_id"]: row for row in rows}
    for each in asked:
        row = by_exchange[each.exchange]
        assert each.finish == row["finish"]
        if each.total_tokens is not None:
            assert row["input_tokens"] + row["output_tokens"] == each.total_tokens
    judged = [row for row in rows if row["output_check"] == "judged"]
    assert len(judged) == USERS // 3  # llama.cpp holds the model to the schema
    assert all("json" not in row["faults"] for row in judged if row["finish"] == "stop")
    report = tried.stage.canary("report", "own-model", "--config", str(tried.stage.server.config))
    print(report.stdout)
    assert report.returncode == 0, report.stderr
    assert report.stdout.startswith("Ship")


@pytest.mark.parametrize("tried", ["{{max_tokens: 4}}"], indirect=True)
def test_a_real_candidate_that_cuts_its_answers_off_is_rolled_back(tried: App) -> None:
    asked = 0
    while tried.stage.status("own-model")["state"] != "rolled_back":
        assert asked < USERS, tried.stage.status("own-model")["guardrails"]
        ask_all(tried, asked + AT_ONCE, first=asked, ask=tried.in_json)
        asked += AT_ONCE
    why = eventually(lambda: tried.stage.status("own-model")["rollback"])
    print(f"at most 4 tokens: rolled back by {why['rule']} after {asked} requests of both arms")
    assert why["rule"] == "invalid_output"
