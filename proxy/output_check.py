"""Compares a model's output with what its request lets it hold: tool calls, JSON, schemas."""

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from proxy.answer import AnswerFacts
from proxy.check_job import CheckJob
from proxy.dialects.operation import UNREADABLE, OutputForm
from proxy.output import ChoiceOutput, CollectedOutput, ExpectedOutput, OutputRequest, Schema, ToolCall
from records.outcome import Fault, Finish, OutputCheck

_WITH_JSON: tuple[Finish, ...] = ("stop", "length", "unknown")
"""How an answer ends whose text must be the JSON that was wanted. A refusal is none, a call has none."""


class Finding(NamedTuple):
    """One look at an output: a fault, or a schema that the value must fit, else it is the fault."""

    fault: Fault
    schema: Schema | None = None
    value: str = ""


class Judgement(NamedTuple):
    """What has been found. `faults` are certain; `open` are schemas to be checked."""

    check: OutputCheck
    faults: frozenset[Fault] = frozenset()
    open: tuple[Finding, ...] = ()

    @property
    def job(self) -> CheckJob:
        """The work that is left for the checker."""
        return CheckJob(
            [(one.schema.openapi, one.schema.text, one.value.encode()) for one in self.open if one.schema]
        )

    def settled(self, verdicts: list[bool | None] | None) -> "Judgement":
        """The judgement with the checker's verdicts, None without. A fault found is a judgement."""
        if not self.open:
            return self
        told = (
            verdicts if verdicts is not None and len(verdicts) == len(self.open) else [None] * len(self.open)
        )
        missed: set[Fault] = {one.fault for one, fits in zip(self.open, told, strict=True) if fits is False}
        faults: frozenset[Fault] = self.faults | missed
        return Judgement("not_judged" if None in told and not faults else "judged", faults)


NOT_JUDGED = Judgement("not_judged")


def judge(
    form: OutputForm, request: OutputRequest, output: CollectedOutput | None, answer: AnswerFacts | None
) -> Judgement:
    """Judge an output as far as that needs no schema."""
    try:
        expected = form.expected(request)
    except UNREADABLE:
        return NOT_JUDGED
    if not (expected.tools or expected.others or expected.wants_json):
        return Judgement("")
    if output is None or answer is None:
        return NOT_JUDGED
    named: frozenset[Fault] = frozenset(
        [fault for choice in answer.choices.values() for fault in choice.named]
    )
    if named:
        return Judgement("judged", named)
    if output.lost:
        return NOT_JUDGED
    found = list(_findings(expected, output, answer))
    faults: frozenset[Fault] = frozenset([one.fault for one in found if one.schema is None])
    still_open = tuple([one for one in found if one.schema is not None])
    return Judgement("judged", faults, still_open)


def _findings(expected: ExpectedOutput, output: CollectedOutput, answer: AnswerFacts) -> Iterator[Finding]:
    for index, choice in answer.choices.items():
        written = output.choices.get(index) or ChoiceOutput()
        for call in written.calls:
            yield from _of_call(expected, call)
        if expected.wants_json and choice.finish in _WITH_JSON and not written.calls:
            yield from _of_text(expected, written.text)


def _of_call(expected: ExpectedOutput, call: ToolCall) -> Iterator[Finding]:
    if call.name not in expected.tools and not expected.others:
        yield Finding("tool_unknown")
    if call.free:
        return
    arguments = call.arguments or "{}"  # Claude's streams and vLLM write nothing for a call without arguments
    if call.broken or not is_json(arguments):
        yield Finding("tool_args_invalid")
    elif (schema := expected.tools.get(call.name)) is not None:
        yield Finding("tool_args_off_schema", schema, arguments)


def _of_text(expected: ExpectedOutput, text: str) -> Iterator[Finding]:
    if not is_json(text):
        yield Finding("json_invalid")
    elif expected.schema is not None:
        yield Finding("json_off_schema", expected.schema, text)


def is_json(text: str) -> bool:
    """True when the whole text is one JSON value, with white space around it at most."""
    try:
        _skim(text.encode())
    except (*UNREADABLE, UnicodeEncodeError):
        return False
    return True


_skim = msgspec.json.Decoder(msgspec.Raw).decode  # checks the syntax, and builds nothing
