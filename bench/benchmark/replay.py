"""Captured sessions as examples: at each step both models get what the app sent, and what they would do next
is compared with what was done. No tool is run.

A step is an exchange of a session whose request has tools. Whoever recorded the sessions has the advantage:
an action that differs is not wrong. So the current model is asked again too, and only an action that no app
could run decides.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import msgspec

from bench.answers.results import ExampleResult
from bench.answers.scorers import ACTION_SCORERS, is_valid
from bench.benchmark.figures import ResultPair, clusters
from bench.benchmark.reasons import Verdict
from bench.benchmark.statistics import paired_difference, paired_p, share
from bench.dataset.example import Example, ExampleLine, example, fingerprint, problems
from bench.dataset.file import Dataset
from bench.dataset.sample import is_askable, is_whole, line
from bench.errors import BenchError
from bench.models.pair import NamedModel
from bench.models.tools import Action, expected_action
from bench.settings import BenchSettings, DatasetSource
from common.groups import grouped
from common.interval import Interval
from records.captures.capture import Capture, CaptureInfo
from records.store import Store
from records.store.captures import CaptureStore

NAME = "replay"
SOURCE = DatasetSource(name=NAME, file="", layer="real")

SESSIONS = 50
STEPS = 8
"""The most steps of a session. Steps of one session are alike: where their correlation is 0.3, 8 of them are
worth 77 % of what any number is, and 16 of them 87 %, at twice the cost."""


class NothingToReplay(BenchError):
    """No captured exchange is a step of a session; the message says what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayStep:
    """One exchange of a captured session. `place`: the number of its answer in the session, from 1."""

    session: str
    place: int
    example: Example

    @property
    def recorded(self) -> Action:
        """What the model did that was captured."""
        return expected_action(self.example.expected)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySteps:
    """The steps that are asked, by session and place; and why others of these sessions are not, counted."""

    steps: tuple[ReplayStep, ...]
    left_out: Mapping[str, int]

    @property
    def sessions(self) -> int:
        return len({each.session for each in self.steps})

    @property
    def dataset(self) -> Dataset:
        """The steps as a benchmark's examples."""
        examples = tuple(each.example for each in self.steps)
        return Dataset(examples=examples, sha256=fingerprint([each.hash for each in examples]))

    def only(self, dataset: Dataset) -> "ReplaySteps":
        """The steps that a part of the dataset has."""
        asked = {each.hash for each in dataset.examples}
        return replace(self, steps=tuple(each for each in self.steps if each.example.hash in asked))


def recorded(store: Store, model: NamedModel, *, sessions: int, steps: int) -> ReplaySteps:
    """At most `steps` steps, evenly spread, of each of the model's `sessions` newest captured sessions.

    Raises NothingToReplay and StoreDown.
    """
    captures = CaptureStore(store)
    about = list(captures.abouts())
    wanted = _newest([each for each in about if _is_of(each, model)], sessions)
    if not wanted:
        raise NothingToReplay(_no_session(about, model))
    found = steps_of(captures.several([each.exchange_id for each in wanted]), steps)
    if not found.steps:
        raise NothingToReplay(_no_step(found, model))
    return found


def _is_of(about: CaptureInfo, model: NamedModel) -> bool:
    return (about.provider, about.model) == (model.provider.name, model.model)


def _newest(about: Sequence[CaptureInfo], most: int) -> list[CaptureInfo]:
    """The exchanges of the sessions that went on last."""
    last: dict[str, float] = {}
    for each in about:
        if each.session:
            last[each.session] = max(last.get(each.session, 0.0), each.at)
    chosen = set(sorted(last, key=lambda session: (-last[session], session))[:most])
    return [each for each in about if each.session in chosen]


def _no_session(about: Sequence[CaptureInfo], model: NamedModel) -> str:
    others = sorted({f"{each.provider}/{each.model}" for each in about if each.session})
    beside = f"; there are captured sessions of {', '.join(others)}: name it with --against" if others else ""
    if count := sum(_is_of(each, model) for each in about):
        says = f"none of the {count} captured exchanges of {model.name} has a session"
        return f"{says}: send `x-canary-session`{beside}"
    says = f"no exchange of {model.name} was captured"
    return f"{says}: set `capture` in the config, and let requests come{beside}"


def _no_step(found: ReplaySteps, model: NamedModel) -> str:
    why = ", ".join(f"{count} {reason}" for reason, count in found.left_out.items())
    return f"no captured session of {model.name} can be replayed: {why}"


def steps_of(captures: Iterable[Capture], most: int) -> ReplaySteps:
    """At most `most` steps of each session, evenly spread. A request that was sent again is one step. One
    without tools is none, and left out only where its session has no step at all: agents ask for titles and
    summaries between their steps, as Claude Code does with each prompt."""
    left_out: Counter[str] = Counter()
    without_tools: Counter[str] = Counter()
    sessions: dict[str, dict[str, ReplayStep]] = {}
    for capture in captures:
        if not capture.tools:
            without_tools[capture.about.session] += 1
            continue
        step = _step(capture)
        if isinstance(step, str):
            left_out[step] += 1
            continue
        asked = fingerprint(msgspec.to_builtins(step.example.messages))
        sessions.setdefault(step.session, {})[asked] = step
    if lost := sum(times for session, times in without_tools.items() if session not in sessions):
        left_out["without tools"] = lost
    chosen: list[ReplayStep] = []
    for session in sorted(sessions):
        steps = sorted(sessions[session].values(), key=lambda each: (each.place, each.example.id))
        chosen += _spread(steps, most)
    return ReplaySteps(steps=tuple(chosen), left_out=dict(left_out.most_common()))


_STRANGE = "with tools in a form that is not known"


def _step(capture: Capture) -> ReplayStep | str:
    """The step of an exchange, or why it is none."""
    if capture.truncated:
        return "with a cut answer"
    if not is_whole(capture):
        return "with earlier messages that only the provider has"
    if not is_askable(capture, "action"):
        return "with a tool's result that does not follow its call"
    try:
        read = msgspec.convert(line(capture, "action"), ExampleLine)
    except msgspec.ValidationError:
        return _STRANGE
    if {call.name for call in capture.answer_calls} - {each.function.name for each in read.tools}:
        return "that call a tool which their request does not declare"
    if next(problems(read), None) is not None:
        return _STRANGE
    place = 1 + sum(message.role == "assistant" for message in capture.messages)
    return ReplayStep(session=capture.about.session, place=place, example=example(read))


def _spread(steps: Sequence[ReplayStep], most: int) -> list[ReplayStep]:
    """At most so many of them, the first and the last among them."""
    if len(steps) <= most:
        return list(steps)
    if most == 1:
        return [steps[len(steps) // 2]]
    return [steps[round(number * (len(steps) - 1) / (most - 1))] for number in range(most)]


def without_rows(settings: BenchSettings) -> BenchSettings:
    """The settings without rows and critical categories: they are about right answers."""
    terms = {name: replace(each, rows=(), critical=frozenset()) for name, each in settings.terms.items()}
    return replace(settings, terms=terms)


# What came of the steps.


Difference = Literal[
    "no_answer", "unknown_tool", "bad_arguments", "other_arguments", "other_tool", "answers", "calls"
]
"""How an action differs from the recorded one. The first three are unusable: no app could run them."""

UNUSABLE: tuple[Difference, ...] = ("no_answer", "unknown_tool", "bad_arguments")


def difference(result: ExampleResult) -> Difference | None:
    """How a model's action differs from the recorded one; None if it is the same."""
    if not result.answered:
        return "no_answer"
    example, done = result.example, result.answer.action
    known = expected_action(example.expected)
    if broken := [call for call in done.calls if not is_valid(call, example.extras.tools)]:
        declared = {each.name for each in example.extras.tools}
        return "bad_arguments" if all(call.name in declared for call in broken) else "unknown_tool"
    if done.names != known.names:
        return "answers" if not done.calls else "other_tool" if known.calls else "calls"
    return None if done.canonical == known.canonical else "other_arguments"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepShares:
    """A share of the steps: of the current model, of the candidate, and the paired difference, with its p.
    Without a candidate the last three are None. Intervals are clustered by session."""

    baseline: Interval | None
    candidate: Interval | None
    difference: Interval | None
    p: float | None

    @property
    def rises(self) -> bool:
        """True if the candidate's share is significantly higher."""
        return (
            self.p is not None
            and self.p < 0.05
            and self.difference is not None
            and self.difference.estimate > 0
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSteps:
    """The steps at which these tools were called, none where the model answered: how often each model did the
    same, and called the same tools. The candidate's are None without one."""

    tools: tuple[str, ...]
    steps: int
    baseline_same: int
    baseline_tool: int
    candidate_same: int | None
    candidate_tool: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """The first step of a session at which the candidate (without one: the current model) does something
    else: the tools that each called, none for an answer; None where there is no answer. `alone`: the current
    model did there what was recorded."""

    session: str
    place: int
    exchange_id: str
    recorded: tuple[str, ...]
    baseline: tuple[str, ...] | None
    candidate: tuple[str, ...] | None
    difference: Difference
    alone: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What came of a replay.

    action       the share of steps with the recorded tools and arguments, or with an answer as recorded
    tool         the share of steps with the recorded tools
    unusable     the share of steps without an answer, or with a call that no app could run
    alike        the share of steps at which both models do the same; None without a candidate
    differences  how often each model's action differs, by how
    tools        the steps by what was recorded
    divergences  the first of each session, those of the candidate alone first
    """

    steps: int
    sessions: int
    left_out: Mapping[str, int]
    action: StepShares
    tool: StepShares
    unusable: StepShares
    alike: Interval | None
    differences: tuple[Mapping[Difference, int], ...]
    tools: tuple[ToolSteps, ...]
    divergences: tuple[Divergence, ...]

    @property
    def verdict(self) -> Verdict | None:
        """A replay can only speak against a model."""
        return "dont_ship" if self.unusable.rises else None


def replayed(asked: ReplaySteps, pairs: Sequence[ResultPair]) -> Replay:
    """What came of these steps; `pairs` are their results in the same order."""
    both = [(a, b) for a, b in pairs if b is not None]
    return Replay(
        steps=len(pairs),
        sessions=asked.sessions,
        left_out=asked.left_out,
        action=step_shares(pairs, _scores("action")),
        tool=step_shares(pairs, _scores("tool")),
        unusable=step_shares(pairs, lambda each: difference(each) in UNUSABLE),
        alike=share([_alike(a, b) for a, b in both], clusters(both)),
        differences=tuple(map(_counted, zip(*both, strict=True) if both else [[a for a, _ in pairs]])),
        tools=tuple(_by_tools(pairs)),
        divergences=tuple(sorted(_divergences(asked.steps, pairs), key=lambda each: not each.alone)),
    )


def _scores(task: Literal["action", "tool"]) -> Callable[[ExampleResult], bool]:
    score = ACTION_SCORERS[task]
    return lambda each: each.answered and score(each.example, each.answer.action) == 1


def step_shares(pairs: Sequence[ResultPair], of: Callable[[ExampleResult], bool]) -> StepShares:
    """The share of the steps of which this is true."""
    known = [of(a) for a, _ in pairs]
    new = [of(b) for _, b in pairs if b is not None]
    groups = clusters(pairs)
    return StepShares(
        baseline=share(known, groups),
        candidate=share(new, groups) if new else None,
        difference=paired_difference(known, new, groups) if new else None,
        p=paired_p(known, new, groups) if new else None,
    )


def _alike(one: ExampleResult, other: ExampleResult) -> bool:
    return one.answered and other.answered and one.answer.action.canonical == other.answer.action.canonical


def _counted(results: Iterable[ExampleResult]) -> Mapping[Difference, int]:
    found: Counter[Difference] = Counter(each for each in map(difference, results) if each is not None)
    counts: dict[Difference, int] = dict(found.most_common())
    return counts


def _by_tools(pairs: Sequence[ResultPair]) -> Iterator[ToolSteps]:
    """By the recorded tools, the most frequent first."""
    groups = grouped(pairs, lambda pair: expected_action(pair[0].example.expected).names)
    same, tool = _scores("action"), _scores("tool")
    for names, group in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        new = [b for _, b in group if b is not None]
        yield ToolSteps(
            tools=names,
            steps=len(group),
            baseline_same=sum(same(a) for a, _ in group),
            baseline_tool=sum(tool(a) for a, _ in group),
            candidate_same=sum(map(same, new)) if new else None,
            candidate_tool=sum(map(tool, new)) if new else None,
        )


def _divergences(steps: Sequence[ReplayStep], pairs: Sequence[ResultPair]) -> Iterator[Divergence]:
    seen: set[str] = set()
    for step, (baseline, candidate) in zip(steps, pairs, strict=True):
        how = difference(baseline if candidate is None else candidate)
        if how is None or step.session in seen:
            continue
        seen.add(step.session)
        yield Divergence(
            session=step.session,
            place=step.place,
            exchange_id=step.example.id,
            recorded=step.recorded.names,
            baseline=_names(baseline),
            candidate=None if candidate is None else _names(candidate),
            difference=how,
            alone=candidate is not None and difference(baseline) is None,
        )


def _names(result: ExampleResult) -> tuple[str, ...] | None:
    return result.answer.action.names if result.answered else None
