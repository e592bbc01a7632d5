"""The API's refusals: JSON whatever was wrong, and a sentence that says what would be right."""

import asyncio
import inspect
import json
from collections.abc import Mapping, Sequence
from typing import Any

import httpx2
import pytest
from prometheus_client import CollectorRegistry

from console.access.guard import Access
from console.app import admin_app, health_app
from control.operator.operator import Operator
from records.store.reports import DailyReport, ReportEntry

ACCESS = Access(admin_token=lambda: "token", metrics_token=lambda: None, loopback=True)
BEARER = {"authorization": "Bearer token"}


class Taking:
    """An admin process that takes every order, and keeps it."""

    def __init__(self) -> None:
        self.taken: list[Mapping[str, Any]] = []

    async def order(
        self,
        canary: str,
        order: str,
        *,
        who: str,
        reason: str,
        share: float | None,
        hard: bool = False,
        against_verdict: bool = False,
        despite_retirement: bool = False,
        minutes: float | None = None,
        stage: str = "",
    ) -> Mapping[str, Any]:
        given = {"who": who, "reason": reason, "share": share, "hard": hard}
        given |= {"against_verdict": True} if against_verdict else {}
        given |= {"despite_retirement": True} if despite_retirement else {}
        self.taken.append({"canary": canary, "order": order, **given})
        return {}

    async def decide(
        self,
        canary: str,
        choice: str,
        *,
        who: str,
        reason: str,
        despite: Sequence[str] = (),
        minutes: float | None = None,
        stage: str = "",
    ) -> Mapping[str, Any]:
        given = {"who": who, "reason": reason, "despite": list(despite)}
        self.taken.append({"canary": canary, "choice": choice, **given})
        return {}

    async def daily_reports(self, canary: str, limit: int) -> Sequence[ReportEntry]:
        made = ReportEntry(canary=canary, run=1, day="2026-11-26", at=1795680000.0, verdict="ship")
        return [made][:limit]

    async def daily_report(self, canary: str, day: str) -> DailyReport:
        return DailyReport(canary=canary, run=1, day=day, at=0.0, verdict="ship", document={"day": day})

    async def audit(self, limit: int, canary: str | None = None) -> list[Mapping[str, Any]]:
        return [{"limit": limit}]

    def status(self, only: str | None = None) -> Mapping[str, Any]:
        raise LookupError("a defect")


def asked(method: str, path: str, body: bytes | None = None, control: Any = None) -> httpx2.Response:
    async def ask(app: Any) -> httpx2.Response:
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.request(method, path, content=body, headers=BEARER)

    taking: Any = control or Taking()
    return asyncio.run(ask(admin_app(taking, CollectorRegistry(), ACCESS)))


@pytest.mark.parametrize("name", ["order", "decide", "audit", "status", "daily_reports", "daily_report"])
def test_the_stand_in_takes_what_the_operator_takes(name: str) -> None:
    ours, real = (inspect.signature(getattr(each, name)).parameters.values() for each in (Taking, Operator))
    assert [(each.name, each.kind) for each in ours] == [(each.name, each.kind) for each in real]


def refusal(method: str, path: str, body: bytes | None = None) -> tuple[int, str]:
    control: Any = Taking()
    answer = asked(method, path, body, control)
    assert control.taken == []
    assert answer.headers["content-type"] == "application/json"
    return answer.status_code, answer.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "status", "says"),
    [
        ("GET", "/api/nope", 404, "there is no /api/nope"),
        ("GET", "/api", 404, "there is no /api"),
        ("POST", "/api/canaries/a/b/decide", 404, "there is no /api/canaries/a/b/decide"),
        ("POST", "/api/status", 405, "/api/status only allows GET, HEAD"),
        ("GET", "/api/canaries/a/pause", 405, "/api/canaries/a/pause only allows POST"),
        ("DELETE", "/api/audit", 405, "/api/audit only allows GET, HEAD"),
    ],
)
def test_what_no_route_takes_is_refused_as_json(method: str, path: str, status: int, says: str) -> None:
    assert refusal(method, path) == (status, says)
    if status == 405:
        allowed = asked(method, path).headers["allow"].split(", ")
        assert sorted(allowed) == says.split("only allows ")[1].split(", ")


def test_a_listener_without_the_api_says_so_as_json() -> None:
    async def ask() -> httpx2.Response:
        app = health_app(list, CollectorRegistry(), ACCESS)
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.get("/api/status", headers=BEARER)

    answer = asyncio.run(ask())
    assert (answer.status_code, answer.json()) == (404, {"error": "there is no /api/status"})


def test_a_page_that_is_not_there_stays_plain_text() -> None:
    answer = asked("GET", "/nope")
    assert (answer.status_code, answer.text) == (404, "Not Found")


def test_a_defect_is_json_too() -> None:
    answer = asked("GET", "/api/status")
    assert (answer.status_code, set(answer.json())) == (500, {"error"})


@pytest.mark.parametrize("limit", ["x", "", "0", "-1", "1001", "²", "9" * 5000])
def test_a_limit_that_is_none_is_refused(limit: str) -> None:
    assert refusal("GET", f"/api/audit?limit={limit}") == (400, "limit must be a number from 1 to 1000")


def test_a_limit_may_be_the_greatest() -> None:
    assert asked("GET", "/api/audit?limit=1000").json() == [{"limit": 1000}]


def test_the_daily_reports_are_small_lines_and_one_is_whole() -> None:
    line = {"canary": "a", "run": 1, "day": "2026-11-26", "at": "2026-11-26T08:00:00.000Z", "verdict": "ship"}
    assert asked("GET", "/api/canaries/a/reports").json() == [line]
    assert asked("GET", "/api/canaries/a/reports?day=2026-11-26").json() == {"day": "2026-11-26"}
    assert refusal("GET", "/api/canaries/a/reports?limit=0")[0] == 400


@pytest.mark.parametrize("share", ["NaN", "Infinity", "-0.1", "1.5", "5", "1" + "0" * 400])
def test_a_share_that_cannot_be_is_refused(share: str) -> None:
    body = f'{{"who": "me", "share": {share}}}'.encode()
    assert refusal("POST", "/api/canaries/a/ramp", body) == (
        400,
        '"share" must be between 0 and 1, for example 0.1 for 10 %',
    )


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"7", b"null", b"\xff\xfe{", b'{"who": 5}', b'{"share": "5%"}', b"[" * 60_000],
    ids=lambda body: repr(body[:12]),
)
def test_a_body_that_is_no_order_is_refused_with_what_is_one(body: bytes) -> None:
    status, says = refusal("POST", "/api/canaries/a/ramp", body)
    assert (status, says[:10]) == (400, "send JSON:")
    status, says = refusal("POST", "/api/canaries/a/decide", body)
    assert (status, says[:10]) == (400, "send JSON:")


def test_a_name_that_is_too_long_is_told_from_what_is_no_order() -> None:
    given = {"who": "x" * 201, "reason": "r", "decision": "ship"}
    for what in ("pause", "decide"):
        found = refusal("POST", f"/api/canaries/a/{what}", json.dumps(given).encode())
        assert found == (400, '"who" may have at most 200 characters')


def test_a_body_without_end_is_not_read_to_its_end() -> None:
    given = json.dumps({"who": "me", "reason": "r" * (64 << 10)}).encode()
    assert refusal("POST", "/api/canaries/a/pause", given) == (413, "an order may have at most 64 KiB")


def test_of_a_long_reason_the_first_two_thousand_characters_are_kept() -> None:
    control: Any = Taking()
    asked(
        "POST", "/api/canaries/a/rollback", json.dumps({"who": "me", "reason": "ü" * 2001}).encode(), control
    )
    assert control.taken == [
        {
            "canary": "a",
            "order": "rollback",
            "who": "me",
            "reason": "ü" * 2000,
            "share": None,
            "hard": False,
        }
    ]
