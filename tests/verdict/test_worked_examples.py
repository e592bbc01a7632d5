"""docs/examples says what the code says today."""

import pytest

from tests.examples import FOLDER, WORLDS, pages


def test_every_verdict_has_an_example() -> None:
    assert [world.verdict for world in WORLDS] == [
        "ship_now",
        "ship",
        "ship_with_caveats",
        "dont_ship",
        "extend",
    ]


@pytest.fixture(scope="module")
def written() -> dict[str, str]:
    return pages()


def test_the_examples_are_as_the_code_writes_them(written: dict[str, str]) -> None:
    stale = [name for name, text in written.items() if (FOLDER / name).read_text() != text]
    assert not stale, f"{', '.join(stale)}: run `make examples` and look at what has changed"


def test_an_example_is_small_and_says_its_verdict(written: dict[str, str]) -> None:
    headlines = {
        "ship_now": "# Ship now", "ship": "# Ship:", "ship_with_caveats": "# Ship with caveats",
        "dont_ship": "# Don’t ship", "extend": "# Extend the canary",
    }  # fmt: skip
    for name, headline in headlines.items():
        assert written[f"{name}.md"].startswith(headline)
    assert max(len(text.encode()) for text in written.values()) <= 100 * 1024
