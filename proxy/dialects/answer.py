"""What a model answered: why each of its choices ended, whether there is anything in it, and its output.

The output is put together from a stream's pieces: texts and tool calls, within a bound. Only answers to
requests with tools or a wanted format are collected, and nothing of them outlives the check.
"""

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import NamedTuple, get_args

import msgspec

from records.outcome import Fault, Finish

_EMPTY = re.compile(rb'(?:null|\[\s*\]|\{\s*\}|"(?:\s|\\[nrtfv]|\\u00a0|\xc2\xa0)*")')

_ORDER: tuple[Fault, ...] = get_args(Fault)


def filled(raw: bytes) -> bool:
    """True for a raw JSON member that holds something: not absent, null, empty or white space alone."""
    return len(raw) > 0 and _EMPTY.fullmatch(raw) is None


class AnswerChoice:
    """One choice of an answer.

    `reason`: why the model stopped, None before it did. `refused`: the model wrote a refusal, whatever the
    reason says. `content`: there is text, a tool call, an image or audio. `called`: there is a tool call.
    `named`: faults that the provider itself names.
    """

    __slots__ = ("called", "content", "named", "reason", "refused")

    def __init__(self) -> None:
        self.reason: Finish | None = None
        self.refused = self.content = self.called = False
        self.named: tuple[Fault, ...] = ()

    @property
    def finish(self) -> Finish:
        if self.refused:
            return "refusal"
        if self.reason == "stop" and self.called:
            return "tool_calls"
        return self.reason or "unknown"

    @property
    def good(self) -> bool:
        """True for a choice without a fault, as most are."""
        return self.content and not self.refused and not self.named and self.reason in ("stop", "tool_calls")

    def faults(self) -> set[Fault]:
        """The faults of this choice that need no look at the request."""
        found: set[Fault] = set(self.named)
        finish = self.finish
        if finish == "length":
            found.add("cut_off")
        if finish in ("refusal", "content_filter"):
            found.add("refused")
        elif not (self.content or self.called or self.named):
            found.add("empty")
        return found


class AnswerFacts:
    """The choices of one answer, by index. Most answers have one."""

    __slots__ = ("choices",)

    def __init__(self) -> None:
        self.choices: dict[int, AnswerChoice] = {}

    def choice(self, index: int) -> AnswerChoice:
        """The choice with this index; it begins when it is first asked for."""
        choice = self.choices.get(index)
        if choice is None:
            choice = self.choices[index] = AnswerChoice()
        return choice

    @property
    def finish(self) -> Finish:
        """Why the first choice ended; `unknown` without a choice or a reason."""
        return self.choices[min(self.choices)].finish if self.choices else "unknown"

    @property
    def silent(self) -> bool:
        """True while a choice has no content yet, or none has begun."""
        return not self.choices or any(not choice.content for choice in self.choices.values())

    def faults(self) -> set[Fault]:
        """The faults of all choices; an answer without a choice is empty."""
        found: set[Fault] = set() if self.choices else {"empty"}
        for choice in self.choices.values():
            if not choice.good:
                found |= choice.faults()
        return found


def _good_answer() -> AnswerFacts:
    answer = AnswerFacts()
    choice = answer.choice(0)
    choice.reason, choice.content = "stop", True
    return answer


GOOD_ANSWER = _good_answer()
"""The facts of most answers: one choice with content, which stopped by itself. Shared, so never changed."""


def finish_word(words: Mapping[str, Finish], reason: str | None) -> Finish | None:
    """Translate a provider's reason; None without one, `other` for one that is not in `words`."""
    return words.get(reason, "other") if reason else None


def in_order(faults: AbstractSet[Fault]) -> tuple[Fault, ...]:
    """The faults in the order of their declaration, so that equal answers have equal records."""
    return tuple([fault for fault in _ORDER if fault in faults]) if faults else ()


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

    def add_whole_call(self, index: int, place: int, *, arguments: str, id: str = "", name: str = "") -> None:
        """Add a call with all of its arguments, which are an object unless they are broken."""
        call = self.add_call(index, place, id=id, name=name, arguments=arguments)
        call.broken = not arguments.startswith("{")

    def is_open(self, place: int) -> bool:
        """True at the place of a call that the caller runs: a provider's own calls have pieces, too."""
        return bool(self.choices) and place in self.choices[0].open

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


def is_given(raw: msgspec.Raw) -> bool:
    """True for a member that is present and not null."""
    return bytes(raw) not in (b"", b"null")


def schema_of(raw: msgspec.Raw, *, openapi: bool = False) -> Schema | None:
    """The schema in a raw member; None without one, and for {} and true, which everything fits."""
    text = bytes(raw)
    return None if text in (b"", b"null", b"{}", b"true") else Schema(text, openapi)
