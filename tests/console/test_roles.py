"""Who may do what on the admin listener: every route, for everybody, by a table that names each route."""

import asyncio
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, Literal

import httpx2
import pytest
from prometheus_client import CollectorRegistry
from starlette.routing import Route

from bench.benchmark.comparison import COLUMNS
from console.access.guard import TEXTS, Access
from console.app import admin_app, health_app
from records.captures.capture import strictest
from records.store import Store
from records.store.benchmarks import BenchFailures, Benchmarks
from tests.e2e.stage import Stage, on_stage
from tests.verdict.test_releases import a_benchmark

Kind = Literal["open", "page", "texts", "form", "logout", "api", "api order"]
VIEWER = "viewer-token-of-the-tests"

# Who adds a route decides here what it is. `texts` shows captured texts, `form` changes something.
TABLE: Mapping[tuple[str, str], Kind] = {
    ("GET", "/healthz"): "open",
    ("GET", "/readyz"): "open",
    ("GET", "/metrics"): "open",
    ("GET", "/login"): "open",
    ("POST", "/login"): "open",
    ("GET", "/oidc/login"): "open",
    ("GET", "/oidc/callback"): "open",
    ("GET", "/static/{file}"): "open",
    ("POST", "/logout"): "logout",
    ("GET", "/"): "page",
    ("GET", "/audit"): "page",
    ("GET", "/archive"): "page",
    ("GET", "/archive/{key}"): "page",
    ("GET", "/datasets"): "page",
    ("GET", "/issues"): "page",
    ("GET", "/drift"): "page",
    ("GET", "/releases"): "page",
    ("GET", "/releases/{id}"): "page",
    ("GET", "/canaries/{name}/release"): "page",
    ("GET", "/sessions"): "page",
    ("GET", "/sessions/{named:path}"): "page",
    ("GET", "/canaries/{name}"): "page",
    ("GET", "/canaries/{name}/actions"): "page",
    ("GET", "/canaries/{name}/events"): "page",
    ("GET", "/canaries/{name}/figures"): "page",
    ("GET", "/canaries/{name}/judge"): "page",
    ("GET", "/canaries/{name}/plan"): "page",
    ("GET", "/canaries/{name}/report"): "page",
    ("GET", "/canaries/{name}/course"): "page",
    ("GET", "/canaries/{name}/score"): "page",
    ("GET", "/compare"): "page",
    ("GET", "/canaries/{name}/advice"): "page",
    ("GET", "/canaries/{name}/verdict"): "page",
    ("GET", "/canaries/{name}/why"): "page",
    ("GET", "/canaries/{name}/pairs"): "texts",
    ("GET", "/canaries/{name}/label"): "texts",
    ("GET", "/datasets/{name}/label"): "texts",
    ("GET", "/issues/new"): "texts",
    ("GET", "/issues/wrong"): "texts",
    ("POST", "/issues"): "form",
    ("POST", "/canaries/{name}/label"): "form",
    ("POST", "/canaries/{name}/decide"): "form",
    ("POST", "/standing/{name}/begin"): "form",
    ("POST", "/standing/{name}/revert"): "form",
    ("POST", "/canaries/{name}/preflight"): "form",
    ("POST", "/canaries/{name}/{order}"): "form",
    ("POST", "/datasets/{name}/label"): "form",
    ("GET", "/api/status"): "api",
    ("GET", "/api/explain"): "api",
    ("GET", "/api/audit"): "api",
    ("GET", "/api/callers"): "api",
    ("GET", "/api/compare"): "api",
    ("GET", "/api/releases"): "api",
    ("GET", "/api/releases/{which:path}"): "api",
    ("GET", "/api/canaries/{name}/report"): "api",
    ("GET", "/api/canaries/{name}/reports"): "api",
    ("GET", "/api/canaries/{name}/rollbacks"): "api",
    ("POST", "/api/canaries/{name}/decide"): "api order",
    ("POST", "/api/canaries/{name}/preflight"): "api order",
    ("POST", "/api/canaries/{name}/end"): "api order",
    ("POST", "/api/standing/{name}/begin"): "api order",
    ("POST", "/api/standing/{name}/revert"): "api order",
    ("POST", "/api/canaries/{name}/{order}"): "api order",
}

WHO = ("nobody", "wrong", "viewer", "viewer's session", "admin", "operator's session")

# What each of WHO gets. 401: who are you? 403: not as a viewer. 0: let in.
MAY: Mapping[Kind, tuple[int, ...]] = {
    "open": (0, 0, 0, 0, 0, 0),
    "page": (401, 401, 0, 0, 0, 0),
    "texts": (401, 401, 403, 403, 0, 0),
    "form": (401, 401, 403, 403, 0, 0),
    "logout": (401, 401, 0, 0, 0, 0),
    "api": (401, 401, 0, 401, 0, 401),
    "api order": (401, 401, 403, 401, 0, 401),
}

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
canaries:
  - name: support-nov
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: gpt-4o-2024-08-06}}
    candidate: {{provider: openai, model: gpt-4o-2024-11-20}}
    share: 5%
    capture: {{rate: 10%}}
    mirror: 5%
"""
NAMES = {
    "name": "support-nov",
    "order": "rollback",
    "key": "0",
    "file": "page.css",
    "id": "0",
    "which": "0",
    "named": "0",
}


def routes() -> set[tuple[str, str]]:
    """(method, path) of every route of the whole admin app."""
    nobody: Any = None
    access = Access(admin_token=lambda: None, metrics_token=lambda: None, loopback=True)
    found = admin_app(nobody, CollectorRegistry(), access).routes
    assert all(isinstance(each, Route) for each in found)  # a mount would need a look of its own
    return {
        (method, each.path)
        for each in found
        if isinstance(each, Route)
        for method in (each.methods or set()) - {"HEAD"}
    }


def test_every_route_of_the_app_is_in_the_table_and_no_other() -> None:
    assert routes() == set(TABLE)


def test_the_routes_that_show_texts_are_those_of_the_guard() -> None:
    assert {path for (_, path), kind in TABLE.items() if kind == "texts"} == TEXTS


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    env = {"CANARY_VIEWER_TOKEN": VIEWER}
    with on_stage(tmp_path_factory.mktemp("roles"), CONFIG, env=env) as up:
        yield up


def hidden(page: str) -> dict[str, str]:
    """The hidden fields of a page's forms."""
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))


def entered(stage: Stage, token: str) -> httpx2.Client:
    """A browser with a session that began with this token."""
    browser = httpx2.Client(base_url=stage.server.admin, trust_env=False, timeout=30.0)
    form = hidden(browser.get("/login").text)
    assert browser.post("/login", data={**form, "token": token}).status_code == 303
    return browser


@pytest.fixture(scope="module")
def people(stage: Stage) -> Iterator[Mapping[str, httpx2.Client]]:
    def with_token(token: str) -> httpx2.Client:
        headers = {"authorization": f"Bearer {token}"}
        return httpx2.Client(base_url=stage.server.admin, headers=headers, trust_env=False, timeout=30.0)

    found = {
        "nobody": httpx2.Client(base_url=stage.server.admin, trust_env=False, timeout=30.0),
        "wrong": with_token("guessed"),
        "viewer": with_token(VIEWER),
        "viewer's session": entered(stage, VIEWER),
        "admin": with_token(stage.server.token),
        "operator's session": entered(stage, stage.server.token),
    }
    yield found
    for each in found.values():
        each.close()


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize(("method", "path"), sorted(TABLE))
def test_each_role_may_what_the_table_says(
    people: Mapping[str, httpx2.Client], method: str, path: str, who: str
) -> None:
    filled = path.replace(":path}", "}").format(**NAMES)
    body = {"json": {}} if path.startswith("/api/") and method == "POST" else {}
    if path == "/api/canaries/{name}/{order}":
        filled = filled.replace("rollback", "explode")  # an operator would be obeyed
    with people[who].stream(method, filled, **body) as answer:
        text = "" if path.endswith("/events") and answer.status_code == 200 else answer.read().decode()
    refused = answer.status_code == 401 or (answer.status_code == 403 and "A viewer may" in text)
    assert (answer.status_code if refused else 0) == MAY[TABLE[method, path]][WHO.index(who)]
    if refused and answer.status_code == 403:
        assert "operator&#39;s token" in text or "operator's token" in text
    if path.startswith("/api/"):
        assert answer.headers["content-type"] == "application/json" or not refused


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ["/", "/api/status", "/canaries/support-nov/pause", "/nothing"])
def test_a_viewer_s_other_methods_are_refused_too(
    people: Mapping[str, httpx2.Client], method: str, path: str
) -> None:
    assert people["viewer"].request(method, path).status_code == 403


@pytest.mark.parametrize(
    "path", ["/canaries/support-nov/pairs", "/canaries/x%2Fy/pairs", "/datasets/a/label", "/canaries/a/label"]
)
def test_head_shows_a_viewer_no_more_than_get(people: Mapping[str, httpx2.Client], path: str) -> None:
    for who in ("viewer", "viewer's session"):
        wanted = 403 if "%2F" not in path else 404
        assert people[who].head(path).status_code == people[who].get(path).status_code == wanted


def test_a_viewer_sees_no_way_to_orders_and_texts(people: Mapping[str, httpx2.Client]) -> None:
    seen, whole = (
        people[who].get("/canaries/support-nov").text for who in ("viewer's session", "operator's session")
    )
    assert ("<dialog" in whole, "/pairs" in whole) == (True, True)
    assert ("<dialog" in seen, "/pairs" in seen) == (False, False)
    assert "Orders need the operator&#39;s token" in seen or "Orders need the operator's token" in seen
    assert "(viewer)" in seen
    assert "(viewer)" not in whole


def test_a_viewer_s_orders_change_nothing(stage: Stage, people: Mapping[str, httpx2.Client]) -> None:
    token = hidden(people["viewer's session"].get("/").text)["form_token"]
    form = {"form_token": token, "who": "eve", "reason": "because", "seen": ""}
    for path in ("/canaries/support-nov/rollback", "/api/canaries/support-nov/rollback"):
        for who in ("viewer", "viewer's session"):
            assert people[who].post(path, data=form).status_code in (401, 403)
    assert stage.status("support-nov")["state"] == "running"
    assert all(each["who"] != "eve" for each in stage.api("GET", "/api/audit").json())


def test_a_viewer_logs_out(stage: Stage) -> None:
    with closing(entered(stage, VIEWER)) as browser:
        cookie = browser.cookies["canary_session"]
        assert browser.post("/logout", data=hidden(browser.get("/").text)).headers["location"] == "/login"
        assert browser.get("/", headers={"cookie": f"canary_session={cookie}"}).status_code == 401


def test_a_wrong_token_is_told_which_would_be_right(stage: Stage) -> None:
    with httpx2.Client(base_url=stage.server.admin, trust_env=False, timeout=30.0) as browser:
        page = browser.get("/login").text
        assert "Admin token, or viewer token" in page
        wrong = browser.post("/login", data={**hidden(page), "token": "guessed"})
        assert (wrong.status_code, "neither the admin token nor the viewer token" in wrong.text) == (
            403,
            True,
        )


@pytest.mark.parametrize(
    ("token", "status"), [(None, 401), ("guessed", 401), ("m", 200), (VIEWER, 200), ("token", 200)]
)
def test_metrics_and_health_of_any_process_open_to_a_viewer(token: str | None, status: int) -> None:
    access = Access(
        admin_token=lambda: "token",
        metrics_token=lambda: "m",
        viewer_token=lambda: VIEWER,
        loopback=True,
    )
    nobody: Any = None
    apps = [health_app(list, CollectorRegistry(), access), admin_app(nobody, CollectorRegistry(), access)]
    headers = {"authorization": f"Bearer {token}"} if token is not None else {}

    async def ask(app: Any, path: str) -> int:
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return (await client.get(path, headers=headers)).status_code

    found = {asyncio.run(ask(app, path)) for app in apps for path in ("/metrics", "/healthz")}
    assert found == {status}


@pytest.mark.parametrize("reader", ["vendor", "finance", "team"])
def test_a_viewer_reads_a_release_s_documents_without_texts(
    people: Mapping[str, httpx2.Client], reader: str
) -> None:
    (release,) = people["admin"].get("/api/releases").json()["releases"]
    asked = f"/releases/{release['id']}?for={reader}"
    for who in ("viewer", "viewer's session", "admin", "operator's session"):
        here = asked if "session" in who else f"/api{asked}"
        assert people[who].get(here).status_code == 200
        assert people[who].get(f"{here}&texts=1").status_code == (403 if "viewer" in who else 200)
    file = people["viewer's session"].get(f"{asked}&form=markdown")
    assert file.headers["content-disposition"] == f"attachment; filename=release-{release['id']}-{reader}.md"
    assert people["admin"].get(f"/api{asked}&form=pdf").status_code == 400
    assert people["admin"].get("/api/releases/0?for=everybody").status_code == 400


def test_a_viewer_reads_a_release_without_its_wrong_answers(
    stage: Stage, people: Mapping[str, httpx2.Client]
) -> None:
    (release,) = people["admin"].get("/api/releases").json()["releases"]
    baseline, candidate = (
        f"{release[each]['provider']}/{release[each]['model']}" for each in ("baseline", "candidate")
    )
    row = dict.fromkeys(COLUMNS, "") | {"dataset": "support", "id": "r-17", "asked": "Where is Kiel?"}
    with closing(Store.open("sqlite:///canary.db", stage.server.data)) as store:
        made = Benchmarks(store).add(
            a_benchmark("ship"), baseline=baseline, candidate=candidate, at=time.time()
        )
        BenchFailures(store).add(made, [row], strictest(()), now=time.time())
    for who in ("viewer", "viewer's session", "admin", "operator's session"):
        here = f"/releases/{release['id']}" if "session" in who else f"/api/releases/{release['id']}"
        assert ("Where is Kiel?" in people[who].get(here).text) == ("viewer" not in who)
