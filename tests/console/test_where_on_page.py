"""Where it hurts and what the provider said, as a person reads it on the page and in the terminal."""

import io
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page
from rich.console import Console

import console
from alerts.incidents.rollback import ArmFigures, FailureSample, RollbackEvidence, RuleThen
from alerts.rules.places import CandidateError
from common.concentration import Concentration, FailingPart
from console.access.session import Person
from console.rendering import Templates
from pages.status.overview import line, table, wanted
from pages.status.standing import arm_rows, standing
from pages.status.terminal import picture
from tests.console.chromium import chromium
from tests.console.test_standing import INTERVALS
from tests.console.test_standing import canary as running

NOW = 1_800_000_000.0
CSS = (Path(console.__file__).parent / "static" / "page.css").read_text()
PLACE = "12 of 12 failing exchanges are in category refund (5 % of the traffic)"
RULE = f"candidate: 12 of 240 outcomes failed (5.0 %, limit 1.0 %); baseline: 0 of 900 (0.0 %); {PLACE}"
LONG = (
    "Unsupported parameter: 'max_tokens' & <b>"
    + "m" * 150
    + "</b> is not supported with this model; try again."
)
SAID = CandidateError(
    status=400,
    error_type="candidate_rejects",
    code="unsupported_parameter",
    type="invalid_request_error",
    param="max_tokens",
    message=LONG[:200],
    at=NOW - 120.0,
)
WHERE = Concentration(parts=(FailingPart("category", "refund", 12, 12, 0.05),))
RECENT = {"counted": 240, "errors": 12}
STANDING = {
    "name": "support", "canary": "support-gpt-4o", "held_back": None, "others": 0.0,
    "despite_retirement": None, "ends_with_it": [],
}  # fmt: skip
ARM = {**RECENT, "last_ten_minutes": RECENT, "intervals": INTERVALS}


def document(**changed: Any) -> dict[str, Any]:
    rule = {
        "rule": "error_rate", "state": "firing", "action": "rollback", "value": 0.05, "threshold": 0.01,
        "evidence": {}, "sentence": RULE, "where": WHERE.document,
    }  # fmt: skip
    own = {
        "actual_share": 0.05, "mirror": None, "open_incident": None, "captures": False, "rollback": None,
        "base_path": "", "unpriced": [], "lane": None, "promoted_by": "one_person", "promote_asked": None,
        "where": WHERE.document, "where_sentence": WHERE.sentence, "guardrails": [rule],
        "provider_error": {
            "status": 400, "error_type": "candidate_rejects", "code": SAID.code, "type": SAID.type,
            "param": SAID.param, "message": SAID.message, "at": SAID.at, "sentence": SAID.sentence,
        },
    }  # fmt: skip
    return running() | own | changed


def shown(canary: dict[str, Any]) -> dict[str, Any]:
    return {
        "canary": canary, "standing": standing(canary), "rows": arm_rows(canary["arms"]),
        "verdict": None, "failures": why().failures, "sharing": [], "audit": [], "texts": [],
        "now": NOW, "form_token": "", "asked": None, "retirements": [],
    }  # fmt: skip


def table_of(*canaries: dict[str, Any]) -> dict[str, Any]:
    """What the overview takes of these canaries, none of which has a report, with their cards unfolded."""
    lines = [line(each, standing(each), None, None, NOW) for each in canaries]
    asked = wanted({"open": ",".join(each["name"] for each in canaries)})
    return {"table": table(lines, asked), "unreported": lines[:1]}


def why() -> RollbackEvidence:
    then = RuleThen(
        rule="error_rate", state="latched", sentence=RULE, value=0.05, threshold=0.01, evidence={}, path=(),
        where=WHERE,
    )  # fmt: skip
    arm = ArmFigures(exchanges=240, failed=12, p95_s=None, mean_cost_usd=None)
    return RollbackEvidence(
        canary="support-nov", run=1, rule="error_rate", who="guardrail error_rate", reason=RULE,
        at=NOW - 60.0,
        rules=(then,), arms={"baseline": arm, "candidate": arm}, share_before=0.05, share_after=0.0,
        failures=(FailureSample("x-1", NOW - 99.0, "candidate_rejects", 200, SAID.message),), where=WHERE,
        provider_error=SAID,
    )  # fmt: skip


def html(template: str, **changed: Any) -> str:
    return Templates().text(template, values_of(**changed))


def values_of(**changed: Any) -> dict[str, Any]:
    """What any of the pages takes, of one canary."""
    canary = document(**changed)
    values = shown(canary) | {"whole": False, "degraded": [], "audit": []}
    values |= table_of(canary)
    values |= {
        "unmatched": "",
        "traffic": [],
        "laneless": "4 of 9 in no lane",
        "callers": {"callers": []},
        "past": [],
        "standing_canaries": [(STANDING, "standing, gpt-4o in force")],
        "next_candidates": {"support": "The candidate takes over nothing."},
        "person": Person(role="operator"),
    }
    values |= {
        "models": "gpt-4o → gpt-5",
        "why": why(),
        "said": document()["provider_error"],
        "course": None,
        "proof": "",
        "runs": [],
        "captured": [each.exchange_id for each in why().failures],
    }
    return values


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


def seen(browser: Browser, text: str, width: int) -> Page:
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.set_content(f"<style>{CSS}</style><main>{text}</main>".replace("<details", "<details open"))
    return page


@pytest.mark.parametrize("template", ["overview.html", "figures.html", "why.html"])
def test_a_person_reads_the_place_and_the_provider_s_own_words(browser: Browser, template: str) -> None:
    page = seen(browser, html(template), 1180)
    text = page.inner_text("body")
    assert PLACE in text
    assert f"candidate rejects: {SAID.message}" in text
    assert "status 400, code unsupported_parameter, type invalid_request_error, param max_tokens" in text
    assert "2 min ago" in text
    page.close()


@pytest.mark.parametrize("width", [320, 1180])
def test_an_arm_without_a_price_is_named_with_what_would_help(browser: Browser, width: int) -> None:
    found = {
        "says": f"the candidate azure/{'m' * 90} has no known price",
        "do": "add `prices: {m: {input: X}}`",
        "canary": "trial",
        "arm": "candidate",
        "provider": "azure",
        "model": "m",
    }
    page = seen(browser, html("figures.html", unpriced=[found]), width)
    text = page.inner_text("body")
    assert found["says"] in text
    assert found["do"] in text
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert "No price" not in html("figures.html")
    page.close()


@pytest.mark.parametrize("template", ["overview.html", "figures.html", "why.html"])
@pytest.mark.parametrize("width", [320, 390, 1180])
def test_two_hundred_characters_without_a_space_fit_every_screen(
    browser: Browser, template: str, width: int
) -> None:
    long = document()["provider_error"] | {
        "message": "x" * 200,
        "sentence": f"candidate rejects: {'x' * 200}",
    }
    page = seen(browser, html(template, provider_error=long, where_sentence="y" * 200), width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


@pytest.mark.parametrize("template", ["overview.html", "figures.html", "why.html"])
def test_quotes_stay_quotes_and_markup_stays_text(template: str) -> None:
    source = html(template)
    assert "Unsupported parameter: 'max_tokens' &amp; &lt;b&gt;" in source
    assert "&amp;lt;" not in source
    assert "<b>m" not in source


def test_a_place_that_the_sentence_names_does_not_stand_there_twice() -> None:
    rolled_back = document(state="rolled_back", reason=RULE)
    assert standing(rolled_back).where == ""
    assert PLACE in standing(rolled_back).sentence
    later = document(state="rolled_back", reason=RULE, where_sentence=PLACE.replace("12 of 12", "14 of 14"))
    assert standing(later).where == ""
    assert standing(document()).where == f"{PLACE}."


def test_a_canary_without_failures_says_nothing_of_them() -> None:
    source = html("figures.html", where=[], where_sentence="", provider_error=None, guardrails=[])
    assert "failing exchanges" not in source
    assert "newest error" not in source


def test_the_terminal_shows_both() -> None:
    out = Console(file=io.StringIO(), width=250, color_system=None)
    arm = {
        "requests": 9,
        "errors": 1,
        "aborted": 0,
        "foreign_state": 0,
        "p50_s": 1.0,
        "p95_s": 2.0,
        "ttft_p95_s": None,
        "cost_usd": 1.0,
    }
    canary = document(arms={"baseline": arm | ARM, "candidate": arm | ARM}, started_at=None, guardrails=[])
    out.print(picture({"canaries": [canary]}, NOW, width=250))
    text: str = out.file.getvalue()  # type: ignore[attr-defined]
    assert f"{PLACE}." in text
    assert f"provider's error: candidate rejects: {SAID.message}" in text
    assert (
        "status 400, code unsupported_parameter, type invalid_request_error, param max_tokens, 2 min ago"
        in text
    )


def test_the_overview_says_how_many_requests_were_in_no_lane() -> None:
    assert "4 of 9 in no lane." in html("overview.html")


def test_what_a_provider_says_commands_no_terminal_and_turns_no_page_around() -> None:
    error = {
        **document()["provider_error"],
        "sentence": "gone\x1b[2K\x1b[1A\x9b2J",
        "message": "\u202egpj.exe",
    }
    foreign = document(provider_error=error, where_sentence="in category \u202e\x1b]0;owned\x07")
    screen = io.StringIO()
    console = Console(file=screen, width=120, force_terminal=True, color_system="truecolor")
    console.print(picture({"canaries": [foreign], "judge": None}, NOW, width=120))
    text = screen.getvalue()
    assert "gone\\u001b[2K\\u001b[1A\\u009b2J" in text
    assert not {"\x9b", "\x07", "\u202e"} & set(text)
    assert not re.search(r"\x1b(?!\[[0-9;]*m)", text), "only the colours that canary itself sets"
    page = Templates().text(
        "figures.html", shown(foreign) | {"whole": False, "person": Person(role="operator")}
    )
    assert not {"\x1b", "\x9b", "\x07", "\u202e"} & set(page)


@pytest.mark.parametrize("template", ["overview.html", "figures.html"])
def test_a_model_that_retires_is_named_with_the_last_day_to_begin(template: str) -> None:
    said = "p/old retires on 2027-03-01, in 20 days; the last day to begin a canary of 14 days is 2027-02-14"
    page = Templates().text(template, values_of() | {"retirements": [said]})
    assert f"<b>Retires:</b> {said}." in page


@pytest.mark.parametrize("width", [390, 1180])
def test_why_begins_with_what_is_red_and_each_id_stands_beside_its_button(
    browser: Browser, width: int
) -> None:
    def rule(name: str, state: str) -> RuleThen:
        return RuleThen(
            rule=name, state=state, sentence=f"{state} so", value=None, threshold=None, evidence={}, path=()
        )

    failures = [
        FailureSample(
            f"x-{n}", NOW - 99.0 + n, "candidate_rejects", 200, f"said {n}", request_id="req_" + "8" * 32
        )
        for n in range(2)
    ]
    fine = [rule(f"latency_p95[category=c{n}]", "ok") for n in range(20)]
    rules = (*fine, rule("cost_budget", "not_enough_data"), rule("error_rate", "latched"))
    page = browser.new_page(viewport={"width": width, "height": 900})
    then = replace(why(), rules=rules, failures=tuple(failures))
    text = Templates().text("why.html", values_of() | {"why": then})
    page.set_content(f"<style>{CSS}</style><main>{text}</main>")
    text = page.inner_text("main")
    order = [
        "said 1",
        "said 0",
        "latched so",
        "20 fine",
        "1 without enough data",
        "Both arms in the whole run, up to then",
    ]
    assert sorted(order, key=text.index) == order
    assert "ok so" not in text
    page.get_by_text("20 fine").click()
    assert page.inner_text("main").count("ok so") == 20
    assert page.get_by_role("button", name="copy id").count() == 4
    for each in page.locator(".id").all():
        code, button = each.locator("code").bounding_box(), each.locator("button").bounding_box()
        assert code is not None
        assert button is not None
        assert button["y"] < code["y"] + code["height"] / 2 < button["y"] + button["height"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()
