"""The casts of the site's first page: drawn from a recording, in its order and time, small, of no machine."""

import re
import xml.etree.ElementTree as ElementTree
from contextlib import closing
from pathlib import Path

import pytest

from tests.docs.cast_svg import (
    LAST_SCREEN_S,
    LONGEST_WAIT_S,
    SHORTEST_S,
    Recording,
    animated_svg,
    timed_lines,
)
from tests.docs.casts import before_line, play, until

ROOT = Path(__file__).parents[2]
CASTS = sorted((ROOT / "docs/casts").glob("*.svg"))
TWO_LINES = Recording(10, 1, [(0.0, "a \x1b[31mred"), (1.0, " word\x1b[0m\r\nand "), (61.0, "<more>\r\n")])


def drawn(svg: str) -> str:
    """What a reader of the drawing sees, a line for each of the terminal's."""
    rows: dict[float, str] = {}
    for text in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text"):
        place, column = float(text.attrib["y"]), round(float(text.attrib["x"]) / 12.2)
        rows[place] = rows.get(place, "").ljust(column) + (text.text or "").replace("\xa0", " ")
    return "\n".join(row for _, row in sorted(rows.items()))


def test_a_recording_is_drawn_line_by_line_in_its_colours() -> None:
    svg = animated_svg(TWO_LINES, "two lines")
    assert drawn(svg) == "a red word\nand <more>"
    assert re.search(r'class="cast-r2"[^>]*>red&#160;word<', svg)
    assert "<title>two lines</title>" in svg


def test_a_long_line_is_broken_where_the_terminal_breaks_it() -> None:
    recording = Recording(4, 9, [(0.0, "abcdefgh\r\n")])
    assert [line.plain for line, _ in timed_lines(recording)] == ["abcd", "efgh"]


def test_waits_are_shortened_and_what_came_at_once_follows_line_by_line() -> None:
    recording = Recording(9, 9, [(0.0, "a\r\nb\r\n"), (60.0, "c\r\n")])
    seconds = [second for _, second in timed_lines(recording)]
    assert seconds == pytest.approx([SHORTEST_S, 2 * SHORTEST_S, 2 * SHORTEST_S + LONGEST_WAIT_S])


def test_the_drawing_rests_on_the_last_screen_and_moves_only_where_motion_is_fine() -> None:
    svg = animated_svg(TWO_LINES, "two lines")
    assert ".cover { transform: translateY(48.8px) }" in svg
    assert ".roll { transform: translateY(-24.4px) }" in svg
    length = 1.0 + LONGEST_WAIT_S + LAST_SCREEN_S
    moving = re.findall(r"@media \(prefers-reduced-motion: no-preference\) \{ (.*) \}", svg)
    assert moving == [
        f".{name} {{ animation: {name} {length:.1f}s step-end infinite }}" for name in ("cover", "roll")
    ]
    assert svg.count("animation:") == 2


def test_a_command_is_played_in_a_terminal_and_recorded_as_it_prints(tmp_path: Path) -> None:
    command = "tty -s && echo $OWN ünï && pwd -P"
    with closing(play(command, tmp_path, {"OWN": "mine"})) as playing:
        shown = "".join(text for _, text in playing)
    assert shown == f"\x1b[1;32m$\x1b[0m \x1b[1m{command}\x1b[0m\r\nmine ünï\r\n{tmp_path.resolve()}\r\n"


def test_a_question_is_answered_as_a_person_types(tmp_path: Path) -> None:
    command = 'for word in one two; do printf "which %s? : " $word; read said; echo "so $said"; done'
    with closing(play(command, tmp_path, answers=("a", "b"))) as playing:
        shown = "".join(text for _, text in playing)
    assert shown.endswith("which one? : a\r\nso a\r\nwhich two? : b\r\nso b\r\n")


def test_a_recording_ends_before_the_line_that_is_named(tmp_path: Path) -> None:
    with closing(play("printf 'a\\nb\\nc %s\\n' d; exec cat", tmp_path)) as playing:
        events = until(playing, "c d")
    assert "".join(text for _, text in before_line(events, "c d")).endswith("a\r\nb\r\n")


def test_a_program_that_ends_too_soon_is_an_error(tmp_path: Path) -> None:
    with closing(play("echo sorry", tmp_path)) as playing, pytest.raises(EOFError, match="sorry"):
        until(playing, "never said")


def test_the_committed_cast_of_the_first_hour_goes_from_init_to_a_candidates_answer() -> None:
    told = drawn((ROOT / "docs/casts/first-hour.svg").read_text())
    commands = re.findall(r"^\$ canary (\w+)", told, re.MULTILINE)
    assert commands == ["demo", "init", "check", "serve", "begin", "start", "status"]
    assert "x-canary-arm: candidate" in told
    assert "(casts/first-hour.svg)" in (ROOT / "docs/first-hour.md").read_text()


def test_the_first_page_shows_both_casts_with_words_for_them() -> None:
    shown = re.findall(r"!\[([^\]]+)\]\(casts/(\w+)\.svg\)", (ROOT / "docs/index.md").read_text())
    assert [name for words, name in shown if len(words) > 40] == ["rollback", "verdict"]


@pytest.mark.parametrize("path", CASTS, ids=lambda path: path.stem)
def test_a_committed_cast_is_small_and_tells_nothing_of_where_it_was_made(path: Path) -> None:
    svg = path.read_text()
    assert len(svg) < 300_000
    assert re.findall(r"(?<![\w.])/(?:home|root|tmp|work|usr|var|Users)/", drawn(svg)) == []
    assert not re.search(r"\w+@\w", drawn(svg))
    assert set(re.findall(r"https?://([\d.a-z]+)", svg)) <= {"www.w3.org", "127.0.0.1", "api.openai.com"}


def test_the_committed_casts_show_a_rollback_and_a_verdict() -> None:
    rollback, verdict = (
        drawn((ROOT / f"docs/casts/{name}.svg").read_text()) for name in ("rollback", "verdict")
    )
    assert re.search(r"rolled back after [\d.]+ s .* callers saw\s+an error", rollback)
    assert rollback.startswith("$ canary demo")
    assert re.search(r"goes-bad +.*rolled.back", verdict)
    assert "$ canary report passes\nShip now" in verdict
