"""A person signs in with a real browser at a provider of another site; the audit log has the name."""

from collections.abc import Iterator

import httpx2
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.console.chromium import WITHIN_MS, chromium
from tests.e2e.stage import Stage, on_stage
from tests.servers.openid_provider import CLIENT_ID, CLIENT_SECRET, OpenIdServer
from tests.serving import eventually

pytestmark = pytest.mark.more  # in a browser what is held over HTTP

CONFIG = """
providers:
  openai: {{api: openai, base_url: "{url}/v1"}}
canaries:
  - name: support-nov
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: old}}
    candidate: {{provider: openai, model: new}}
    share: 20%
    mirror: 10%
    capture: {{rate: 10%}}
"""
OIDC = """
admin_url: {admin}
oidc:
  issuer: {issuer}
  client_id: {client_id}
  client_secret: {client_secret}
  viewers: [llm-viewers]
  operators: [llm-operators]
"""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The server, which gets `oidc` while it runs."""
    with on_stage(tmp_path_factory.mktemp("oidc"), CONFIG) as up:
        admin = up.server.admin
        with OpenIdServer(f"{admin}/oidc/callback") as provider:
            oidc = OIDC.format(
                admin=admin, issuer=provider.issuer, client_id=CLIENT_ID, client_secret=CLIENT_SECRET
            )
            up.configure(up.config_text + oidc)
            eventually(lambda: "Sign in with SSO" in httpx2.get(f"{admin}/login", trust_env=False).text)
            yield up


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser: Browser, stage: Stage) -> Iterator[Page]:
    context = browser.new_context(base_url=stage.server.admin)
    context.set_default_timeout(WITHIN_MS)
    # The provider's own forms ask for a font of the internet.
    context.route(
        lambda url: "//localhost:" not in url and "//127.0.0.1:" not in url, lambda route: route.abort()
    )
    yield context.new_page()
    context.close()


def sign_in(page: Page, person: str) -> None:
    """From a page of the console through the provider's forms back to it."""
    page.goto("/canaries/support-nov")
    page.get_by_role("link", name="Sign in with SSO").click()
    page.locator("input[name=login]").fill(person)
    page.locator("input[name=password]").fill("any")
    page.get_by_role("button", name="Sign-in").click()
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("heading", name="support-nov")).to_be_visible()


def test_an_operator_s_order_has_the_own_name_in_the_audit_log(page: Page, stage: Stage) -> None:
    sign_in(page, "ann")
    assert page.url == f"{stage.server.admin}/canaries/support-nov"
    page.get_by_role("button", name="Pause…").click()
    name = page.get_by_role("dialog").get_by_label("Your name")
    expect(name).to_have_value("Ann Operator (ann@example.com)")
    expect(name).not_to_be_editable()
    name.evaluate("field => { field.value = 'eve' }")  # as somebody would who wants another name there
    page.get_by_role("dialog").get_by_label("Reason").fill("a holiday")
    page.get_by_role("dialog").get_by_role("button", name="Pause", exact=True).click()
    expect(page.get_by_text("Paused, share 20")).to_be_visible()
    newest = stage.api("GET", "/api/audit").json()[0]
    assert (newest["action"], newest["who"], newest["reason"]) == (
        "pause",
        "Ann Operator (ann@example.com)",
        "a holiday",
    )
    page.get_by_role("dialog").get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("link", name="Sign in with SSO")).to_be_visible()


def test_labels_have_the_own_name_too(page: Page) -> None:
    sign_in(page, "ann")
    page.goto("/canaries/support-nov/label?who=eve")
    expect(page.get_by_text("You are Ann Operator (ann@example.com)")).to_be_visible()


def test_a_viewer_sees_the_page_without_orders_and_no_texts(page: Page) -> None:
    sign_in(page, "ben")
    expect(page.get_by_text("Orders need the operator's token")).to_be_visible()
    expect(page.get_by_role("button", name="Roll back…")).to_have_count(0)
    answer = page.goto("/canaries/support-nov/pairs")
    assert answer is not None
    assert answer.status == 403
    expect(page.get_by_text("A viewer may not read captured texts.")).to_be_visible()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_role("link", name="Sign in with SSO")).to_be_visible()
