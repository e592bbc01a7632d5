"""A terminal recording as an SVG that plays: rich draws each line once, CSS animations show it in its time.

One animation moves the lines up through the window, the other moves a cover down over them. Readers who ask
for less motion see the last screen. Only for programs that print lines: moves of the cursor are not drawn.
"""

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

LONGEST_WAIT_S = 2.0
SHORTEST_S = 0.12
LAST_SCREEN_S = 10.0

_CHAR, _LINE, _PAD = 12.2, 24.4, 16
_COLOURS = [(90, 100, 112), (255, 123, 114), (126, 211, 133), (242, 183, 5), (138, 180, 248), (210, 168, 255)]
_THEME = TerminalTheme((27, 36, 48), (226, 232, 240), [*_COLOURS, (118, 207, 222), (226, 232, 240)])


@dataclass(frozen=True, slots=True)
class Recording:
    """What a terminal of `columns` × `rows` received: (second, text with ANSI colours), in order."""

    columns: int
    rows: int
    events: Sequence[tuple[float, str]]


def animated_svg(recording: Recording, title: str) -> str:
    """The recording as an SVG document that loads nothing; `title` is read to those who cannot see it."""
    timed = list(timed_lines(recording))
    styles, lines = _drawn([line for line, _ in timed], recording.columns)
    dark = _THEME.background_color.hex
    width, height = recording.columns * _CHAR, recording.rows * _LINE
    motion = _motion([second for _, second in timed], recording.rows)
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width + 2 * _PAD:g} {height + 2 * _PAD:g}" role="img">
<title>{escape(title)}</title>
<style>
text {{ font: 20px ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace }}
.frame {{ fill: {dark}; stroke: #64748b }}
{styles}
{motion}
</style>
<rect class="frame" x="1" y="1" width="{width + 2 * _PAD - 2:g}" height="{height + 2 * _PAD - 2:g}" rx="10"/>
<svg x="{_PAD}" y="{_PAD}" width="{width:g}" height="{height:g}">
<g class="roll">
{lines}
<rect class="cover" x="-4" width="101%" height="{(len(timed) + 1) * _LINE:g}" fill="{dark}"/>
</g>
</svg>
</svg>
"""


def timed_lines(recording: Recording) -> Iterator[tuple[Text, float]]:
    """Each line, broken as the terminal does, and the second at which it is shown: waits are shortened."""
    shown, before = 0.0, 0.0
    for line, second in _lines(recording.events):
        shown += min(max(second - before, SHORTEST_S), LONGEST_WAIT_S)
        before = second
        breaks = range(recording.columns, len(line), recording.columns)
        yield from ((part, shown) for part in line.divide(breaks))


def _lines(events: Sequence[tuple[float, str]]) -> Iterator[tuple[Text, float]]:
    begun = ""
    for second, text in events:
        *whole, begun = (begun + text.replace("\r", "")).split("\n")
        yield from ((Text.from_ansi(line.rstrip()), second) for line in whole)


def _drawn(lines: Sequence[Text], columns: int) -> tuple[str, str]:
    """The CSS classes and the elements of all lines, one below the other."""
    console = Console(record=True, width=columns, file=io.StringIO(), force_terminal=True)
    console.print(Text("\n").join(lines), soft_wrap=True)
    parts = console.export_svg(theme=_THEME, code_format="{styles}\f{backgrounds}{matrix}", unique_id="cast")
    styles, drawn = parts.split("\f")
    without_ends = re.sub(r"<text [^>]*>\n</text>", "", drawn)
    return styles, re.sub(r' clip-path="[^"]*"', "", without_ends).replace("</text>", "</text>\n").rstrip()


def _motion(seconds: Sequence[float], rows: int) -> str:
    """The CSS of the cover and the roll: at rest on the last screen, and the animation to there."""
    total = seconds[-1] + LAST_SCREEN_S
    cover, roll = (
        [(second, place(shown)) for shown, second in enumerate([0.0, *seconds])]
        for place in (lambda shown: shown * _LINE, lambda shown: -max(0, shown - rows) * _LINE)
    )
    return "\n".join(_animated(name, steps, total) for name, steps in (("cover", cover), ("roll", roll)))


def _animated(name: str, steps: Sequence[tuple[float, float]], total: float) -> str:
    """A class's CSS: resting at its last place, and moved there in `total` seconds."""
    frames = " ".join(f"{second / total:.2%} {{ {_at(place)} }}" for second, place in steps)
    animation = f"{name} {total:.1f}s step-end infinite"
    return f"""\
.{name} {{ {_at(steps[-1][1])} }}
@keyframes {name} {{ {frames} }}
@media (prefers-reduced-motion: no-preference) {{ .{name} {{ animation: {animation} }} }}"""


def _at(place: float) -> str:
    return f"transform: translateY({place:.1f}px)"
