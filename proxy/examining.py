"""Looks at an exchange's answer before its record is closed: its finish, its faults, its provider's words."""

from collections.abc import Sequence

import msgspec

from proxy.answer import GOOD_ANSWER, in_order
from proxy.attempt import Attempt
from proxy.call import Call
from proxy.checker import Checker
from proxy.headers import credentials
from proxy.output_check import NOT_JUDGED, Judgement, judge
from proxy.provider_error import said
from records.outcome import Fault, Finish, OutputCheck, ProviderError
from routing.canary import ArmName

Answer = tuple[Finish | None, tuple[Fault, ...], OutputCheck]
UNASKED = Judgement("")
NO_ANSWER: Answer = (None, (), "")
_GOOD: Answer = ("stop", (), "")


class Examination:
    """What needs time: schemas, and the config's patterns. `message` is None until it has been redacted."""

    __slots__ = ("judgement", "message")

    def __init__(self, judgement: Judgement) -> None:
        self.judgement = judgement
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


def judgement_of(call: Call, attempt: Attempt) -> Judgement:
    """Judge a complete answer as far as that takes no time."""
    form, request = call.route.operation.output, attempt.output_request
    if attempt.output is None or form is None or request is None:
        return UNASKED
    judged = judge(form, request, attempt.output, attempt.reader.answer)
    attempt.output.restart()  # nothing of the text outlives the look at it
    return judged


def answer_of(call: Call, attempt: Attempt, examination: Examination | None) -> Answer:
    """Finish, faults and check of a complete answer; NO_ANSWER where a model writes no answer."""
    if call.route.operation.output is None:
        return NO_ANSWER
    judgement = UNASKED
    if attempt.output is not None:
        judgement = examination.judgement if examination is not None else NOT_JUDGED
    facts = attempt.reader.answer
    if facts is GOOD_ANSWER and judgement is UNASKED:
        return _GOOD
    if facts is None:
        return "unknown", in_order(judgement.faults), judgement.check
    return facts.finish, in_order(facts.faults() | judgement.faults), judgement.check


def words_of(call: Call, arm: ArmName, attempts: Sequence[Attempt]) -> ProviderError | None:
    """What the provider of the assigned arm said when it refused or failed."""
    attempt = next((each for each in attempts if each.target.arm == arm), None)
    if call.trial is None or attempt is None or attempt.wrong is None or not attempt.reader.error:
        return None
    keys = [*credentials(call.headers, call.query), *credentials(attempt.sent, b"")]
    named = dict(attempt.response.headers) if attempt.response is not None else {}
    return said(attempt.reader.error, keys, type_in_head=named.get(b"x-amzn-errortype", b""))


def redacted_words(call: Call, words: ProviderError, examination: Examination | None) -> ProviderError:
    """The words without what the config's own patterns match; without the message if that is not known."""
    if not patterns_of(call):
        return words
    message = examination.message if examination is not None else None
    return msgspec.structs.replace(words, message=message or "")


def patterns_of(call: Call) -> tuple[str, ...]:
    """The config's patterns for redaction, and the canary's own."""
    return call.trial.redact if call.trial is not None else ()
