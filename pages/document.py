"""A report or a page as a value: sentences, tables and drawings in sections. It says each thing once; each
format has a writer that shows it.

`brief` parts stand in a terminal only, `full` parts everywhere else. The other parts stand in every format.
"""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Literal, TypeAlias

from pages.charts import DensityPlot, LookChart, MetricBar, MetricCurve
from pages.waterfall import Waterfall
from pages.words.judge import PreferenceBar

Place = Literal["", "brief", "full"]


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph. `weight` is how it stands out; `strong` is the sentence to read first."""

    text: str
    _: KW_ONLY
    weight: Literal["", "strong", "bold", "small", "soft"] = ""
    place: Place = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodedSentence:
    """A sentence after an id: the `code`, and the `short` form of it where room is scarce."""

    code: str
    short: str
    text: str


@dataclass(frozen=True, slots=True)
class BulletList:
    """A list of sentences. A page folds what comes after the first `few`."""

    sentences: Sequence[str | CodedSentence]
    _: KW_ONLY
    few: int | None = None
    place: Place = ""


@dataclass(frozen=True, slots=True)
class FactList:
    """Names with their values. `wide`: the values are long."""

    pairs: Sequence[tuple[str, str]]
    _: KW_ONLY
    wide: bool = False
    place: Place = ""


@dataclass(frozen=True, slots=True)
class Column:
    """A column's name. A `figure` stands at the right and is never broken."""

    name: str
    _: KW_ONLY
    figure: bool = False
    place: Place = ""


def columns(*names: str) -> list[Column]:
    """Columns of texts."""
    return [Column(name) for name in names]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownId:
    """An id, and its `short` form, by which people read it. `address`: its own page, to which a page of a
    server leads."""

    code: str
    short: str
    address: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """A text with what stands below it; `code` is a name as the records have it. `tone` is a state, for the
    colour; a `mark` is a state's own word. `bar` is drawn on a page only. There `ids` stand before the
    text that is then left, `after`, in place of the `text`, and each can be copied whole."""

    text: str
    _: KW_ONLY
    note: str = ""
    code: str = ""
    tone: str = ""
    mark: bool = False
    bar: PreferenceBar | None = None
    ids: Sequence[ShownId] = ()
    after: str = ""


Row: TypeAlias = Sequence[str | Cell]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under the columns' names. A terminal shows only the first `few` rows; a page folds the
    others if it `folds`.

    A terminal that cannot show all columns beside each other shows several tables; `wide` and `narrow` name
    the columns of each.
    """

    columns: Sequence[Column]
    rows: Sequence[Row]
    _: KW_ONLY
    few: int | None = None
    folds: bool = False
    wide: Sequence[Sequence[str]] = ()
    narrow: Sequence[Sequence[str]] = ()
    place: Place = ""

    def without(self, place: Place) -> "Table":
        """The table without the columns of this place."""
        kept = [number for number, each in enumerate(self.columns) if each.place != place]
        rows = [[row[number] for number in kept] for row in self.rows]
        return replace(self, columns=[self.columns[number] for number in kept], rows=rows)


@dataclass(frozen=True, slots=True)
class FoldedBlocks:
    """Blocks to open by their title. Not in a terminal."""

    title: str
    blocks: "Sequence[Block]"
    _: KW_ONLY
    place: Place = "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class CriterionCard:
    """One row of a rubric on a page, with its bar."""

    name: str
    mark: str
    tone: str
    says: Sequence[str]
    candidate: str
    baseline: str
    found: Sequence[Paragraph]
    bar: MetricBar | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Criteria:
    """The rows of a rubric: on a page as cards with a key of the symbols, in the other formats as a table
    that `reads` explains."""

    cards: Sequence[CriterionCard]
    key: Sequence[tuple[str, str]]
    reads: str
    table: Table
    place: Place = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawings:
    """Drawings of one kind on a page, with how they are read and a key of their symbols. In Markdown the
    `table` stands for them; a terminal shows neither."""

    drawn: (
        Sequence[MetricCurve]
        | Sequence[LookChart]
        | Sequence[DensityPlot]
        | Sequence[PreferenceBar]
        | Sequence[Waterfall]
    )
    kind: Literal["curve", "looks", "density", "preference", "waterfall"]
    reads: str = ""
    key: Sequence[tuple[str, str]] = ()
    table: Table | None = None
    place: Place = "full"


@dataclass(frozen=True, slots=True)
class Section:
    """A part, under its title if it has one. An `aside` is left out of a terminal and folded in Markdown."""

    title: str
    blocks: "Sequence[Block]"
    _: KW_ONLY
    aside: bool = False
    place: Place = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreGauge:
    """A score from 0 to 100, in words and as a place between its ends."""

    low: float
    estimate: float | None
    high: float
    says: str
    range: str
    place: Place = ""


Block: TypeAlias = (
    Paragraph | BulletList | FactList | Table | FoldedBlocks | Criteria | Drawings | ScoreGauge | Section
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A whole report. `topic` and `about` say of what it is; `tone` is its verdict, for the colour. `head` is
    said before the sections, `foot` is the name and value of what identifies it. `links`: (words, address) of
    pages that its HTML leads to."""

    title: str
    about: str
    tone: str
    head: Sequence[Block]
    sections: Sequence[Section]
    foot: tuple[str, str] | None = None
    topic: str = ""
    links: Sequence[tuple[str, str]] = ()


def shown(block: Block, *, brief: bool) -> bool:
    """True if the block has something to say in this kind of format."""
    if block.place == ("full" if brief else "brief"):
        return False
    match block:
        case Paragraph():
            return bool(block.text)
        case BulletList():
            return bool(block.sentences)
        case FactList():
            return bool(block.pairs)
        case Table():
            return bool(block.rows)
        case FoldedBlocks():
            return any(shown(each, brief=brief) for each in block.blocks)
        case Section():
            return not (brief and block.aside) and any(shown(each, brief=brief) for each in block.blocks)
        case Drawings():
            return bool(block.drawn)
        case Criteria() | ScoreGauge():
            return True
