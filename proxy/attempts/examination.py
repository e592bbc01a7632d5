"""Looks at an exchange's answer before its record is closed: its finish, its faults, its provider's words.

A model's output is compared with what its request lets it hold: tool calls, JSON, schemas. Of its tool calls
the names and a keyed hash stay.
"""

import re
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import islice
from typing import NamedTuple

import msgspec

from common.text import UNREADABLE
from proxy.answers.provider_error import said
from proxy.attempts.attempt import Attempt
from proxy.attempts.checker import Checker
from proxy.attempts.checker_process import CheckJob
from proxy.calls.call import Call
from proxy.calls.canary_choice import subagent_in
from proxy.dialects.operation import (
    GOOD_ANSWER,
    AnswerChoices,
    ChoiceOutput,
    CollectedCall,
    CollectedOutput,
    ExpectedOutput,
    OutputForm,
    OutputRequest,
    Schema,
    in_order,
)
from proxy.providers.headers import credentials
from records.outcome import MOST_TOOL_CALLS, Fault, Finish, OutputCheck, ProviderError, ToolCall
from routing.canary import ArmName

_WITH_JSON: tuple[Finish, ...] = ("stop", "length", "unknown")
"""How an answer ends whose text must be the JSON that was wanted. A refusal is none, a call has none."""


class OutputFinding(NamedTuple):
    """One look at an output: a fault, or a schema that the value must fit, else it is the fault."""

    fault: Fault
    schema: Schema | None = None
    value: str = ""


class OutputJudgement(NamedTuple):
    """What has been found. `faults` are certain; `open` are schemas to be checked."""

    check: OutputCheck
    faults: frozenset[Fault] = frozenset()
    open: tuple[OutputFinding, ...] = ()

    @property
    def job(self) -> CheckJob:
        """The work that is left for the checker."""
        return CheckJob(
            [(one.schema.openapi, one.schema.text, one.value.encode()) for one in self.open if one.schema]
        )

    def settled(self, verdicts: list[bool | None] | None) -> "OutputJudgement":
        """The judgement with the checker's verdicts, None without. A fault found is a judgement."""
        if not self.open:
            return self
        told = (
            verdicts if verdicts is not None and len(verdicts) == len(self.open) else [None] * len(self.open)
        )
        missed: set[Fault] = {one.fault for one, fits in zip(self.open, told, strict=True) if fits is False}
        faults: frozenset[Fault] = self.faults | missed
        return OutputJudgement("not_judged" if None in told and not faults else "judged", faults)


NOT_JUDGED, UNASKED = OutputJudgement("not_judged"), OutputJudgement("")


def judge(
    form: OutputForm, request: OutputRequest, output: CollectedOutput | None, answer: AnswerChoices | None
) -> OutputJudgement:
    """Judge an output as far as that needs no schema."""
    try:
        expected = form.expected(request)
    except UNREADABLE:
        return NOT_JUDGED
    if not (expected.tools or expected.others or expected.wants_json):
        return NOT_JUDGED if answer is not None and answer.called else UNASKED
    if output is None or answer is None:
        return NOT_JUDGED
    named: frozenset[Fault] = frozenset(
        [fault for choice in answer.choices.values() for fault in choice.named]
    )
    if named:
        return OutputJudgement("judged", named)
    if output.lost:
        return NOT_JUDGED
    found = list(_findings(expected, output, answer))
    faults: frozenset[Fault] = frozenset([one.fault for one in found if one.schema is None])
    still_open = tuple([one for one in found if one.schema is not None])
    return OutputJudgement("judged", faults, still_open)


def _findings(
    expected: ExpectedOutput, output: CollectedOutput, answer: AnswerChoices
) -> Iterator[OutputFinding]:
    for index, choice in answer.choices.items():
        written = output.choices.get(index) or ChoiceOutput()
        for call in written.calls:
            yield from _of_call(expected, call)
        if expected.wants_json and choice.finish in _WITH_JSON and not written.calls:
            yield from _of_text(expected, written.text)


def _of_call(expected: ExpectedOutput, call: CollectedCall) -> Iterator[OutputFinding]:
    if call.full_name not in expected.tools and not expected.others:
        yield OutputFinding("tool_unknown")
    if call.free:
        return
    arguments = call.arguments or "{}"  # Claude's streams and vLLM write nothing for a call without arguments
    if call.broken or not is_json(arguments):
        yield OutputFinding("tool_args_invalid")
    elif (schema := expected.tools.get(call.full_name)) is not None:
        yield OutputFinding("tool_args_off_schema", schema, arguments)


def _of_text(expected: ExpectedOutput, text: str) -> Iterator[OutputFinding]:
    if not is_json(text):
        yield OutputFinding("json_invalid")
    elif expected.schema is not None:
        yield OutputFinding("json_off_schema", expected.schema, text)


def is_json(text: str) -> bool:
    """True when the whole text is one JSON value, with white space around it at most."""
    try:
        _skim(text.encode())
    except (*UNREADABLE, UnicodeEncodeError):
        return False
    return True


_skim = msgspec.json.Decoder(msgspec.Raw).decode  # checks the syntax, and builds nothing


def tool_calls(
    key: bytes, output: CollectedOutput | None, *, named: bool = True, subagent: str = ""
) -> tuple[ToolCall, ...]:
    """The calls in an output, hashed with `key` of 16 to 64 bytes. Results name them by their ids (`named`);
    where they do not, by the `subagent` alone."""
    if output is None or output.lost:
        return ()
    written = (call for choice in output.choices.values() for call in choice.calls)
    calls = islice(written, MOST_TOOL_CALLS)
    return tuple([_tool_call(key, call, (call.id if named else "") or subagent) for call in calls])


_NAME_KEPT = 64
_CANONICAL_BOUND = 1 << 16
"""Characters of arguments that are put in order: the loop waits two milliseconds at most."""


def _tool_call(key: bytes, call: CollectedCall, id: str) -> ToolCall:
    arguments = call.arguments if call.free else canonical(call.arguments or "{}")
    text = f"{call.full_name}\0{arguments}".encode("utf-8", "surrogatepass")
    digest = blake2b(text, key=key, digest_size=8, person=b"tool call").digest()
    return ToolCall(call.name[:_NAME_KEPT], digest, _call_id(key, id))


def _call_id(key: bytes, id: str) -> int:
    if not id:
        return 0
    text = id.encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, key=key, digest_size=4, person=b"call id").digest(), "big")


def result_of(key: bytes, names: Sequence[bytes], body: bytes, *, subagent: str = "") -> int:
    """The `ToolCall.id` of the call whose result stands last in a request. `names`: the members by which
    results name their calls."""
    found = max((_last_named(body, name) for name in names), default=(0, ""))[1]
    return _call_id(key, found or subagent)


_TEXT = re.compile(rb'\s*:\s*"([^"\\]{1,256})"')
_LOOKS = 16
"""Places of the member's name that are looked at: a tool may have a parameter of this name."""


def _last_named(body: bytes, name: bytes) -> tuple[int, str]:
    """The last text that a member of this name has anywhere in the body, after its place. Inside a text the
    name's quotation marks would be escaped."""
    quoted, at = b'"%b"' % name, len(body)
    for _ in range(_LOOKS):
        at = body.rfind(quoted, 0, at)
        if at < 0:
            break
        if text := _TEXT.match(body, at + len(quoted)):
            return at, text[1].decode("utf-8", "replace")
    return -1, ""


def canonical(text: str) -> str:
    """JSON without spaces, its objects' members in order; the text itself where it is no JSON, or long."""
    if len(text) > _CANONICAL_BOUND:
        return text
    try:
        return msgspec.json.encode(msgspec.json.decode(text), order="sorted").decode()
    except (*UNREADABLE, UnicodeEncodeError, OverflowError):
        return text


Answer = tuple[Finish | None, tuple[Fault, ...], OutputCheck]
NO_ANSWER: Answer = (None, (), "")
_GOOD: Answer = ("stop", (), "")


class Examination:
    """What needs time: schemas, and the config's patterns. `message` is None until it has been redacted.
    `calls`: the answer's tool calls; `result_of`: the one whose result the request brings."""

    __slots__ = ("calls", "judgement", "message", "result_of")

    def __init__(
        self, judgement: OutputJudgement, calls: tuple[ToolCall, ...] = (), result_of: int = 0
    ) -> None:
        self.judgement = judgement
        self.calls = calls
        self.result_of = result_of
        self.message: str | None = None

    async def run(self, checker: Checker, words: ProviderError | None, patterns: tuple[str, ...]) -> None:
        """Have the checker do what is open. Cancelled or late, the answer stays not judged."""
        still_open, self.judgement = self.judgement, self.judgement.settled(None)
        job = still_open.job
        if words is not None and patterns:
            job = msgspec.structs.replace(job, text=words.message, patterns=patterns)
        if not job.checks and not job.text:
            return
        result = await checker.run(job)
        if result is not None:
            self.judgement, self.message = still_open.settled(result.verdicts), result.text


def examination_of(key: bytes, call: Call, attempt: Attempt) -> Examination:
    """Judge a complete answer as far as that takes no time, and hash its tool calls with `key`."""
    form, request = call.route.operation.output, attempt.request
    if attempt.output is None or form is None or request is None or request.output is None:
        return Examination(UNASKED)
    judged = judge(form, request.output, attempt.output, attempt.reader.seen.answer)
    subagent, named = subagent_in(call.named), bool(form.results_name)
    calls = tool_calls(key, attempt.output, named=named, subagent=subagent)
    attempt.output.restart()  # nothing of the text outlives the look at it
    if not (judged.check and call.session and isinstance(call.body, bytes)):
        return Examination(judged, calls)
    return Examination(judged, calls, result_of(key, form.results_name, call.body, subagent=subagent))


def answer_of(call: Call, attempt: Attempt, examination: Examination | None) -> Answer:
    """Finish, faults and check of a complete answer; NO_ANSWER where a model writes no answer."""
    if call.route.operation.output is None:
        return NO_ANSWER
    judgement = UNASKED
    if attempt.output is not None:
        judgement = examination.judgement if examination is not None else NOT_JUDGED
    facts = attempt.reader.seen.answer
    if facts is GOOD_ANSWER and judgement is UNASKED:
        return _GOOD
    if facts is None:
        return "unknown", in_order(judgement.faults), judgement.check
    if not judgement.check and facts.called:
        judgement = NOT_JUDGED
    return facts.finish, in_order(facts.faults() | judgement.faults), judgement.check


def words_of(call: Call, arm: ArmName, attempts: Sequence[Attempt]) -> ProviderError | None:
    """What the provider of the assigned arm said when it refused or failed."""
    attempt = next((each for each in attempts if each.target.arm == arm), None)
    if call.trial is None or attempt is None or attempt.wrong is None or not attempt.reader.seen.error:
        return None
    sent = attempt.request.headers if attempt.request is not None else ()
    keys = [*credentials(call.headers, call.query), *credentials(sent, b"")]
    named = dict(attempt.response.headers) if attempt.response is not None else {}
    return said(attempt.reader.seen.error, keys, type_in_head=named.get(b"x-amzn-errortype", b""))


def redacted_words(call: Call, words: ProviderError, examination: Examination | None) -> ProviderError:
    """The words without what the config's own patterns match; without the message if that is not known."""
    if not patterns_of(call):
        return words
    message = examination.message if examination is not None else None
    return msgspec.structs.replace(words, message=message or "")


def patterns_of(call: Call) -> tuple[str, ...]:
    """The config's patterns for redaction, and the canary's own."""
    return call.trial.redact if call.trial is not None else ()
