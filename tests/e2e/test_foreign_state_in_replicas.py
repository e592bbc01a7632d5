"""A conversation that the candidate began goes on at every replica, until the rollback is made hard."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from demo.provider.behaviour import Behaviour
from demo.provider.server import LocalProvider
from tests.e2e.conversations import Conversation
from tests.e2e.replicas import Fleet, fleet
from tests.servers.postgres import Postgres
from tests.servers.redis import RedisServer
from tests.serving import WAIT_S, ProviderThread

pytestmark = pytest.mark.more  # in several replicas

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1", api_key: sk-baseline}}
  openai-2: {{api: openai, base_url: "{url}/v1", api_key: sk-candidate}}
canaries:
  - name: moves
    match: {{models: [asked]}}
    baseline: {{provider: openai, model: old}}
    candidate: {{provider: openai-2, model: new}}
    share: 50%
    settle: 0s
    guardrails: []
"""


@pytest.fixture
def members(tmp_path: Path, postgres: Postgres, redis_server: RedisServer) -> Iterator[Fleet]:
    provider = LocalProvider(other=Behaviour(words=6, reasoning_tokens=5))
    with ProviderThread(provider) as thread:
        config = CONFIG.format(url=thread.url)
        with fleet(tmp_path, config, store=postgres.fresh(), shared=redis_server.url) as started:
            for role in ("admin", "traffic", "traffic"):
                started.add(role)  # type: ignore[arg-type]
            started.ready(2)
            yield started


def ask(members: Fleet, replica: int, conversation: Conversation) -> httpx2.Response:
    url = members.replicas[replica].traffic
    with httpx2.Client(base_url=str(url), trust_env=False, timeout=WAIT_S) as http:
        return conversation.turn(http)


def roll_back(members: Fleet, *, hard: bool) -> None:
    """Ordered at the leader, and followed by every worker."""
    document = {"who": "ann", "reason": "a test", "hard": hard}
    done = members.leader().ask("POST", "/api/canaries/moves/rollback", document)
    assert done.status_code == 200
    members.ready(2)


def test_a_conversation_goes_on_at_every_replica_until_the_rollback_is_hard(members: Fleet) -> None:
    conversation = Conversation("reasoning", next(members.users("candidate", "moves", 0.5)))
    assert ask(members, 0, conversation).headers["x-canary-arm"] == "candidate"
    roll_back(members, hard=False)
    for replica in (0, 1, 0):
        answer = ask(members, replica, conversation)
        assert answer.status_code == 200
        assert answer.headers["x-canary-arm"] == "baseline"
        assert answer.headers["x-canary-served-by"] == "candidate"
    assert members.status("moves")["arms"]["baseline"]["errors"] == 0
    roll_back(members, hard=True)
    for replica in (0, 1):
        assert ask(members, replica, conversation).status_code == 400
        conversation.history.pop()
