"""The model's own output, put together from a stream's pieces: texts and tool calls, within a bound.

Only answers to requests with tools or a wanted format are collected, and nothing of them outlives the check.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

OUTPUT_BOUND = 1 << 20
"""Characters of texts and arguments. An answer with more is not judged."""


class OutputRequest(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The raw members of a request that say what its answer may hold; empty where there are none.

    `form`: `response_format`, `text`, `generationConfig` and the like.
    """

    tools: msgspec.Raw = msgspec.Raw()
    functions: msgspec.Raw = msgspec.Raw()
    form: msgspec.Raw = msgspec.Raw()


class Schema(NamedTuple):
    """A schema's JSON. `openapi`: it is Gemini's part of OpenAPI, with types in upper case."""

    text: bytes
    openapi: bool = False


class ExpectedOutput(NamedTuple):
    """What an answer may hold.

    `tools`: the schema of each tool's arguments, by name; None without one. `others`: tools with other names
    may be called. `wants_json`: the text must be JSON. `schema`: its schema.
    """

    tools: Mapping[str, Schema | None] = {}
    others: bool = False
    wants_json: bool = False
    schema: Schema | None = None


class ToolCall:
    """A call of a tool that the caller runs. `free`: its input is text. `broken`: no object where the API has
    one."""

    __slots__ = ("broken", "free", "id", "name", "pieces")

    def __init__(self, id: str = "", name: str = "") -> None:
        self.id = id
        self.name = name
        self.pieces: list[str] = []
        self.free = self.broken = False

    @property
    def arguments(self) -> str:
        return "".join(self.pieces)


class ChoiceOutput:
    """The output of one choice. `open` has the calls that may still grow, by their place."""

    __slots__ = ("calls", "open", "texts")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.calls: list[ToolCall] = []
        self.open: dict[int, ToolCall] = {}

    @property
    def text(self) -> str:
        return "".join(self.texts)


class CollectedOutput:
    """The output of one answer, by choice. `lost`: it was too long, or of a shape that cannot be judged."""

    __slots__ = ("_size", "choices", "lost")

    def __init__(self) -> None:
        self.choices: dict[int, ChoiceOutput] = {}
        self.lost = False
        self._size = 0

    def add_text(self, index: int, text: str) -> None:
        """Add text to a choice."""
        if self._fits(text):
            self._choice(index).texts.append(text)

    def add_call(
        self, index: int, place: int, *, id: str = "", name: str = "", arguments: str = ""
    ) -> ToolCall:
        """Add to the call at `place`; it begins when it is first named, or with another id."""
        choice = self._choice(index)
        call = choice.open.get(place)
        if call is None or (id and call.id and id != call.id):
            call = choice.open[place] = ToolCall(id)
            choice.calls.append(call)
        call.name = call.name or name
        if self._fits(arguments):
            call.pieces.append(arguments)
        return call

    def lose(self) -> None:
        """Give the answer up: it will not be judged."""
        self.lost = True
        self.choices.clear()

    def restart(self) -> None:
        """Forget what has been collected: the whole output follows."""
        self.choices.clear()
        self._size = 0

    def _choice(self, index: int) -> ChoiceOutput:
        return self.choices.setdefault(index, ChoiceOutput())

    def _fits(self, text: str) -> bool:
        self._size += len(text)
        if self._size > OUTPUT_BOUND and not self.lost:
            self.lose()
        return not self.lost
