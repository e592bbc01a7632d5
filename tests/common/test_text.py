"""Foreign text in terminals, pages and spreadsheets."""

import csv
import io
import json

import pytest

from common.text import cell, from_cell, visible, visible_document, visible_page

COMMANDS = ["\x1b[2K\x1b[1A", "\x9b2J", "\x07", "\x08", "\rgood", "\x7f", "\x85", "\x0b", "\x00"]
TURNS = ["\u202egpj.exe", "\u2066a\u2069", "\u200f", "\u061c", "\u2028"]


@pytest.mark.parametrize("text", [*COMMANDS, *TURNS])
def test_what_a_terminal_obeys_or_turns_around_is_written_out(text: str) -> None:
    shown = visible(f"refund{text}")
    assert shown.startswith("refund")
    assert all(each.isprintable() for each in shown)
    assert json.loads(f'"{shown}"') == f"refund{text}"


@pytest.mark.parametrize("text", ["ü – 日本 🙂", "two\nlines\r\nand\ta tab", "עברית", "a\u00a0b"])
def test_other_text_stays(text: str) -> None:
    assert visible(text) == text


def test_a_document_is_written_out_at_every_depth() -> None:
    assert visible_document({"a\x9b": [{"b": "\x1b[1A"}, 3, None, ("\u202e",)]}) == {
        "a\\u009b": [{"b": "\\u001b[1A"}, 3, None, ["\\u202e"]]
    }


def test_a_page_shows_what_is_unseen_and_its_forms_send_back_what_they_had() -> None:
    page = '<p title="\u202e">\u202ea</p><input value="\u202e"><textarea name="x">\u202e</textarea>\x9b'
    shown = '<p title="\u202e">\\u202ea</p><input value="\u202e"><textarea name="x">\u202e</textarea>\\u009b'
    assert visible_page(page) == shown


@pytest.mark.parametrize(
    "start", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "＋1", "－1", "＠a"]
)
def test_a_spreadsheet_runs_no_cell_and_the_text_comes_back(start: str) -> None:
    for text in (start, f"'{start}", f"''{start}"):
        written = cell(text)
        assert written[0] in "'\\"
        assert from_cell(written) == visible(text)


@pytest.mark.parametrize("text", ["", "refund", "'quoted'", "a=1", "1-2", "'"])
def test_other_cells_stay(text: str) -> None:
    assert cell(text) == from_cell(text) == text


def test_a_cell_with_a_line_end_is_one_cell() -> None:
    out = io.StringIO()
    csv.writer(out).writerow([cell("=a\nb"), cell('"=c"')])
    assert next(csv.reader(io.StringIO(out.getvalue()))) == ["'=a\nb", '"=c"']
