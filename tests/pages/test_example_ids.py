"""How examples are listed: canary's own ids are long, and of a real data set many examples fail."""

from pages.reports.bench_text import issue_lines
from pages.words.issues import example_ids, short_id
from pages.words.judge import short_id as of_a_pair

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
