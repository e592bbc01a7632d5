"""Progress is told as often as somebody can read it, and what is left by what went before."""

import io

from pages.status.terminal import Progress


class Clock:
    """A hand clock."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Terminal(io.StringIO):
    """A stream that is one."""

    def isatty(self) -> bool:
        return True


def told(stream: io.StringIO, *looks: tuple[float, float]) -> str:
    """What is written of work of 200 units, at (second, units done)."""
    clock = Clock()
    with Progress(stream, clock) as progress:
        for at_s, done in looks:
            clock.now_s = at_s
            progress.show(done, 200.0)
    return stream.getvalue()


def test_without_a_terminal_it_is_a_line_every_few_seconds() -> None:
    assert told(io.StringIO(), (1, 0), (4.9, 10), (5, 20), (9, 30), (10.5, 50)) == (
        "10 % after 5 s, at most about 45 s left\n25 % after 10 s, at most about 32 s left\n"
    )


def test_before_anything_is_done_nothing_is_said_of_what_is_left() -> None:
    assert told(io.StringIO(), (60, 0)) == "0 % after 1 min\n"


def test_a_terminal_has_one_line_that_is_redrawn_and_gone_at_the_end() -> None:
    assert told(Terminal(), (0.1, 0), (1, 100), (1.1, 110), (2, 200)).split("\x1b[K") == [
        "\r50 % after 1 s, at most about 1 s left",
        "\r100 % after 2 s, at most about 0 s left",
        "\r",
        "",
    ]
