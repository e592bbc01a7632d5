"""The docs' pictures are those of `make pictures`: of their size and theme, small, all of them shown."""

import re
from pathlib import Path

import pytest

from tests.console.pictures import FOLDER, PICTURES, THEMES, Picture, Theme, corner_of, size_of

DOCS = FOLDER.parent
LARGEST, ALL_TOGETHER = 150_000, 1_500_000
drawn = pytest.mark.parametrize(
    ("picture", "theme"),
    [(picture, theme) for picture in PICTURES for theme in THEMES],
    ids=lambda given: given.name if isinstance(given, Picture) else given,
)


@drawn
def test_a_picture_is_of_its_size_and_theme(picture: Picture, theme: Theme) -> None:
    png = (FOLDER / picture.file(theme)).read_bytes()
    width, height = size_of(png)
    assert width == picture.width
    assert height == picture.height or picture.part
    assert (min(corner_of(png)) > 200) == (theme == "light")
    assert len(png) <= LARGEST


def test_each_is_shown_in_both_themes_and_no_other_is_kept() -> None:
    pages = "".join(path.read_text() for path in DOCS.rglob("*.md"))
    kept = {path.name for path in FOLDER.iterdir()}
    assert kept == {picture.file(theme) for picture in PICTURES for theme in THEMES}
    assert kept == set(re.findall(r'(?:srcset|src)="(?:\.\./)*pictures/([\w.-]+)"', pages))
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= ALL_TOGETHER
    assert {path.suffix for path in Path(DOCS).glob("*.png")} == set()
