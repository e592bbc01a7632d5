"""What the traffic listener answers itself: that its work does not hold up the streams beside it."""

import asyncio
import json
import math
import time
from collections.abc import MutableMapping, Sequence
from typing import Any

import pytest
from starlette.requests import Request

from proxy.network.server.endpoints import SLICE, Endpoints
from records.facts.exchange_id import mint
from records.facts.metric import BUILT_IN
from records.outcome import Feedback
from routing.cohort import derive_key

KEY = derive_key(b"secret", "ids")
VALUES = 1000


class Spool:
    """Keeps feedback in memory, at once."""

    def __init__(self) -> None:
        self.kept: list[Feedback] = []

    def append_all(self, records: Sequence[Feedback]) -> bool:
        self.kept += records
        return True

    async def synced(self) -> None:
        return


def values(**changes: Any) -> bytes:
    now = time.time()  # an exchange takes feedback for 90 days
    about = mint(KEY, canary="c", run=1, phase=1, arm="baseline", unit_hash="", at=now, serial=b"12345678")
    value = {"exchange_id": about, "metric": "csat", "value": 4} | changes
    return json.dumps([value] * VALUES).encode()


async def sent(spool: Spool, body: bytes, query: bytes = b"") -> tuple[int, dict[str, Any], int]:
    """Send it: the status, the document, and how many turns the loop gave others until the answer."""
    endpoints = Endpoints(
        spool=spool,
        has_plan=lambda: True,
        metrics=lambda: BUILT_IN,
        mappings=dict,
        token=lambda: None,
        ids_keys=lambda: [KEY],
        troubles=list,
        arm_of=lambda *asked: (404, {}),
        started=0.0,
    )
    messages: list[MutableMapping[str, Any]] = []
    turns, over = 0, False

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        messages.append(message)

    async def others() -> None:
        nonlocal turns
        while not over:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    scope = {"type": "http", "method": "POST", "path": "/canary/feedback", "query_string": query}
    await endpoints.app()(scope | {"headers": []}, receive, send)
    over = True
    await beside
    return messages[0]["status"], json.loads(messages[1]["body"]), turns


@pytest.mark.parametrize("query", [b"", b"check", b"a=1&check=1"])
def test_many_values_are_read_in_slices_with_a_turn_for_everybody_between(query: bytes) -> None:
    spool = Spool()
    status, document, turns = asyncio.run(sent(spool, values(), query))
    assert (status, document) == ((200, {"problems": []}) if query else (202, {"accepted": VALUES}))
    assert len(spool.kept) == (0 if query else VALUES)
    assert turns >= VALUES / SLICE


def test_a_metric_of_megabytes_is_refused_and_nothing_kept() -> None:
    spool = Spool()
    status, document, _ = asyncio.run(
        sent(spool, json.dumps({"metric": "x" * 4_000_000, "value": 1}).encode())
    )
    assert (status, document) == (400, {"error": "metric is longer than 64 characters"})
    assert spool.kept == []


def test_another_parameter_asks_for_no_check() -> None:
    spool = Spool()
    assert asyncio.run(sent(spool, values(), b"recheck=1&checked"))[0] == 202
    assert len(spool.kept) == VALUES


@pytest.mark.parametrize(
    ("has_plan", "troubles", "waited", "status", "text"),
    [
        (True, [], False, 200, "ready"),
        (False, [], False, 503, "waiting for a plan"),
        (False, [], True, 200, "no plan: baseline only"),
        (True, ["no credential for a", "no credential for b"], False, 503, ""),
        (True, ["no credential for a", "no credential for b"], True, 200, ""),
        (False, ["no credential for a"], True, 200, "no plan: baseline only; no credential for a"),
    ],
)
def test_a_worker_is_ready_with_its_plan_and_credentials_or_after_ten_seconds(
    has_plan: bool, troubles: list[str], waited: bool, status: int, text: str
) -> None:
    endpoints = Endpoints(
        spool=Spool(),
        has_plan=lambda: has_plan,
        metrics=lambda: BUILT_IN,
        mappings=dict,
        token=lambda: None,
        ids_keys=lambda: [KEY],
        troubles=lambda: troubles,
        arm_of=lambda *asked: (404, {}),
        started=-math.inf if waited else math.inf,
    )
    answer = asyncio.run(endpoints.ready(Request({"type": "http"})))
    expected = text or "degraded: no credential for a; no credential for b"
    assert (answer.status_code, answer.body) == (status, f"{expected}\n".encode())
