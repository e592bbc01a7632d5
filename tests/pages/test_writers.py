"""One document in three formats: each says the same, and lets nothing break out of its place."""

import re

import pytest

from pages.document import (
    BulletList,
    Cell,
    CodedSentence,
    Column,
    Document,
    FactList,
    FoldedBlocks,
    Paragraph,
    Section,
    Table,
)
from pages.writers import html, markdown, text

HOSTILE = 'x"><script>alert(1)</script>|*a*'
TABLE = Table(
    [
        Column("criterion"),
        Column("candidate", figure=True),
        Column("weight", place="full"),
        Column("risk", place="brief"),
    ],
    [
        [Cell("errors", note="fewer?", tone="PASS"), "1.2 %", "40", "3 %"],
        [Cell("worse", tone="WORSE", mark=True), "2.0 %", "60", "4 %"],
        [Cell("slow", code="slow"), "3.0 %", "0", "5 %"],
    ],
    few=2,
    folds=True,
)
WHOLE = Document(
    title="Ship",
    topic="support",
    about="a → b",
    tone="ship",
    head=[
        Paragraph("It saves.", weight="strong"),
        BulletList(["one", "two", "three"], few=2),
        FactList([("Users", "12")]),
    ],
    sections=[
        Section("Criteria", [TABLE, Paragraph("only on a page", place="full")]),
        Section(
            "Pairs", [BulletList([CodedSentence(code="0123456789", short="…6789", text="refund – worse")])]
        ),
        Section("Parts", [FoldedBlocks("4 more", [BulletList(["alike"])])]),
        Section("How to read this", [BulletList(["slowly"])], aside=True),
        Section("Empty", [BulletList([])]),
    ],
    foot=("Rubric", "abc"),
)


def _seen(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page.split("<main>")[1]).split())


@pytest.mark.parametrize("form", [text, markdown, html])
def test_every_format_says_the_same(form: object) -> None:
    assert callable(form)
    said = form(WHOLE).lower()
    told = ("ship", "support", "a → b", "it saves.", "one", "three", "users", "12", "criteria", "errors")
    assert [each for each in (*told, "1.2 %", "refund – worse", "rubric", "abc") if each not in said] == []
    assert "empty" not in said


def test_a_terminal_has_only_what_is_brief() -> None:
    said = text(WHOLE)
    assert "risk" in said
    assert not [
        each for each in ("weight", "only on a page", "4 more", "How to read", "fewer?") if each in said
    ]
    assert "and 1 more" in said and "slow" not in said
    assert "…6789 refund" in said


def test_a_wide_table_is_split_where_a_terminal_is_narrow() -> None:
    parts = [("criterion", "candidate"), ("criterion", "risk")]
    split = Document(
        title="t", about="", tone="", head=[Table(TABLE.columns, TABLE.rows, narrow=parts)], sections=[]
    )
    assert text(split, width=120).count("criterion") == 1
    assert text(split, width=80).count("criterion") == 2


def test_markdown_folds_asides_and_shows_every_row() -> None:
    said = markdown(WHOLE)
    assert "| errors<br>fewer? | 1.2 % | 40 |" in said
    assert "| slow<br>`slow` | 3.0 % | 0 |" in said
    assert "<details><summary>How to read this</summary>\n\n- slowly" in said
    assert "`0123456789` refund" in said
    assert "risk" not in said


def test_a_page_folds_what_comes_after_the_first() -> None:
    page = html(WHOLE)
    assert "<summary>1 more</summary>" in page and "<summary>4 more</summary>" in page
    assert page.index("two") < page.index("<summary>1 more") < page.index("three")
    assert '<code title="0123456789">…6789</code>' in page
    assert "How to read this" in _seen(page) and "risk" not in _seen(page)


@pytest.mark.parametrize("form", [markdown, html])
def test_no_text_breaks_out_of_its_place(form: object) -> None:
    assert callable(form)
    table = Table([Column(HOSTILE)], [[Cell(HOSTILE, note=HOSTILE, code="c")], [HOSTILE]])
    blocks = [
        Paragraph(HOSTILE),
        BulletList([HOSTILE]),
        FactList([(HOSTILE, HOSTILE)]),
        table,
        FoldedBlocks(HOSTILE, [Paragraph(HOSTILE)]),
    ]
    said = form(
        Document(
            title=HOSTILE,
            topic=HOSTILE,
            about=HOSTILE,
            tone="",
            head=blocks,
            sections=[Section(HOSTILE, blocks)],
        )
    )
    assert "<script>alert" not in said
    assert "*a*" not in said.replace("\\*a\\*", "") or form is html
