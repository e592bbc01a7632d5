"""docs/sizing.md has the figures that docs/performance.md measured, and its example is worked rightly."""

from tests.docs.sizing import PAGE, page


def test_the_tables_are_as_the_measured_figures_make_them() -> None:
    assert PAGE.read_text() == page(), "run `make examples` and look at what has changed"
