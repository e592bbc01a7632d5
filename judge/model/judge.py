"""A model that judges real answers: each call is noted with its highest price before it is made."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, Self

import httpx2

from bench.answers.marks import reason
from bench.errors import NoJudge
from bench.models.targets import client_for
from bench.settings import BenchSettings, JudgeSource
from judge.judgements import FIRST, BudgetSpent, JudgedExchange, Judgements
from judge.model.asker import JudgeAsker
from judge.model.questions import Question, answer_question, pair_questions, said, words_sha256
from records.captures.capture import Capture
from records.captures.redaction import redacted

Ended = Literal["judged", "known", "budget", "refused", "provider"]
"""What became of a request to judge: done (also without a mark), done before, no budget left, refused by the
provider for what it says, or the provider failed."""

_UNPAID = ("provider_connect", "provider_5xx", "provider_429")
_REFUSED = ("caller_rejected", "caller_too_large")

_WORST_FIRST: tuple[Ended, ...] = ("provider", "refused", "budget", "known", "judged")

Calls = Mapping[int, int]
"""The ids of noted calls, by turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One judgement to be made: its questions by turn, and when its texts expire (UTC seconds)."""

    judgement: JudgedExchange
    questions: Mapping[int, Question]
    expires_at: float
    redact: tuple[str, ...] = ()


class Judge:
    """The judging model with its budget. The judgements' store is used in other threads."""

    def __init__(
        self,
        client: httpx2.AsyncClient,
        source: JudgeSource,
        settings: BenchSettings,
        judgements: Judgements,
        environment: Mapping[str, str],
    ) -> None:
        """Raises NoKey and Unpriced."""
        self.source = source
        self._asker = JudgeAsker(client, source, settings, environment)
        self._judgements = judgements
        self.problem = ""
        """What the provider said when it failed last."""

    @classmethod
    def of(cls, settings: BenchSettings, judgements: Judgements, environment: Mapping[str, str]) -> Self:
        """The judge of the config, with a client of its own; `close()` it. May wait for a cloud's token.

        Raises NoJudge, NoKey and Unpriced.
        """
        source = settings.judge
        if source is None:
            raise NoJudge(
                "the config has no judge; name one, as `judge: {provider: …, model: …, daily_budget: 5.00}`"
            )
        client = client_for(settings.providers[source.provider], at_once=2 * source.at_once)
        return cls(client, source, settings, judgements, environment)

    async def close(self) -> None:
        """Close its connections, and end the renewal of its credential."""
        await self._asker.close()

    async def judge(self, subject: Subject) -> Ended:
        """Ask about one pair or answer, and store what the judge says. May raise StoreDown."""
        try:
            calls = await self.begin(subject)
        except BudgetSpent:
            return "budget"
        return await self.ask(subject, calls) if calls else "known"

    async def begin(self, subject: Subject) -> Calls:
        """Note the calls that are to be made now; empty if there is nothing left to ask.

        Raises BudgetSpent if their highest price does not fit into the day's budget. May raise StoreDown.
        """
        reserves = {turn: self._asker.highest_price(question) for turn, question in subject.questions.items()}
        return await asyncio.to_thread(
            self._judgements.begin,
            subject.judgement,
            reserves,
            budget_usd=self.source.daily_budget_usd,
            expires_at=subject.expires_at,
        )

    async def ask(self, subject: Subject, calls: Calls) -> Ended:
        """Make the calls that were noted, and store what the judge says. May raise StoreDown."""
        asked = [self._ask(call, subject, turn) for turn, call in calls.items()]
        ended = await asyncio.gather(*asked)
        return min(ended, key=_WORST_FIRST.index)

    async def _ask(self, call: int, subject: Subject, turn: int) -> Ended:
        answer = await self._asker.ask(subject.questions[turn])
        if answer.text is None:
            unpaid = answer.failure in _UNPAID or str(answer.failure).startswith("caller_")
            await asyncio.to_thread(self._judgements.failed if unpaid else self._judgements.lost, call)
            self.problem = f"{answer.failure} {answer.said}".strip()
            return "refused" if answer.failure in _REFUSED else "provider"
        await asyncio.to_thread(
            self._judgements.answered,
            call,
            said=said(subject.judgement.kind, answer.text),
            reason=redacted(reason(answer.text).replace("\0", ""), subject.redact),
            cost_usd=answer.cost_usd,
        )
        return "judged"


def pair_subject(
    real: Capture, copy: Capture, *, judge: str, criteria: str, redact: tuple[str, ...] = ()
) -> Subject:
    """A mirrored pair: the baseline's answer first, then the candidate's."""
    return Subject(
        judgement=replace(
            _judgement(real, judge=judge, words_sha256=words_sha256("pair", criteria)),
            candidate=_model(copy),
            candidate_length=len(copy.answer),
        ),
        questions=pair_questions(real.messages, real.answer, copy.answer, criteria),
        expires_at=min(real.about.expires_at, copy.about.expires_at),
        redact=redact,
    )


def answer_subject(capture: Capture, *, judge: str, criteria: str, redact: tuple[str, ...] = ()) -> Subject:
    """One arm's answer."""
    made = _judgement(capture, judge=judge, words_sha256=words_sha256("answer", criteria))
    made = replace(made, kind="answer", arm=capture.about.arm)
    if capture.about.arm == "candidate":
        made = replace(
            made,
            baseline="",
            candidate=made.baseline,
            baseline_length=None,
            candidate_length=made.baseline_length,
        )
    return Subject(
        judgement=made,
        questions={FIRST: answer_question(capture.messages, capture.answer, criteria)},
        expires_at=capture.about.expires_at,
        redact=redact,
    )


def _judgement(real: Capture, *, judge: str, words_sha256: str) -> JudgedExchange:
    about = real.about
    return JudgedExchange(
        exchange_id=about.exchange_id,
        canary=about.canary,
        run=about.run,
        kind="pair",
        unit=about.unit,
        category=about.category,
        at=about.at,
        asked_at=time.time(),
        judge=judge,
        words_sha256=words_sha256,
        baseline=_model(real),
        baseline_length=len(real.answer),
    )


def _model(capture: Capture) -> str:
    return f"{capture.about.provider}/{capture.about.model}"
