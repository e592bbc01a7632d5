"""How examples are listed: canary's own ids are long, and of a real data set many examples fail."""

from dataclasses import replace
from typing import Any

from pages.document import Document
from pages.reports.bench_text import issue_lines
from pages.reports.release import _benchmark
from pages.words.issues import example_ids, short_id
from pages.words.judge import short_id as of_a_pair
from pages.writers import html, text

EXCHANGE = "aGVsbG8" * 13 + "0a1b2c3d"


def test_an_id_of_98_characters_is_read_by_its_last_eight_and_a_persons_own_whole() -> None:
    assert short_id(EXCHANGE) == of_a_pair(EXCHANGE) == "…0a1b2c3d"
    assert short_id("refund-17") == "refund-17"


def test_a_list_of_examples_shows_ten_and_says_how_many_more() -> None:
    many = [f"{EXCHANGE[:-4]}{number:04d}" for number in range(60)]
    told = example_ids(many)
    assert told.startswith("…0a1b0000, …0a1b0001, ") and told.endswith("…0a1b0009 and 50 more")
    assert example_ids(["r-1", "r-2"]) == "r-1, r-2"


def test_a_known_issue_that_many_examples_show_takes_one_short_line() -> None:
    examples = [{"id": f"{EXCHANGE[:-4]}{number:04d}", "state": "still_there"} for number in range(60)]
    mode = {"mode": "invents a policy", "state": "still_there", "examples": examples}
    lines = issue_lines({"model": "bot-2", "still_there": 1, "issues": [mode]})
    assert len(lines) == 2 and len(lines[1]) < 200 and "and 50 more" in lines[1]


def test_a_release_page_leads_to_each_example_and_has_its_whole_id() -> None:
    ids = [f"{EXCHANGE[:-4]}{number:04d}" for number in range(12)]
    nodes: dict[str, Any] = {
        "examples": 60,
        "baseline": None,
        "candidate": None,
        "mcnemar_p": None,
        "new_failures": ids,
        "categories": [],
    }
    benchmark = {
        "at": "2027-01-15T08:00:00Z",
        "owner": "ann",
        "via": "direct",
        "candidate": "openai/new",
        "stages": {},
        "reasons": [],
        "layers": [{"datasets": [nodes | {"dataset": "users"}]}],
    }
    sections = list(_benchmark(benchmark))[:1]
    served = Document(title="", about="", tone="", head=[], sections=sections, links=[("All", "/releases")])
    page = html(served)
    address = f"/issues/new?example=users%3A{ids[0]}&amp;since=openai%2Fnew"
    assert f'<a href="{address}"><code title="{ids[0]}">…0a1b0000</code></a>' in page
    assert page.count('data-copy="') == page.count("<a href=") - 1 == 10
    assert " and 2 more</td>" in page
    file = html(replace(served, links=()))
    assert "<a href=" not in file and f'data-copy="{ids[9]}"' in file, "a file has no server behind it"
    assert "…0a1b0009 and 2 more" in text(served, width=400)
