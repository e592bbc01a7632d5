"""One LLM operation, independent of the API: how it is read, what its answer says, and the model's output.

An answer's facts say why each of its choices ended, and whether there is anything in it. Its output is put
together from a stream's pieces: texts and tool calls, within a bound. Only answers to requests with tools or
a wanted format are collected, and nothing of them outlives the check.
"""

import re
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, Protocol, get_args

import msgspec

from common.text import UNREADABLE, readable
from records.outcome import Fault, Finish, Usage

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


class AnswerChoices:
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
    def called(self) -> bool:
        """True when a choice calls a tool that the caller runs."""
        return any(choice.called for choice in self.choices.values())

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


def _good_answer() -> AnswerChoices:
    answer = AnswerChoices()
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

    `input`: what the request brings, where that declares tools too (the responses API). `form`:
    `response_format`, `text`, `generationConfig` and the like.
    """

    tools: msgspec.Raw = msgspec.Raw()
    input: msgspec.Raw = msgspec.Raw()
    functions: msgspec.Raw = msgspec.Raw()
    form: msgspec.Raw = msgspec.Raw()


class Schema(NamedTuple):
    """A schema's JSON. `openapi`: it is Gemini's part of OpenAPI, with types in upper case."""

    text: bytes
    openapi: bool = False


class ExpectedOutput(NamedTuple):
    """What an answer may hold.

    `tools`: the schema of each tool's arguments, by name; None without one. One in a namespace has its names
    with and without that. `others`: tools with other names may be called. `wants_json`: the text must be
    JSON. `schema`: its schema.
    """

    tools: Mapping[str, Schema | None] = {}
    others: bool = False
    wants_json: bool = False
    schema: Schema | None = None


class CollectedCall:
    """A call of a tool that the caller runs. `namespace`: that of the tool, "" without one. `free`: its input
    is text. `broken`: no object where the API has one."""

    __slots__ = ("broken", "free", "id", "name", "namespace", "pieces")

    def __init__(self, id: str = "", name: str = "") -> None:
        self.id = id
        self.name = name
        self.namespace = ""
        self.pieces: list[str] = []
        self.free = self.broken = False

    @property
    def full_name(self) -> str:
        return f"{self.namespace}.{self.name}" if self.namespace else self.name

    @property
    def arguments(self) -> str:
        return "".join(self.pieces)


class ChoiceOutput:
    """The output of one choice. `open` has the calls that may still grow, by their place."""

    __slots__ = ("calls", "open", "texts")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.calls: list[CollectedCall] = []
        self.open: dict[int, CollectedCall] = {}

    @property
    def text(self) -> str:
        return "".join(self.texts)


class CollectedOutput:
    """The output of one answer, by choice. `lost`: it was too long, or of a shape that cannot be judged.

    `bound`: the most characters. `size`: those that came.
    """

    __slots__ = ("_bound", "choices", "lost", "size")

    def __init__(self, bound: int = OUTPUT_BOUND) -> None:
        self.choices: dict[int, ChoiceOutput] = {}
        self.lost = False
        self._bound = bound
        self.size = 0

    def add_text(self, index: int, text: str) -> None:
        if self._fits(text):
            self._choice(index).texts.append(text)

    def add_call(
        self, index: int, place: int, *, id: str | None = "", name: str | None = "", arguments: Any = ""
    ) -> CollectedCall:
        """Add to the call at `place`; it begins when it is first named, or with another id. With arguments
        that are no text the output is lost."""
        choice = self._choice(index)
        call = choice.open.get(place)
        if call is None or (id and call.id and id != call.id):
            call = choice.open[place] = CollectedCall(id or "")
            choice.calls.append(call)
        call.name = call.name or name or ""
        if not isinstance(arguments, str):
            self.lose()
        elif self._fits(arguments):
            call.pieces.append(arguments)
        return call

    def add_whole_call(
        self, index: int, place: int, *, arguments: str, id: str | None, name: str | None
    ) -> None:
        """Add a call with all of its arguments, which are an object unless they are broken."""
        call = self.add_call(index, place, id=id, name=name, arguments=arguments)
        call.broken = not arguments.startswith("{")

    def is_open(self, place: int) -> bool:
        """True at the place of a call that the caller runs: a provider's own calls have pieces, too."""
        return bool(self.choices) and place in self.choices[0].open

    def lose(self) -> None:
        """Give the answer up: it will not be judged. What has been collected stays until `restart`."""
        self.lost = True

    def restart(self) -> None:
        """Forget what has been collected: the whole output follows."""
        self.choices.clear()
        self.size = 0

    def _choice(self, index: int) -> ChoiceOutput:
        return self.choices.setdefault(index, ChoiceOutput())

    def _fits(self, text: str) -> bool:
        self.size += len(text)
        if self.size > self._bound and not self.lost:
            self.lose()
        return not self.lost


def is_given(raw: msgspec.Raw) -> bool:
    """True for a member that is present and not null."""
    return bytes(raw) not in (b"", b"null")


def schema_of(raw: msgspec.Raw, *, openapi: bool = False) -> Schema | None:
    """The schema in a raw member; None without one, and for {} and true, which everything fits."""
    text = bytes(raw)
    return None if text in (b"", b"null", b"{}", b"true") else Schema(text, openapi)


Api = Literal["openai", "anthropic", "gemini"]
ModelPlace = Literal["body", "path", "query"]

Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]
"""A number of tokens. A provider's -1 for "unknown", and numbers too large for a column, are rejected."""


Texts = re.Pattern[bytes] | None
"""Matches strings in an event that matter only for the first token (`proxy.answers.sse`)."""


def text_members(*names: str) -> re.Pattern[bytes]:
    """Match members with these names whose value is a string without escapes; group 1 is the text."""
    return re.compile(b'"(?:%s)": ?"([^"\\\\\n]*)"' % "|".join(names).encode())


class AnswerSummary(msgspec.Struct, kw_only=True, gc=False):
    """What is known of an answer, or of the events of it that have come. Its readers write it.

    `model`: as the answer names it, empty when it does not. `fingerprint`: of the system that made it, where
    the answer has one. `usage`: the last one reported, None when there
    was none of the expected shape. `answer`: why the answer ended, and what it holds; None when it is not a
    model's answer, or of a form that is not read. `pending`: the id under which an answer that is made in the
    background is fetched, empty once it has ended. `error`: what the provider said when it refused or failed,
    bounded. `failed`: the provider reported an error inside its answer. `valid` is False when a whole answer
    is not JSON of its API.

    `token`: a text or reasoning token has arrived, the first at `first_token_at`. `finished`: the model has
    finished; only bookkeeping follows (OpenAI's non-null finish_reason). `done`: the answer is complete,
    whatever the connection does next. `has_event`: a stream's first complete event has arrived, or the reader
    will never see one.
    """

    valid: bool = True
    failed: bool = False
    usage: Usage | None = None
    answer: AnswerChoices | None = None
    model: str = ""
    fingerprint: str = ""
    pending: str = ""
    error: bytes = b""
    token: bool = False
    finished: bool = False
    done: bool = False
    has_event: bool = False
    first_token_at: float | None = None


class EventReader(Protocol):
    """Reads one streamed answer, event by event."""

    @property
    def seen(self) -> AnswerSummary:
        """What the events so far say."""
        ...

    @property
    def texts(self) -> Texts:
        """The strings that could change nothing in an event of the kind just read."""
        ...

    def take(self, name: bytes, data: bytes) -> bool:
        """Read one event: its `event:` name, which may be empty, and its data, ignored if it is not JSON.

        True when the event is JSON that changed nothing, and would change nothing with any other `texts`.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputForm:
    """How a model's output, and what its request wants of it, are written in one operation.

    `take` collects from one event of a stream, `read` from a whole answer; `collect` calls
    them. All three raise one of UNREADABLE where they cannot read it. `results_name`: the members by which
    tools' results in a request name their calls; none where calls need no ids (Gemini's).
    """

    take: Callable[[CollectedOutput, bytes], None]
    read: Callable[[CollectedOutput, bytes], None]
    expected: Callable[[OutputRequest], ExpectedOutput]
    results_name: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation. `name` is OpenTelemetry's. Canaries take only operations with `canary=True`."""

    name: str
    canary: bool = True
    model_in: ModelPlace = "body"
    over_socket: bool = False
    """A WebSocket to the operation's path takes its requests as messages (OpenAI's responses)."""
    needs_model: bool = False
    """A body without a model is not for a canary: it names an agent instead (Gemini's interactions)."""
    repeats_model: bool = False
    """The body repeats the model of the path (Gemini's embeddings)."""
    streams: bool | None = None
    """True or False when the path decides; None when the body's `stream` does."""
    events: Callable[[], EventReader] | None = None
    read_json: Callable[[bytes], AnswerSummary] | None = None
    usage_key: bytes = b'"usage"'
    """The answer's member with the counts; `read_json` also reads an object with only that member."""
    usage_in_head: Callable[[Mapping[bytes, bytes]], Usage | None] | None = None
    """Reads counts in the answer's headers, for bodies without."""
    injects_usage: bool = False
    """A stream has usage only on request (`stream_options.include_usage`)."""
    output: OutputForm | None = None
    """For operations whose answers are a model's output; the others have no `finish`."""
    amazon_errors: bool = False
    """Its SDK reads errors in Amazon's form, whatever the entry's API."""
    free: bool = False
    """Its answers cost nothing: it counts tokens."""
    creates_state: bool = False
    """The provider stores the answer unless `store` is false."""


PASS_THROUGH = Operation(name="other", canary=False)


def named(model: Any) -> str:
    """The model's name in decoded JSON; empty for anything but a string."""
    return model if isinstance(model, str) else ""


def given(value: msgspec.Raw) -> bool:
    """True when a raw member is present and long enough for counts, unlike null, {} and []."""
    return len(value) > _NULL


_NULL = len(b"null")


def total(*counts: int | None) -> int | None:
    """The sum of the known counts; None when all are unknown."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def collect(take: Callable[[CollectedOutput, bytes], None], output: CollectedOutput, data: bytes) -> None:
    """Have a dialect add these bytes to the output, which is lost where they are of another shape."""
    try:
        take(output, data)
    except UNREADABLE:
        output.lose()


class CountedAnswer(msgspec.Struct, gc=False):
    """An answer of another shape, of which the error, the counts and the model may still be read."""

    type: Any = None
    usage: msgspec.Raw = msgspec.Raw()
    error: Any = None
    model: Any = None


decode_counted = msgspec.json.Decoder(CountedAnswer).decode


class Counts(Protocol):
    def usage(self) -> Usage | None: ...


def usage_in(decode: Callable[[bytes], Counts], raw: msgspec.Raw) -> Usage | None:
    """The usage in raw counts; None when missing or of another shape, which is not an error of the answer."""
    counts = readable(decode, raw) if given(raw) else None
    return counts.usage() if counts is not None else None


def read_counted(body: bytes, decode_usage: Callable[[bytes], Counts]) -> AnswerSummary:
    """Read a whole answer of another shape: its error, its counts and its model."""
    answer = readable(decode_counted, body)
    if answer is None:
        return AnswerSummary(valid=is_json_object(body))
    failed = bool(answer.error) or answer.type == "error"
    usage = usage_in(decode_usage, answer.usage)
    return AnswerSummary(failed=failed, usage=usage, model=named(answer.model))


class _AnyObject(msgspec.Struct):
    """Accepts any members."""


_decode_any_object = msgspec.json.Decoder(_AnyObject).decode


def is_json_object(body: bytes) -> bool:
    """True for a JSON object of any shape."""
    return readable(_decode_any_object, body) is not None
